// The cleaned CC12M against the reference's script: kept rows, their order and their pixels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/arrow_table.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/data/clean_cc12m.h"
#include "flux/data/image_decode.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/sha256.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class ParityCleanCc12m : public testing::Test {
protected:
    void SetUp() override {
        FLUX_SKIP_WITHOUT_REFERENCE();
        folder_ = *test::reference_dir() / "data/clean_cc12m";
        settings_ = {.input_dir = (folder_ / "input").string(),
                     .left_out = read_row_numbers(folder_ / "filter_file.txt"),
                     .num_workers = 2};
    }

    void expect_rows(const std::string& manifest_name) {
        const json manifest = json::parse(read_text(folder_ / manifest_name));
        settings_.subset_size = manifest.at("subset_size").get<int64_t>();
        const CleanCc12m clean(settings_);
        const json& rows = manifest.at("rows");
        ASSERT_FALSE(rows.empty());
        ASSERT_EQ(clean.size(), std::ssize(rows));
        for (int64_t i = 0; i < clean.size(); ++i) {
            const json& expected = rows[static_cast<size_t>(i)];
            const CleanRow row = clean.read(i);
            SCOPED_TRACE(row.key);
            EXPECT_EQ(row.key, expected.at("key").get<std::string>());
            const Raster picture = decode_image(
                {reinterpret_cast<const uint8_t*>(row.png.data()), row.png.size()}, 1 << 30);
            EXPECT_EQ(mode_name(picture.mode), expected.at("png_mode").get<std::string>());
            EXPECT_EQ(picture.width, expected.at("png_size")[0].get<int>());
            EXPECT_EQ(picture.height, expected.at("png_size")[1].get<int>());
            EXPECT_EQ(test::sha256(picture.data), expected.at("pixels_sha256").get<std::string>());
        }
    }

    fs::path folder_;
    CleanSettings settings_;
};

TEST_F(ParityCleanCc12m, WholeOutput) { expect_rows("output_manifest.json"); }

/// The folder that is written, read back.
TEST_F(ParityCleanCc12m, WrittenFolder) {
    const json manifest = json::parse(read_text(folder_ / "output_manifest.json"));
    const json& rows = manifest.at("rows");
    settings_.subset_size = manifest.at("subset_size").get<int64_t>();
    const test::TemporaryFolder scratch;
    const fs::path out = scratch.path() / "out";
    ASSERT_EQ(write_clean_cc12m(settings_, out), std::ssize(rows));
    EXPECT_TRUE(fs::exists(out / "state.json"));
    const ArrowTable table({out / "data-00000-of-00001.arrow"}, {{"__key__", CellKind::kText},
                                                                 {"png.bytes", CellKind::kBytes},
                                                                 {"jpg.bytes", CellKind::kBytes},
                                                                 {"txt", CellKind::kText},
                                                                 {"json", CellKind::kText},
                                                                 {"__url__", CellKind::kText}});
    ASSERT_EQ(table.rows(), std::ssize(rows));
    for (int64_t i = 0; i < table.rows(); ++i) {
        const json& expected = rows[static_cast<size_t>(i)];
        EXPECT_EQ(table.bytes(i, 0)->text(), expected.at("key").get<std::string>());
        const auto png = table.bytes(i, 1);
        const Raster picture = decode_image(
            {reinterpret_cast<const uint8_t*>(png->bytes.data()), png->bytes.size()}, 1 << 30);
        EXPECT_EQ(test::sha256(picture.data), expected.at("pixels_sha256").get<std::string>());
        EXPECT_GT(table.bytes(i, 2)->bytes.size(), 0u);
        EXPECT_TRUE(json::parse(table.bytes(i, 4)->text()).is_object());
    }
}

TEST_F(ParityCleanCc12m, Subset) { expect_rows("output_subset_manifest.json"); }

TEST_F(ParityCleanCc12m, TooLargeSubset) {
    const std::string text = read_text(folder_ / "output_subset_too_large_error.txt");
    const size_t equals = text.find('=');
    ASSERT_NE(equals, std::string::npos);
    settings_.subset_size = std::stoll(text.substr(equals + 1));
    EXPECT_THROW(CleanCc12m{settings_}, Error);
}

TEST_F(ParityCleanCc12m, FindsProblematicRows) {
    std::vector<int64_t> found;
    for (const ProblematicRow& row : find_problematic(settings_.input_dir, 2)) {
        found.push_back(row.index);
    }
    EXPECT_EQ(found, read_row_numbers(folder_ / "problematic_indices_found.txt"));
    EXPECT_FALSE(found.empty());
}

TEST_F(ParityCleanCc12m, AnUnlistedBadPictureEndsTheRun) {
    const std::vector<int64_t> bad = read_row_numbers(folder_ / "problematic_indices_found.txt");
    std::erase_if(settings_.left_out, [&](int64_t row) { return row == bad.front(); });
    const json manifest = json::parse(read_text(folder_ / "output_manifest.json"));
    settings_.subset_size = manifest.at("subset_size").get<int64_t>();
    const std::string problem = test::problem_of([&] {
        const CleanCc12m clean(settings_);
        for (int64_t i = 0; i < clean.size(); ++i) {
            clean.read(i);
        }
    });
    EXPECT_THAT(problem, testing::HasSubstr(fmt::format("(row {})", bad.front())));
    EXPECT_THAT(problem, testing::HasSubstr("find-problematic"));
}

}  // namespace
}  // namespace flux::data
