#include "flux/data/tar_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/tar_bytes.h"
#include "flux/base/error.h"
#include "flux/data/shard_cache.h"
#include "flux/data/tar_index.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::data {
namespace {

using test::pax_record;
using test::tar_end;
using test::tar_member;
using test::tar_special;
using testing::HasSubstr;

class TarTest : public testing::Test {
protected:
    Shard shard(const std::string& bytes) const {
        const auto path = folder_.path() / "x.tar";
        write_text(path, bytes);
        return Shard(path, kUnpackedShardBytes);
    }

    /// Names of the regular members.
    std::vector<std::string> names(const std::string& bytes) const {
        const ShardReader reader(shard(bytes));
        TarReader tar(reader);
        std::vector<std::string> result;
        while (const auto member = tar.next()) {
            if (member->regular) {
                result.push_back(member->name);
            }
        }
        return result;
    }

    TarIndex index(const std::string& bytes) const { return index_tar(ShardReader(shard(bytes))); }

    std::string error_of(const std::string& bytes) const {
        const std::string problem = test::problem_of([&] { names(bytes); });
        EXPECT_THAT(problem, HasSubstr("x.tar"));
        return problem;
    }

    test::TemporaryFolder folder_;
};

TEST_F(TarTest, ReadsLongNamesOfAllKinds) {
    const std::string long_name(300, 'n');
    EXPECT_THAT(
        names(tar_special({.name = "base.txt", .prefix = "folder/of"}, "1") +
              tar_special({.name = "././@LongLink", .type = 'L'}, long_name + ".jpg" + '\0') +
              tar_member("short", "2") +
              tar_special({.name = "pax", .type = 'x'},
                          pax_record("mtime", "1.5") + pax_record("path", "p/" + long_name)) +
              tar_member("short", "3") + tar_member("last", "4") + tar_end()),
        testing::ElementsAre("folder/of/base.txt", long_name + ".jpg", "p/" + long_name, "last"));
}

TEST_F(TarTest, SkipsWhatIsNoPlainFile) {
    EXPECT_THAT(
        names(tar_special({.name = "folder/", .type = '5'}, "") +
              tar_special({.name = "link", .type = '2', .size_field = "00000001000"}, "") +
              tar_special({.name = "old/", .type = '\0'}, "") +
              tar_special({.name = "pax", .type = 'x'}, pax_record("GNU.sparse.major", "1")) +
              tar_member("sparse", "123") + tar_member("file", "1") + tar_end()),
        testing::ElementsAre("file"));
}

TEST_F(TarTest, TakesSizesFromBinaryFieldsAndPaxRecords) {
    std::string binary(12, '\0');
    binary[0] = static_cast<char>(0x80);
    binary[11] = 3;
    EXPECT_THAT(
        names(tar_special({.name = "a", .size_field = binary}, "123") +
              tar_special({.name = "pax", .type = 'x'}, pax_record("size", "600")) +
              tar_special({.name = "b", .size_field = "00000000000"}, std::string(600, 'b')) +
              tar_member("c", "1") + tar_end()),
        testing::ElementsAre("a", "b", "c"));
}

TEST_F(TarTest, RefusesDamage) {
    const std::string good = tar_member("good.txt", "1");
    EXPECT_THAT(error_of(good + tar_special({.name = "x", .good_checksum = false}, "")),
                HasSubstr("at byte 1024: not a tar header"));
    EXPECT_THAT(error_of(good + "half a header"), HasSubstr("truncated: 13 bytes"));
    EXPECT_THAT(error_of(good + tar_special({.name = "x", .magic = "other"}, "")),
                HasSubstr("unknown kind of archive"));
    EXPECT_THAT(error_of(tar_special({.name = "x", .size_field = "12x45678901"}, "")),
                HasSubstr("size field"));
    EXPECT_THAT(error_of(tar_special({.name = "x", .size_field = std::string(12, '\xFF')}, "")),
                HasSubstr("size field"));
    EXPECT_THAT(error_of(test::tar_header({.name = "x", .type = 'L'}, 1 << 30)),
                HasSubstr("more than the limit"));
    EXPECT_THAT(error_of(test::tar_header({.name = "x", .type = 'x'}, 100)),
                HasSubstr("truncated inside an extension header"));
    for (const std::string bad : {"5 a=b\n", "99 a=b\n", "x a=b\n", "7 a=b\n.", "5 ab\n"}) {
        EXPECT_THAT(error_of(tar_special({.name = "x", .type = 'x'}, bad)), HasSubstr("PAX record"))
            << bad;
    }
}

TEST_F(TarTest, RefusesAnEmptyFile) { EXPECT_THROW(shard(""), Error); }

TEST(SplitMemberName, FollowsWebdataset) {
    const auto split = [](std::string_view name) {
        const auto result = split_member_name(name);
        return result ? result->key + "|" + result->extension : "ignored";
    };
    EXPECT_EQ(split("a/b.c/key.JPG"), "a/b.c/key|jpg");
    EXPECT_EQ(split("key.left.png"), "key|left.png");
    EXPECT_EQ(split("../key.txt"), "../key|txt");
    EXPECT_EQ(split("a/.hidden.txt"), "ignored");
    EXPECT_EQ(split("__meta.json"), "ignored");
    EXPECT_EQ(split("no_extension"), "ignored");
    EXPECT_EQ(split(""), "ignored");
}

TEST_F(TarTest, IndexJoinsInterleavedMembersAndKeepsTheRestOfADamagedShard) {
    const TarIndex found = index(tar_member("a.txt", "1") + tar_member("b.txt", "2") +
                                 tar_member("a.json", "3") + tar_member("b.txt", "4") + "garbage");
    ASSERT_EQ(found.samples.size(), 3u);
    EXPECT_EQ(found.samples[0].key, "a");
    EXPECT_EQ(found.samples[0].members.size(), 2u);
    EXPECT_EQ(found.samples[0].problem, "");
    EXPECT_EQ(found.samples[1].problem, "has two members .txt");
    EXPECT_THAT(found.samples[2].problem, HasSubstr("truncated"));
    EXPECT_THAT(found.damage, HasSubstr("truncated"));
}

TEST_F(TarTest, IndexMarksTheSampleThatIsCut) {
    const TarIndex found = index(tar_member("a.txt", "1") + tar_member("b.json", "2") +
                                 test::tar_header({.name = "b.txt"}, 600) + "short");
    ASSERT_EQ(found.samples.size(), 2u);
    EXPECT_EQ(found.samples[0].problem, "");
    EXPECT_THAT(found.samples[1].problem,
                HasSubstr("truncated: it ends at byte 2565 inside b.txt"));
}

}  // namespace
}  // namespace flux::data
