// The table over Arrow files: formats, compression, random access, and files that are damaged in
// any byte.
#include "data/arrow_table.h"

#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_nested.h>
#include <arrow/io/file.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/compression.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <parquet/arrow/writer.h>

#include <fstream>
#include <thread>

#include "data/arrow_status.h"
#include "data/table_files.h"
#include "flux/base/file.h"
#include "flux/base/philox.h"
#include "flux/data/arrow_writer.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using test::problem_of;
using testing::HasSubstr;

const std::vector<SavedColumn> kColumns = {{"key", SavedKind::kText},
                                           {"data", SavedKind::kBytes},
                                           {"number", SavedKind::kInt32},
                                           {"picture", SavedKind::kImage}};
const std::vector<TableColumn> kWanted = {{"key", CellKind::kText},
                                          {"data", CellKind::kBytes},
                                          {"number", CellKind::kInteger},
                                          {"picture.bytes", CellKind::kBytes},
                                          {"absent", CellKind::kBytes, false}};

std::string data_of(int64_t row) { return std::string(size_t(row % 50) * 7, char('a' + row % 26)); }

/// Rows first .. first + count; every third number and every fifth picture is null.
void write_rows(const fs::path& path, int64_t first, int64_t count,
                SavedCompression compression = SavedCompression::kNone) {
    ArrowWriter writer(path, kColumns, compression);
    for (int64_t row = first; row < first + count; ++row) {
        const std::string key = std::to_string(row);
        const std::string data = data_of(row);
        const std::string picture = "picture " + key;
        SavedCell number, image;
        if (row % 3 != 0) {
            number = static_cast<int32_t>(row);
        }
        if (row % 5 != 0) {
            image = std::string_view(picture);
        }
        writer.add({std::string_view(key), std::string_view(data), number, image});
    }
    writer.commit();
}

void expect_row(const ArrowTable& table, int64_t row) {
    EXPECT_EQ(table.bytes(row, 0)->text(), std::to_string(row));
    EXPECT_EQ(table.bytes(row, 1)->text(), data_of(row));
    EXPECT_EQ(table.integer(row, 2), row % 3 == 0 ? std::nullopt : std::optional<int64_t>(row));
    const auto picture = table.bytes(row, 3);
    ASSERT_EQ(picture.has_value(), row % 5 != 0);
    if (picture) {
        EXPECT_EQ(picture->text(), "picture " + std::to_string(row));
    }
    EXPECT_FALSE(table.bytes(row, 4).has_value());
}

TEST(ArrowTable, FindsAnyRowInAnyFileAndBatch) {
    const test::TemporaryFolder folder;
    write_rows(folder.path() / "a", 0, 230);
    write_rows(folder.path() / "b", 230, 1, SavedCompression::kZstd);
    write_rows(folder.path() / "c", 231, 0);
    write_rows(folder.path() / "d", 231, 350, SavedCompression::kZstd);
    const ArrowTable table(
        {folder.path() / "a", folder.path() / "b", folder.path() / "c", folder.path() / "d"},
        kWanted, 30'000);  // keeps one decoded batch at a time
    ASSERT_EQ(table.rows(), 581);
    const Draw draw{1, Purpose::kOrder, 0};
    for (uint32_t i = 0; i < 300; ++i) {
        expect_row(table, static_cast<int64_t>(draw.below(581, i)));
    }
    EXPECT_THAT(table.describe(580), testing::EndsWith("d: row 349"));
    EXPECT_TRUE(table.has(3));
    EXPECT_FALSE(table.has(4));
}

TEST(ArrowTable, ADecodedCellOutlivesItsBatch) {
    const test::TemporaryFolder folder;
    write_rows(folder.path() / "a", 0, 500, SavedCompression::kZstd);
    std::optional<CellBytes> cell;
    {
        const ArrowTable table({folder.path() / "a"}, kWanted, 40'000);  // less than two batches
        cell = table.bytes(149, 1);
        for (const int64_t row : {450, 320, 17}) {
            expect_row(table, row);
        }
        EXPECT_NE(table.bytes(149, 1)->bytes.data(), cell->bytes.data());
    }
    EXPECT_EQ(cell->text(), data_of(149));
}

TEST(ArrowTable, ThreadsDecodeSideBySideAndNoBatchTwice) {
    const test::TemporaryFolder folder;
    write_rows(folder.path() / "a", 0, 500, SavedCompression::kZstd);
    const ArrowTable table({folder.path() / "a"}, kWanted, 60'000);
    std::vector<const std::byte*> first(8);
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < first.size(); ++i) {
        threads.emplace_back([&, i] {
            first[i] = table.bytes(142, 1)->bytes.data();
            for (int64_t k = 0; k < 300; ++k) {
                expect_row(table, (k * 211 + static_cast<int64_t>(i) * 37) % 500);
            }
        });
    }
    threads.clear();
    for (int64_t row = 0; row < 500; ++row) {
        expect_row(table, row);
    }
}

// A few bytes of zeros in a file must not take the machine's memory.
TEST(ArrowTable, RefusesABatchThatUnpacksToTooMuch) {
    const test::TemporaryFolder folder;
    const auto zeros = std::make_shared<arrow::BinaryBuilder>();
    check_arrow(zeros->Append(std::string(size_t{8} << 20, '\0')), "append");
    const auto array = take_arrow(zeros->Finish(), "finish");
    const auto schema = arrow::schema({arrow::field("data", arrow::binary())});
    ArrowWriter writer(folder.path() / "a", {{"data", SavedKind::kBytes}}, SavedCompression::kZstd);
    writer.add({std::string_view(std::string(size_t{8} << 20, '\0'))});
    writer.commit();
    const auto out =
        take_arrow(arrow::io::FileOutputStream::Open((folder.path() / "b").string()), "open");
    parquet::WriterProperties::Builder properties;
    check_arrow(parquet::arrow::WriteTable(
                    *arrow::Table::Make(schema, {array}), arrow::default_memory_pool(), out, 1,
                    properties.compression(parquet::Compression::ZSTD)->build()),
                "write");
    check_arrow(out->Close(), "close");
    for (const char* name : {"a", "b"}) {
        EXPECT_LT(fs::file_size(folder.path() / name), 100'000u);
        const ArrowTable bounded({folder.path() / name}, {{"data", CellKind::kBytes}}, 1 << 20);
        EXPECT_THAT(problem_of([&] { bounded.bytes(0, 0); }),
                    testing::AllOf(HasSubstr(name), HasSubstr("with smaller batches")));
        const ArrowTable table({folder.path() / name}, {{"data", CellKind::kBytes}}, 64 << 20);
        EXPECT_EQ(table.bytes(0, 0)->bytes.size(), size_t{8} << 20);
    }
}

/// One large_binary column, as a file with a footer.
void write_ipc_file(const fs::path& path, arrow::Compression::type compression) {
    const auto schema = arrow::schema({arrow::field("data", arrow::large_binary())});
    auto options = arrow::ipc::IpcWriteOptions::Defaults();
    if (compression != arrow::Compression::UNCOMPRESSED) {
        options.codec = take_arrow(arrow::util::Codec::Create(compression), "codec");
    }
    const auto out = take_arrow(arrow::io::FileOutputStream::Open(path.string()), "open");
    const auto writer = take_arrow(arrow::ipc::MakeFileWriter(out, schema, options), "writer");
    for (int64_t batch = 0; batch < 3; ++batch) {
        arrow::LargeBinaryBuilder builder;
        for (int64_t row = 0; row < 40; ++row) {
            check_arrow(builder.Append(data_of(40 * batch + row)), "append");
        }
        const auto array = take_arrow(builder.Finish(), "finish");
        check_arrow(writer->WriteRecordBatch(*arrow::RecordBatch::Make(schema, 40, {array})), "w");
    }
    check_arrow(writer->Close(), "close");
    check_arrow(out->Close(), "close");
}

TEST(ArrowTable, ReadsTheFileFormatAndBothCompressions) {
    const test::TemporaryFolder folder;
    for (const auto compression : {arrow::Compression::UNCOMPRESSED, arrow::Compression::ZSTD,
                                   arrow::Compression::LZ4_FRAME}) {
        write_ipc_file(folder.path() / "x.arrow", compression);
        const ArrowTable table({folder.path() / "x.arrow"}, {{"data", CellKind::kBytes}});
        ASSERT_EQ(table.rows(), 120);
        for (int64_t row = 0; row < 120; ++row) {
            EXPECT_EQ(table.bytes(row, 0)->text(), data_of(row));
        }
    }
}

/// The same column, and a struct with `bytes`, in row groups of 50.
void write_parquet(const fs::path& path) {
    const auto image = std::make_shared<arrow::BinaryBuilder>();
    arrow::StructBuilder images(arrow::struct_({arrow::field("bytes", arrow::binary())}),
                                arrow::default_memory_pool(), {image});
    arrow::BinaryBuilder data;
    for (int64_t row = 0; row < 120; ++row) {
        check_arrow(data.Append(data_of(row)), "append");
        check_arrow(images.Append(), "append");
        check_arrow(image->Append("picture " + std::to_string(row)), "append");
    }
    const auto first = take_arrow(data.Finish(), "finish");
    const auto second = take_arrow(images.Finish(), "finish");
    const auto table = arrow::Table::Make(
        arrow::schema({arrow::field("data", first->type()), arrow::field("jpg", second->type())}),
        {first, second});
    const auto out = take_arrow(arrow::io::FileOutputStream::Open(path.string()), "open");
    check_arrow(parquet::arrow::WriteTable(*table, arrow::default_memory_pool(), out, 50), "write");
    check_arrow(out->Close(), "close");
}

TEST(ArrowTable, ReadsParquet) {
    const test::TemporaryFolder folder;
    write_parquet(folder.path() / "x.parquet");
    const ArrowTable table(find_table_files(folder.path()),
                           {{"jpg", CellKind::kBytes}, {"data", CellKind::kBytes}});
    ASSERT_EQ(table.rows(), 120);
    for (int64_t row = 119; row >= 0; --row) {
        EXPECT_EQ(table.bytes(row, 0)->text(), "picture " + std::to_string(row));
        EXPECT_EQ(table.bytes(row, 1)->text(), data_of(row));
    }
    const std::string good = read_text(folder.path() / "x.parquet");
    write_text(folder.path() / "x.parquet", good.substr(0, good.size() / 2));
    EXPECT_THAT(problem_of([&] { ArrowTable({folder.path() / "x.parquet"}, {}); }),
                HasSubstr("x.parquet"));
}

TEST(ArrowTable, RefusesOtherColumnsByName) {
    const test::TemporaryFolder folder;
    write_rows(folder.path() / "a", 0, 3);
    const auto open = [&](TableColumn column) {
        return problem_of([&] { ArrowTable({folder.path() / "a"}, {column}); });
    };
    EXPECT_THAT(open({"mean", CellKind::kBytes}),
                testing::AllOf(HasSubstr("has no column \"mean\""), HasSubstr("key, data")));
    EXPECT_THAT(open({"key", CellKind::kBytes}), HasSubstr("type string: must be binary"));
    EXPECT_THAT(open({"number.bytes", CellKind::kBytes}), HasSubstr("has no column"));
}

/// Without waiting for the disk.
void write_fast(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

// Whatever happens to a byte, the answer is an Error or other cells, never a crash. Run this under
// AddressSanitizer too.
TEST(ArrowTable, SurvivesDamageInAnyByte) {
    const test::TemporaryFolder folder;
    int refused = 0;
    int read = 0;
    for (const auto compression : {SavedCompression::kNone, SavedCompression::kZstd}) {
        write_rows(folder.path() / "good", 0, 12, compression);
        const std::string good = read_text(folder.path() / "good");
        for (size_t i = 0; i < good.size(); i += 3) {
            std::string bad = good;
            bad[i] = static_cast<char>(bad[i] ^ (i % 2 == 0 ? 0xFF : 0x81));
            write_fast(folder.path() / "bad", bad);
            try {
                const ArrowTable table({folder.path() / "bad"}, kWanted);
                for (int64_t row = 0; row < table.rows(); ++row) {
                    for (const size_t column : {0, 1, 3}) {
                        table.bytes(row, column);
                    }
                    table.integer(row, 2);
                }
                ++read;
            } catch (const Error&) {
                ++refused;
            }
        }
        for (size_t size = 0; size < good.size(); size += 31) {
            write_fast(folder.path() / "bad", good.substr(0, size));
            EXPECT_NE(problem_of([&] {
                          const ArrowTable table({folder.path() / "bad"}, kWanted);
                          if (table.rows() < 12) {
                              fail("rows are lost");
                          }
                      }),
                      "")
                << size;
        }
    }
    EXPECT_GT(refused, 100);
    EXPECT_GT(read, 100);
}

TEST(ArrowTable, RefusesABatchWithoutAHead) {
    const test::TemporaryFolder folder;
    write_rows(folder.path() / "good", 0, 3);
    const std::string good = read_text(folder.path() / "good");
    int without_head = 0;
    for (size_t bit = 0; bit < 8 * good.size(); ++bit) {  // one of them turns the head's place to 0
        std::string bad = good;
        bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
        write_fast(folder.path() / "bad", bad);
        const std::string error =
            problem_of([&] { const ArrowTable table({folder.path() / "bad"}, kWanted); });
        without_head += error.find("record batch without a head") != std::string::npos ? 1 : 0;
    }
    EXPECT_GT(without_head, 0);
}

class TableFiles : public testing::Test {
protected:
    /// A folder with one file of the given name.
    void save(const std::string& name, const std::string& file = "data-00000-of-00001.arrow") {
        fs::create_directories(folder_.path() / name);
        if (!file.empty() && file.find('/') == std::string::npos) {
            write_rows(folder_.path() / name / file, 0, 1);
        }
        write_saved_index(folder_.path() / name, kColumns, {{file, 1, 1}}, 0);
    }
    std::vector<std::string> find(const std::string& path) const {
        std::vector<std::string> folders;
        for (const fs::path& file : find_table_files(path)) {
            folders.push_back(file.parent_path().filename());
        }
        return folders;
    }
    std::string at(const std::string& name) const { return (folder_.path() / name).string(); }

    test::TemporaryFolder folder_;
};

TEST_F(TableFiles, AreNamedByFoldersPatternsAndLists) {
    save("b");
    save("a");
    save("c");
    using Names = std::vector<std::string>;
    EXPECT_EQ(find(at("b")), Names{"b"});
    EXPECT_EQ(find(at("b") + "," + at("a")), (Names{"b", "a"}));
    EXPECT_EQ(find(at("[ab]")), (Names{"a", "b"}));
    EXPECT_EQ(find(folder_.path()), (Names{"a", "b", "c"}));
    EXPECT_EQ(find(at("a/data-00000-of-00001.arrow")), Names{"a"});
    EXPECT_THAT(problem_of([&] { find(at("d")); }), HasSubstr("no such file or folder"));
}

TEST_F(TableFiles, NeverLeadOutOfTheirFolder) {
    save("good");
    save("bad", "../good/data-00000-of-00001.arrow");
    EXPECT_THAT(problem_of([&] { find(at("bad")); }),
                HasSubstr("must be a file in the same folder"));
}

TEST_F(TableFiles, OfSeveralSplitsAreNotMixed) {
    save("set/train");
    save("set/test");
    write_text(folder_.path() / "set/dataset_dict.json", R"({"splits": ["train", "test"]})");
    EXPECT_THAT(problem_of([&] { find(at("set")); }), HasSubstr("test, train"));
    EXPECT_EQ(find(at("set/train")), std::vector<std::string>{"train"});
}

// A copy that broke off between two batches reads without an error.
TEST_F(TableFiles, ThatLostRowsAreRefused) {
    const std::string file = "data-00000-of-00001.arrow";
    save("whole");
    write_rows(folder_.path() / "whole" / file, 0, 250);
    write_rows(folder_.path() / "shorter", 0, 200);
    const std::string bytes = read_text(folder_.path() / "whole" / file);
    const std::string cut = bytes.substr(0, fs::file_size(folder_.path() / "shorter") - 8);
    write_saved_index(folder_.path() / "whole", kColumns, {{file, 250, 1}}, 0);
    EXPECT_EQ(open_table(at("whole"), kWanted)->rows(), 250);

    fs::copy(folder_.path() / "whole", folder_.path() / "cut");
    write_text(folder_.path() / "cut" / file, cut);
    EXPECT_EQ(ArrowTable({folder_.path() / "cut" / file}, kWanted).rows(), 200);
    EXPECT_THAT(problem_of([&] { open_table(at("cut"), kWanted); }),
                testing::AllOf(HasSubstr("cut/" + file), HasSubstr("holds 200 rows"),
                               HasSubstr("says 250")));

    // Of another program, which gives no rows of single files.
    const fs::path state = folder_.path() / "cut/state.json";
    write_text(state, R"({"_data_files": [{"filename": ")" + file + R"("}], "_split": "train"})");
    EXPECT_THAT(problem_of([&] { open_table(at("cut"), kWanted); }),
                testing::AllOf(HasSubstr("no end mark"), HasSubstr("250 rows, 200 are here")));
    write_text(folder_.path() / "cut" / file, bytes.substr(0, bytes.size() - 8));
    EXPECT_EQ(open_table(at("cut"), kWanted)->rows(), 250);  // nothing is missing but the mark
    write_rows(folder_.path() / "cut" / file, 0, 20);        // a part that was stored as one
    EXPECT_EQ(open_table(at("cut"), kWanted)->rows(), 20);
}

}  // namespace
}  // namespace flux::data
