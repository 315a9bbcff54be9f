// Stored encodings that this program wrote, and folders that were written in pieces.
#include "flux/data/encoding_dataset.h"

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/npy.h"
#include "flux/data/loader.h"
#include "flux/data/saved_folder.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::vector<SavedColumn> kColumns = {
    {"__key__", SavedKind::kText},         {"t5_encodings", SavedKind::kBytes},
    {"clip_encodings", SavedKind::kBytes}, {"mean", SavedKind::kBytes},
    {"logvar", SavedKind::kBytes},         {"timestep", SavedKind::kInt32}};

std::string cell(std::vector<int64_t> shape, double value) {
    return npy_bytes(at::full(shape, value, at::kBFloat16));
}

void add_row(ArrowWriter& writer, int64_t row, std::optional<int32_t> timestep = std::nullopt) {
    const std::string key = std::to_string(row);
    const std::string t5 = cell({3, 4}, double(row));
    const std::string clip = cell({5}, double(row));
    const std::string latent = cell({16, 2, 2}, double(row));
    writer.add({std::string_view(key), std::string_view(t5), std::string_view(clip),
                std::string_view(latent), std::string_view(latent),
                timestep ? SavedCell(*timestep) : SavedCell()});
}

SavedFolderPlan plan(int64_t rows, int64_t rows_per_file) {
    return {.columns = kColumns,
            .input_rows = rows,
            .rows_per_file = rows_per_file,
            .facts = {{"seed", "1"}}};
}

void write_file(const SavedFolder& folder, int64_t file) {
    const auto writer = folder.writer(file);
    const auto [first, end] = folder.rows_of(file);
    for (int64_t row = first; row < end; ++row) {
        add_row(*writer, row);
    }
    writer->commit();
}

class SavedFolderTest : public testing::Test {
protected:
    test::TemporaryFolder folder_;
};

TEST_F(SavedFolderTest, GoesOnAfterAnyFileAndHoldsEveryRowOnce) {
    {
        const SavedFolder begun(folder_.path(), plan(25, 10));
        ASSERT_EQ(begun.files(), 3);
        write_file(begun, 0);
        const auto killed = begun.writer(1);  // never committed
        add_row(*killed, 10);
        EXPECT_FALSE(begun.is_written(1));
        EXPECT_THROW(begun.finish(), Error);
    }
    const SavedFolder again(folder_.path(), plan(25, 10));
    EXPECT_TRUE(again.is_written(0));
    EXPECT_FALSE(again.is_finished());
    write_file(again, 1);
    write_file(again, 2);
    EXPECT_EQ(again.finish(), 25);
    EXPECT_TRUE(again.is_finished());
    const EncodingDataset dataset({.path = folder_.path()});
    ASSERT_EQ(dataset.size(), 25);
    for (int64_t row = 0; row < 25; ++row) {
        EXPECT_EQ(dataset.read(row, 0).key, std::to_string(row));
    }
}

// Its rows would count as left out.
TEST_F(SavedFolderTest, DoesNotFinishWithAFileThatWasCut) {
    const SavedFolder folder(folder_.path(), plan(20, 10));
    write_file(folder, 0);
    write_file(folder, 1);
    const std::filesystem::path file = folder_.path() / saved_file_name(1, 2);
    const std::string bytes = read_text(file);
    write_text(file, bytes.substr(0, bytes.size() - 8));
    EXPECT_THAT([&] { folder.finish(); },
                testing::ThrowsMessage<Error>(
                    testing::AllOf(HasSubstr(saved_file_name(1, 2)), HasSubstr("has lost rows"))));
    EXPECT_FALSE(folder.is_finished());
    std::filesystem::remove(file);
    write_file(folder, 1);
    EXPECT_EQ(folder.finish(), 20);
}

TEST_F(SavedFolderTest, RefusesOtherWorkAndOtherFolders) {
    { const SavedFolder begun(folder_.path(), plan(25, 10)); }
    EXPECT_EQ(SavedFolder::fact(folder_.path(), "seed"), "1");
    SavedFolderPlan other = plan(25, 10);
    other.facts["seed"] = "2";
    EXPECT_THAT([&] { SavedFolder(folder_.path(), other); },
                testing::ThrowsMessage<Error>(HasSubstr("was begun with seed = 1, now it is 2")));
    const test::TemporaryFolder used;
    write_text(used.path() / "thesis.txt", "x");
    EXPECT_THAT([&] { SavedFolder(used.path(), plan(1, 1)); },
                testing::ThrowsMessage<Error>(HasSubstr("holds thesis.txt")));
}

TEST(EncodingDataset, EveryTimestepIsLookedAtWhereAllNeedOne) {
    for (const auto& [wrong, said] :
         {std::pair(std::optional<int32_t>(8), "row 2 (2): timestep 8: must be 0 .. 7"),
          std::pair(std::optional<int32_t>(), "row 2 (2): has no timestep, and needs one")}) {
        const test::TemporaryFolder folder;
        const SavedFolder saved(folder.path(), plan(3, 3));
        const auto writer = saved.writer(0);
        for (int64_t row = 0; row < 3; ++row) {
            add_row(*writer, row, row == 2 ? wrong : std::optional<int32_t>(7));
        }
        writer->commit();
        saved.finish();
        EXPECT_EQ(EncodingDataset({.path = folder.path()}).size(), 3);
        EXPECT_THAT([&] { EncodingDataset({.path = folder.path(), .needs_timesteps = true}); },
                    testing::ThrowsMessage<Error>(HasSubstr(said)));
    }
}

TEST(EncodingDataset, RowsLandInTheBatchAndBadOnesAreReplaced) {
    const test::TemporaryFolder folder;
    const SavedFolder saved(folder.path(), plan(40, 40));
    const auto writer = saved.writer(0);
    for (int64_t row = 0; row < 40; ++row) {
        add_row(*writer, row, row == 7 ? 9 : static_cast<int32_t>(row % 8));
    }
    writer->commit();
    saved.finish();
    const EncodingDataset dataset({.path = folder.path(), .subset_size = 30});
    EXPECT_EQ(std::get<EncodingShape>(dataset.payload()), (EncodingShape{3, 4, 5, 16, 2, 2}));
    EXPECT_THAT([&] { dataset.read(7, 0); },
                testing::ThrowsMessage<Error>(testing::AllOf(
                    HasSubstr("row 7 (7)"), HasSubstr("timestep 9: must be 0 .. 7"))));
    Loader loader(dataset, {.batch_size = 10, .end = 30, .seed = 2, .max_bad_fraction = 0.2});
    int64_t seen = 0;
    while (const auto batch = loader.next()) {
        const EncodingBatch& got = batch->payload.encodings;
        for (int64_t i = 0; i < batch->size(); ++i, ++seen) {
            const double value = std::stod(batch->keys[size_t(i)]);
            EXPECT_TRUE(got.t5[i].eq(value).all().item<bool>());
            EXPECT_TRUE(got.clip[i].eq(value).all().item<bool>());
            EXPECT_TRUE(got.mean[i].eq(value).all().item<bool>());
            EXPECT_TRUE(got.logvar[i].eq(value).all().item<bool>());
            EXPECT_NE(value, 7);
        }
    }
    EXPECT_EQ(seen, 30);
    EXPECT_EQ(loader.bad_samples(), 1);
}

TEST(EncodingDataset, TheFingerprintTellsSetsApart) {
    const test::TemporaryFolder folder;
    const SavedFolder saved(folder.path(), plan(10, 5));
    write_file(saved, 0);
    write_file(saved, 1);
    saved.finish();
    const EncodingDataset all({.path = folder.path()});
    const EncodingDataset some({.path = folder.path(), .subset_size = 9});
    const test::TemporaryFolder elsewhere;
    fs::copy(folder.path(), elsewhere.path() / "copy", fs::copy_options::recursive);
    const EncodingDataset copy({.path = elsewhere.path() / "copy"});
    EXPECT_EQ(all.fingerprint(), copy.fingerprint());
    EXPECT_NE(all.fingerprint(), some.fingerprint());
}

}  // namespace
}  // namespace flux::data
