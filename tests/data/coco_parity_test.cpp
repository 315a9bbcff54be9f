// The COCO validation set against the reference's script: every run in manifest.json is repeated
// and every member compared.
#include <gtest/gtest.h>

#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "data/numpy_shuffle.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/data/coco.h"
#include "flux/data/image_decode.h"
#include "flux/data/shard_cache.h"
#include "flux/data/tar_reader.h"
#include "support/reference.h"
#include "support/sha256.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

int64_t number(const std::string& text) {
    int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

CocoSettings settings_of(const json& args) {
    CocoSettings settings;
    for (size_t i = 0; i + 1 < args.size(); i += 2) {
        const auto name = args[i].get<std::string>();
        const auto value = args[i + 1].get<std::string>();
        if (name == "--num-samples") {
            settings.num_samples = number(value);
        } else if (name == "--samples-per-shard") {
            settings.samples_per_shard = number(value);
        } else if (name == "--seed") {
            settings.seed = static_cast<uint32_t>(number(value));
        } else if (name == "--width") {
            settings.width = static_cast<int>(number(value));
        } else if (name == "--height") {
            settings.height = static_cast<int>(number(value));
        } else if (name == "--num-workers") {
            settings.num_workers = static_cast<int>(number(value));
        } else if (name == "--allow-duplicate-images") {
            settings.allow_duplicate_images = !value.empty() && value != "no";
        } else {
            ADD_FAILURE() << "manifest.json: unknown option " << name;
        }
    }
    return settings;
}

struct Member {
    std::string tar;
    std::string name;
    std::string bytes;
};

std::vector<Member> members_of(const fs::path& folder) {
    std::vector<fs::path> tars;
    for (const auto& entry : fs::directory_iterator(folder)) {
        tars.push_back(entry.path());
    }
    std::sort(tars.begin(), tars.end());
    std::vector<Member> members;
    for (const fs::path& path : tars) {
        const ShardReader reader{Shard(path, kUnpackedShardBytes)};
        TarReader tar(reader);
        while (const auto member = tar.next()) {
            std::string bytes(member->size, '\0');
            reader.read_at(member->offset,
                           {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
            members.push_back({path.filename().string(), member->name, std::move(bytes)});
        }
        EXPECT_TRUE(tar.saw_end_mark()) << path;
    }
    return members;
}

void expect_picture(const json& expected, const std::string& png) {
    const Raster raster =
        decode_image({reinterpret_cast<const uint8_t*>(png.data()), png.size()}, 1 << 30);
    EXPECT_EQ(mode_name(raster.mode), expected.at("mode").get<std::string>());
    EXPECT_EQ(raster.width, expected.at("wh")[0].get<int>());
    EXPECT_EQ(raster.height, expected.at("wh")[1].get<int>());
    EXPECT_EQ(test::sha256(raster.data), expected.at("pixels_sha256").get<std::string>());
}

void expect_members(const json& expected, const std::vector<Member>& members) {
    ASSERT_EQ(members.size(), expected.size());
    for (size_t i = 0; i < members.size(); ++i) {
        SCOPED_TRACE(members[i].name);
        EXPECT_EQ(members[i].tar, expected[i].at("tar").get<std::string>());
        EXPECT_EQ(members[i].name, expected[i].at("name").get<std::string>());
        if (expected[i].contains("text")) {
            EXPECT_EQ(members[i].bytes, expected[i].at("text").get<std::string>());
        } else if (expected[i].contains("json")) {
            EXPECT_EQ(json::parse(members[i].bytes), expected[i].at("json"));
            EXPECT_EQ(members[i].bytes.size(), expected[i].at("size").get<size_t>());
        } else {
            expect_picture(expected[i], members[i].bytes);
        }
    }
}

class ParityCoco : public testing::Test {
protected:
    void SetUp() override {
        FLUX_SKIP_WITHOUT_REFERENCE();
        folder_ = *test::reference_dir() / "data/webdataset/coco";
        manifest_ = json::parse(read_text(folder_ / "manifest.json"));
    }

    /// The images of a run: those of the input, in one run without the one that is said to lack.
    fs::path images_of(const std::string& run, const fs::path& scratch) const {
        const fs::path images = folder_ / "input/images";
        if (run.find("missing_image") == std::string::npos) {
            return images;
        }
        const std::string missing =
            fmt::format("{:012}", manifest_.at("missing_image_id").get<int64_t>());
        const fs::path copy = scratch / "images";
        fs::create_directories(copy);
        for (const auto& entry : fs::directory_iterator(images)) {
            if (entry.path().string().find(missing) == std::string::npos) {
                fs::create_symlink(entry.path(), copy / entry.path().filename());
            }
        }
        return copy;
    }

    void expect_run(const std::string& run, const json& entry) const {
        const test::TemporaryFolder scratch;
        CocoSettings settings = settings_of(entry.at("args"));
        settings.input_images_dir = images_of(run, scratch.path());
        settings.input_captions_file = folder_ / "input/captions.json";
        settings.output_dir = scratch.path() / "tars";
        settings.output_tsv_file = scratch.path() / "val2014.tsv";
        if (entry.at("returncode") != 0) {
            EXPECT_THROW(write_coco(settings), Error);
            EXPECT_FALSE(fs::exists(settings.output_dir));
            return;
        }
        write_coco(settings);
        EXPECT_EQ(read_text(settings.output_tsv_file), read_text(folder_ / run / "val2014.tsv"));
        expect_members(entry.at("members"), members_of(settings.output_dir));
    }

    fs::path folder_;
    json manifest_;
};

TEST_F(ParityCoco, EveryRunOfTheManifest) {
    int runs = 0;
    for (const auto& [run, entry] : manifest_.items()) {
        if (!entry.is_object()) {
            continue;
        }
        SCOPED_TRACE(run);
        expect_run(run, entry);
        ++runs;
    }
    EXPECT_GT(runs, 0);
}

TEST_F(ParityCoco, Permutations) {
    const json expected = json::parse(read_text(folder_ / "shuffle.json")).at("perms");
    for (const auto& [name, entry] : expected.items()) {
        SCOPED_TRACE(name);
        const size_t split = name.find("_n");
        ASSERT_TRUE(name.starts_with("seed") && split != std::string::npos);
        const auto seed = static_cast<uint32_t>(number(name.substr(4, split - 4)));
        const auto count = static_cast<uint32_t>(number(name.substr(split + 2)));
        const std::vector<uint32_t> order = numpy_permutation(seed, count);
        const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(order.data()),
                                             order.size() * sizeof(uint32_t));
        EXPECT_EQ(test::sha256(bytes), entry.at("sha256_int32_le").get<std::string>());
    }
    EXPECT_FALSE(expected.empty());
}

}  // namespace
}  // namespace flux::data
