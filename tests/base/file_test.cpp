#include "flux/base/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "support/problem.h"
#include "support/reference.h"

namespace flux {
namespace {

using test::problem_of;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;

TEST(AtomicFile, AppearsOnlyWithCommit) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x.txt";
    write_text(path, "old");
    {
        AtomicFile file(path);
        file.write("half");
    }
    EXPECT_EQ(read_text(path), "old");
    AtomicFile file(path);
    file.write("new ");
    file.write("text");
    EXPECT_EQ(read_text(path), "old");
    file.commit();
    EXPECT_EQ(read_text(path), "new text");
    EXPECT_EQ(list_folder(folder.path()), std::vector{path});
}

TEST(AtomicFile, SeveralWritersOfOnePathDoNotMix) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x.txt";
    AtomicFile first(path);
    first.write("the first ");
    AtomicFile second(path);
    second.write("second");
    first.write("one");
    first.commit();
    EXPECT_EQ(read_text(path), "the first one");
    second.commit();
    EXPECT_EQ(read_text(path), "second");
    EXPECT_EQ(list_folder(folder.path()), std::vector{path});
}

TEST(AtomicFile, WhatAKilledProcessLeftCanBeRemoved) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x.txt";
    const AtomicFile killed(path);  // and its file is still there
    const auto left = list_folder(folder.path());
    ASSERT_EQ(left.size(), 1u);
    EXPECT_EQ(unfinished_name(left[0].filename().native()), "x.txt");
    write_text(folder.path() / "x.txt.tmp", "");
    write_text(folder.path() / "y.x.txt.0123abcd.tmp", "");
    remove_unfinished(path);
    EXPECT_EQ(list_folder(folder.path()),
              (std::vector{folder.path() / "x.txt.tmp", folder.path() / "y.x.txt.0123abcd.tmp"}));
    EXPECT_EQ(unfinished_name(".0123abcd.tmp"), "");
    EXPECT_EQ(unfinished_name("x-0123abcd.tmp"), "");
    EXPECT_EQ(unfinished_name("x.0123wxyz.tmp"), "");
}

TEST(AtomicFile, NamesPathAndReason) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "missing" / "x.txt";
    const std::string problem = problem_of([&] { AtomicFile file(path); });
    EXPECT_THAT(problem, HasSubstr(path.string()));
    EXPECT_THAT(problem, HasSubstr("the folder does not exist: create it"));
}

TEST(AtomicFile, ReplacesOnlyWhatItMay) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x.txt";
    AtomicFile late(path, Existing::kRefuse);
    late.write("new");
    std::ofstream(path) << "first";
    EXPECT_THAT(problem_of([&] { late.commit(); }), HasSubstr("x.txt: exists already"));
    EXPECT_THAT(problem_of([&] { AtomicFile file(path, Existing::kRefuse); }),
                HasSubstr("exists already and is not replaced"));
    EXPECT_EQ(read_text(path), "first");
    EXPECT_THAT(problem_of([&] { AtomicFile file("/dev/null"); }), HasSubstr("not a regular file"));
    EXPECT_THAT(problem_of([&] { AtomicFile file(folder.path()); }),
                HasSubstr("not a regular file"));
}

TEST(AtomicFile, FullDiskGivesTheRemedy) {
    if (!std::filesystem::exists("/dev/full")) {
        GTEST_SKIP() << "needs /dev/full";
    }
    AppendFile file("/dev/full");
    EXPECT_THAT(problem_of([&] { file.write("x"); }), HasSubstr("free some space"));
}

TEST(AppendFile, KeepsWhatWasThere) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "log";
    AppendFile(path).write("one\n");
    AppendFile again(path);
    again.write("two\n");
    EXPECT_EQ(read_text(path), "one\ntwo\n");  // before the file is closed
}

TEST(MappedFile, ReadsMovesAndHandlesEmptyFiles) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x";
    write_text(path, "abc");
    MappedFile first(path);
    MappedFile second(std::move(first));
    ASSERT_EQ(second.bytes().size(), 3u);
    EXPECT_EQ(second.bytes()[2], std::byte{'c'});
    EXPECT_EQ(second.path(), path);
    write_text(path, "");
    EXPECT_TRUE(MappedFile(path).bytes().empty());
    EXPECT_THAT(problem_of([&] { MappedFile file(folder.path()); }), HasSubstr("regular file"));
    EXPECT_THAT(problem_of([&] { MappedFile file(folder.path() / "none"); }), HasSubstr("none"));
}

TEST(MappedFile, DoesNotWaitForAPipe) {
    const test::TemporaryFolder folder;
    const auto pipe = folder.path() / "pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    EXPECT_THAT(problem_of([&] { MappedFile file(pipe); }), HasSubstr("regular file"));
}

TEST(ListFolder, SortsAndNamesTheReason) {
    const test::TemporaryFolder folder;
    for (const char* name : {"b", "a", "c"}) {
        write_text(folder.path() / name, "");
    }
    EXPECT_EQ(list_folder(folder.path()),
              (std::vector{folder.path() / "a", folder.path() / "b", folder.path() / "c"}));
    EXPECT_THAT(problem_of([&] { list_folder(folder.path() / "a"); }),
                HasSubstr("a: the folder cannot be read: Not a directory"));
}

TEST(WritableFolder, IsCreatedAndProbed) {
    const test::TemporaryFolder folder;
    make_writable_folder(folder.path() / "a" / "b");
    EXPECT_TRUE(std::filesystem::is_empty(folder.path() / "a" / "b"));
    write_text(folder.path() / "file", "");
    EXPECT_THAT(
        problem_of([&] { make_writable_folder(folder.path() / "file" / "b", "use --out DIR"); }),
        AllOf(HasSubstr("file/b: cannot create the folder"), EndsWith(": use --out DIR")));
}

}  // namespace
}  // namespace flux
