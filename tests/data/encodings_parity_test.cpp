// Stored encodings of save_to_disk folders against what the reference's code reads from them, bit
// for bit, its order, and its broken folders.
#include <ATen/ops/equal.h>
#include <ATen/ops/index_select.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/safetensors.h"
#include "flux/data/loader.h"
#include "flux/data/registry.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Keys = std::vector<std::string>;

DatasetSettings settings_of(const fs::path& folder, int64_t subset_size = 0) {
    return {.name = "cc12m_preprocessed", .path = folder.string(), .subset_size = subset_size};
}

std::vector<Batch> read_batches(const Dataset& dataset, LoaderSettings settings) {
    settings.shuffle = config::Shuffle::kNone;
    settings.substitute = false;
    settings.max_bad_fraction = 1;
    if (settings.end < 0) {
        settings.end = dataset.size();
    }
    Loader loader(dataset, settings);
    std::vector<Batch> batches;
    while (auto batch = loader.next()) {
        batches.push_back(std::move(*batch));
    }
    return batches;
}

Keys keys_of(const std::vector<Batch>& batches) {
    Keys keys;
    for (const Batch& batch : batches) {
        keys.insert(keys.end(), batch.keys.begin(), batch.keys.end());
    }
    return keys;
}

class ParityEncodings : public testing::Test {
protected:
    void SetUp() override {
        FLUX_SKIP_WITHOUT_REFERENCE();
        folder_ = *test::reference_dir() / "data/preprocessed";
    }

    json load(const fs::path& path) const { return json::parse(read_text(path)); }

    /// Folders with an ending, without it.
    std::vector<std::string> names(const std::string& ending) const {
        std::vector<std::string> found;
        for (const auto& entry : fs::directory_iterator(folder_)) {
            const std::string name = entry.path().filename().string();
            if (entry.is_directory() && name.ends_with(ending)) {
                found.push_back(name.substr(0, name.size() - ending.size()));
            }
        }
        return found;
    }

    fs::path folder_;
};

TEST_F(ParityEncodings, EveryBitIsThatOfTheTruth) {
    int compared = 0;
    for (const std::string& name : names(".truth")) {
        SCOPED_TRACE(name);
        const fs::path truth = folder_ / (name + ".truth");
        const json facts = load(truth / "truth.json");
        const auto dataset = make_dataset(settings_of(folder_ / name));
        const auto batches = read_batches(*dataset, {.batch_size = 7});
        EXPECT_EQ(keys_of(batches), facts.at("keys").get<Keys>());
        std::vector<int64_t> timesteps;
        for (const Batch& batch : batches) {
            timesteps.insert(timesteps.end(), batch.timesteps.begin(), batch.timesteps.end());
        }
        if (facts.at("timestep").is_array()) {
            for (size_t i = 0; i < timesteps.size(); ++i) {
                const json& expected = facts.at("timestep").at(i);
                EXPECT_EQ(timesteps[i], expected.is_null() ? -1 : expected.get<int64_t>());
            }
        }
        if (!fs::exists(truth / "truth.safetensors")) {
            continue;  // hashes only; first8_as_float is compared below
        }
        const SafetensorsFile tensors(truth / "truth.safetensors");
        int64_t row = 0;
        for (const Batch& batch : batches) {
            const EncodingBatch& got = batch.payload.encodings;
            const auto expect = [&](const char* column, const at::Tensor& actual) {
                EXPECT_TRUE(test::same_bits(column, actual,
                                            tensors.tensor(column).narrow(0, row, batch.size())));
            };
            expect("t5_encodings", got.t5);
            expect("clip_encodings", got.clip);
            expect("mean", got.mean);
            expect("logvar", got.logvar);
            row += batch.size();
            ++compared;
        }
    }
    EXPECT_GT(compared, 0);
}

TEST_F(ParityEncodings, SizesAndFirstValuesOfRealRows) {
    int compared = 0;
    for (const std::string& name : names(".truth")) {
        const json facts = load(folder_ / (name + ".truth") / "truth.json");
        if (!facts.contains("shapes")) {
            continue;
        }
        SCOPED_TRACE(name);
        const auto dataset = make_dataset(settings_of(folder_ / name));
        const Batch batch = read_batches(*dataset, {.batch_size = dataset->size()}).front();
        const EncodingBatch& got = batch.payload.encodings;
        const std::map<std::string, at::Tensor> columns = {{"t5_encodings", got.t5},
                                                           {"clip_encodings", got.clip},
                                                           {"mean", got.mean},
                                                           {"logvar", got.logvar}};
        for (const auto& [column, tensor] : columns) {
            EXPECT_EQ(tensor.sizes().vec(),
                      facts.at("shapes").at(column).get<std::vector<int64_t>>());
            const json& first = facts.at("first8_as_float").at(column);
            for (int64_t row = 0; row < tensor.size(0); ++row) {
                const at::Tensor values = tensor[row].flatten();
                for (size_t i = 0; i < first.at(row).size(); ++i) {
                    EXPECT_EQ(values[int64_t(i)].item<float>(), first.at(row).at(i).get<float>());
                    ++compared;
                }
            }
        }
    }
    EXPECT_GT(compared, 0);
}

/// One process, and a process's share of the unshuffled order, which the reference cuts into
/// blocks and we into slices of every global batch: together both are every row once.
TEST_F(ParityEncodings, UnshuffledOrderIsTheReferences) {
    const json facts = load(folder_ / "rank_assignment.json");
    int compared = 0;
    for (const auto& [name, entry] : facts.items()) {
        if (!entry.is_object() || !entry.contains("runs")) {
            continue;
        }
        SCOPED_TRACE(name);
        const auto dataset = make_dataset(settings_of(folder_ / name));
        std::map<int64_t, Keys> all;
        for (const json& run : entry.at("runs")) {
            const Keys keys = run.at("keys").get<Keys>();
            Keys& world = all[run.at("world").get<int64_t>()];
            world.insert(world.end(), keys.begin(), keys.end());
        }
        const Keys ours = keys_of(read_batches(*dataset, {.batch_size = 5}));
        EXPECT_EQ(ours, all.at(1));
        for (const auto& [world, keys] : all) {
            Keys together;
            for (int64_t rank = 0; rank < world; ++rank) {
                for (const std::string& key : keys_of(read_batches(
                         *dataset, {.batch_size = 1, .group_size = world, .group_offset = rank}))) {
                    together.push_back(key);
                }
            }
            EXPECT_THAT(together, testing::UnorderedElementsAreArray(keys)) << "world " << world;
            ++compared;
        }
    }
    EXPECT_GT(compared, 0);
}

TEST_F(ParityEncodings, ASubsetIsTheFirstRows) {
    const json facts = load(folder_ / "rank_assignment.json");
    int compared = 0;
    for (const auto& [name, entry] : facts.items()) {
        if (!entry.is_object()) {
            continue;
        }
        for (const auto& [field, runs] : entry.items()) {
            int subset = 0;
            if (std::sscanf(field.c_str(), "subset_size_%d", &subset) != 1) {
                continue;
            }
            Keys expected;
            for (const json& run : runs) {
                const Keys keys = run.get<Keys>();  // of one rank
                expected.insert(expected.end(), keys.begin(), keys.end());
            }
            const auto dataset = make_dataset(settings_of(folder_ / name, subset));
            EXPECT_EQ(keys_of(read_batches(*dataset, {.batch_size = 4})), expected) << name;
            ++compared;
        }
    }
    EXPECT_GT(compared, 0);
}

TEST_F(ParityEncodings, TheTimestepColumnMayBeMissing) {
    int compared = 0;
    for (const std::string& name : names("_no_timestep_preprocessed")) {
        const auto dataset =
            make_dataset(settings_of(folder_ / (name + "_no_timestep_preprocessed")));
        for (const Batch& batch : read_batches(*dataset, {.batch_size = 16})) {
            EXPECT_THAT(batch.timesteps, testing::Each(-1));
            ++compared;
        }
    }
    EXPECT_GT(compared, 0);
}

/// What opening or reading a broken folder says: an error, or the bad rows of its good ones.
struct Outcome {
    std::string refused;
    std::vector<std::string> bad;
    int64_t good = 0;
};

Outcome read_broken(const fs::path& folder) {
    Outcome outcome;
    try {
        const auto dataset = make_dataset(settings_of(folder));
        for (int64_t row = 0; row < dataset->size(); ++row) {
            try {
                dataset->read(row, 0);
                ++outcome.good;
            } catch (const Error& error) {
                outcome.bad.emplace_back(error.what());
            }
        }
    } catch (const Error& error) {
        outcome.refused = error.what();
    }
    return outcome;
}

TEST_F(ParityEncodings, BrokenFoldersAreRefusedOrLoseOnlyTheirBadRows) {
    // What the error of each case must name; the rows of the others stay readable.
    const std::map<std::string, std::vector<std::string>> refused = {
        {"bad_state_json", {"state.json", "JSON"}},
        {"missing_dataset_info", {"dataset_info.json"}},
        {"missing_shard", {"state.json", "data-", "does not exist"}},
        {"missing_state_json", {"state.json"}},
        {"no_logvar_column", {"data-", "logvar"}},
        {"truncated_arrow", {"data-", "byte"}},
        {"zero_byte_shard", {"data-", "0 bytes"}}};
    const std::map<std::string, std::vector<std::string>> bad_rows = {
        {"bad_npy_bytes", {"row", "npy"}},
        {"npy_float32_instead_of_uint16", {"row", "<f4"}},
        {"npy_fortran_order_valid", {"row", "Fortran"}},
        {"null_clip", {"row", "clip_encodings is null"}},
        {"one_row_other_shape", {"row", "shape"}}};
    int cases = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / "broken")) {
        if (!entry.is_directory()) {
            continue;
        }
        const std::string name = entry.path().filename().string();
        SCOPED_TRACE(name);
        const Outcome outcome = read_broken(entry.path());
        if (const auto expected = refused.find(name); expected != refused.end()) {
            for (const std::string& word : expected->second) {
                EXPECT_THAT(outcome.refused, testing::HasSubstr(word));
            }
        } else if (const auto words = bad_rows.find(name); words != bad_rows.end()) {
            EXPECT_EQ(outcome.refused, "");
            EXPECT_GT(outcome.good, 0);
            ASSERT_FALSE(outcome.bad.empty());
            for (const std::string& word : words->second) {
                EXPECT_THAT(outcome.bad.front(), testing::HasSubstr(word));
            }
        } else {  // a case that this test does not know: any clear answer will do
            EXPECT_TRUE(!outcome.refused.empty() || !outcome.bad.empty());
        }
        ++cases;
    }
    EXPECT_GT(cases, 0);
}

}  // namespace
}  // namespace flux::data
