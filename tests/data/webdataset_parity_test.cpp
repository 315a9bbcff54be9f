// Which samples tar shards yield, in which order, against the reference's loader; and broken
// shards, where the reference often crashes or hangs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/data/registry.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

using Keys = std::vector<std::string>;

/// The rows of a data set that can be read, and why the others cannot.
struct Contents {
    std::vector<Sample> samples;
    std::vector<std::string> errors;

    Keys keys() const {
        Keys result;
        for (const Sample& sample : samples) {
            result.push_back(sample.key);
        }
        return result;
    }
};

Contents read_all(const DatasetSettings& settings) {
    Contents contents;
    const auto dataset = make_dataset(settings);
    for (int64_t row = 0; row < dataset->size(); ++row) {
        try {
            contents.samples.push_back(dataset->read(row, 0));
        } catch (const Error& error) {
            contents.errors.emplace_back(error.what());
        }
    }
    return contents;
}

Contents read_folder(const fs::path& folder, int64_t subset_size = 0) {
    return read_all({.name = "webdataset", .path = folder.string(), .subset_size = subset_size});
}

class ParityWebDataset : public testing::Test {
protected:
    void SetUp() override {
        FLUX_SKIP_WITHOUT_REFERENCE();
        folder_ = *test::reference_dir() / "data/webdataset";
    }
    json load(const std::string& file) const { return json::parse(read_text(folder_ / file)); }

    /// Keys, captions and acceptance of `expected`, in order.
    static void expect_samples(const json& expected, const Contents& contents) {
        ASSERT_FALSE(expected.empty());
        EXPECT_THAT(contents.errors, testing::IsEmpty());
        size_t next = 0;
        for (const json& sample : expected) {
            if (!sample.at("accepted").get<bool>()) {
                continue;
            }
            ASSERT_LT(next, contents.samples.size());
            EXPECT_EQ(contents.samples[next].key, sample.at("key").get<std::string>());
            EXPECT_EQ(contents.samples[next].caption, sample.at("caption").get<std::string>());
            EXPECT_EQ(contents.samples[next].image.width, 256);
            ++next;
        }
        EXPECT_EQ(next, contents.samples.size());
    }

    fs::path folder_;
};

TEST_F(ParityWebDataset, TestShard) {
    expect_samples(load("cc12m_test_keys.json").at("samples"),
                   read_all({.name = "cc12m-test", .path = (folder_ / "cc12m_test").string()}));
}

TEST_F(ParityWebDataset, SeveralShardsByFolderPatternAndList) {
    const json expected = load("cc12m_shards_keys.json");
    const fs::path shards = folder_ / "cc12m_shards";
    expect_samples(expected, read_folder(shards));
    expect_samples(expected, read_folder(shards / "*.tar"));
    std::set<std::string> names;
    for (const json& sample : expected) {
        names.insert((shards / sample.at("tar").get<std::string>()).string());
    }
    std::string list;
    for (const std::string& name : names) {
        list += name + ",";
    }
    expect_samples(expected, read_folder(list));
}

TEST_F(ParityWebDataset, WholeAndPartialOrder) {
    const json expected = load("rank_assignment.json");
    int compared = 0;
    for (const json& run : expected.at("runs")) {
        if (run.at("world") == 1) {
            EXPECT_EQ(read_folder(folder_ / "cc12m_shards").keys(), run.at("keys").get<Keys>());
            ++compared;
        }
    }
    EXPECT_GT(compared, 0);
    Keys subset;
    for (const auto& [rank, keys] : expected.at("subset_size_9_world2").items()) {
        const Keys part = keys.get<Keys>();
        subset.insert(subset.end(), part.begin(), part.end());
    }
    EXPECT_THAT(read_folder(folder_ / "cc12m_shards", 9).keys(),
                testing::UnorderedElementsAreArray(subset));
}

TEST_F(ParityWebDataset, CocoHasTimesteps) {
    const json expected = load("coco/loader_order.json").at("world1_rank0").at("samples");
    const Contents contents = read_all(
        {.name = "coco", .path = (folder_ / "coco/output/tars").string(), .validation = true});
    EXPECT_THAT(contents.errors, testing::IsEmpty());
    ASSERT_FALSE(expected.empty());
    ASSERT_EQ(contents.samples.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(contents.samples[i].timestep, expected[i].at("timestep").get<int64_t>());
        EXPECT_EQ(contents.samples[i].caption, expected[i].at("txt").get<std::string>());
        EXPECT_EQ(std::stoll(contents.samples[i].key),
                  std::stoll(expected[i].at("id").get<std::string>()));
    }
}

/// Every run of the reference's COCO script that made shards.
TEST_F(ParityWebDataset, CocoRuns) {
    const json manifest = load("coco/manifest.json");
    int compared = 0;
    for (const auto& [run, entry] : manifest.items()) {
        const fs::path tars = folder_ / "coco" / run / "tars";
        if (!fs::is_directory(tars)) {
            continue;
        }
        Keys captions;
        std::vector<int64_t> timesteps;
        for (const json& member : entry.at("members")) {
            if (member.contains("text")) {
                captions.push_back(member.at("text"));
            } else if (member.contains("json")) {
                timesteps.push_back(member.at("json").at("timestep"));
            }
        }
        const Contents contents =
            read_all({.name = "coco", .path = tars.string(), .validation = true});
        EXPECT_THAT(contents.errors, testing::IsEmpty()) << run;
        ASSERT_EQ(contents.samples.size(), captions.size()) << run;
        ASSERT_EQ(timesteps.size(), captions.size()) << run;
        for (size_t i = 0; i < captions.size(); ++i) {
            EXPECT_EQ(contents.samples[i].caption, captions[i]) << run;
            EXPECT_EQ(contents.samples[i].timestep, timesteps[i]) << run;
        }
        ++compared;
    }
    EXPECT_GT(compared, 0);
}

/// Every broken folder either fails at once with a message that names its file, or yields at least
/// what the reference yields, and names what is lost.
TEST_F(ParityWebDataset, BrokenShards) {
    const json behaviour = load("broken/reference_behaviour.json");
    ASSERT_FALSE(behaviour.empty());
    for (const auto& [name, expected] : behaviour.items()) {
        const fs::path folder = folder_ / "broken" / name;
        const Keys reference_keys = expected.at("keys_once").get<Keys>();
        Contents contents;
        try {
            contents = read_folder(folder);
        } catch (const Error& error) {
            EXPECT_THAT(error.what(), testing::HasSubstr(folder.string())) << name;
            EXPECT_THAT(reference_keys, testing::IsEmpty()) << name << ": " << error.what();
            fmt::print("{:28} refused: {}\n", name, error.what());
            continue;
        }
        fmt::print("{:28} {} samples (reference {}), {} bad\n", name, contents.samples.size(),
                   reference_keys.size(), contents.errors.size());
        const Keys keys = contents.keys();
        for (const std::string& key : reference_keys) {
            EXPECT_THAT(keys, testing::Contains(key)) << name;
        }
        for (const std::string& error : contents.errors) {
            EXPECT_THAT(error, testing::HasSubstr(folder.string())) << name;
        }
    }
}

}  // namespace
}  // namespace flux::data
