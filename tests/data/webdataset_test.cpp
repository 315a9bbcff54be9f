#include "flux/data/webdataset.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/packed_bytes.h"
#include "data/tar_bytes.h"
#include "flux/base/error.h"
#include "flux/data/loader.h"
#include "flux/data/registry.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using test::tar_end;
using test::tar_member;
using testing::AllOf;
using testing::HasSubstr;

std::string png(int width, int height, uint8_t value = 1) {
    return encode_png(
        Image{width, height, std::vector<uint8_t>(size_t(3) * width * height, value)}.view());
}

class WebDatasetTest : public testing::Test {
protected:
    void write(const std::string& name, const std::string& bytes) const {
        write_text(folder_.path() / name, bytes);
    }
    std::unique_ptr<Dataset> open(bool validation = false, int img_size = 16) const {
        return make_dataset({.name = "webdataset",
                             .path = folder_.path().string(),
                             .img_size = img_size,
                             .seed = 3,
                             .validation = validation});
    }
    std::string error_of_read(const Dataset& dataset, int64_t row) const {
        const std::string problem = test::problem_of([&] { dataset.read(row, 0); });
        EXPECT_THAT(problem, testing::AnyOf("", testing::StartsWith(folder_.path().string())));
        return problem;
    }
    std::string error_of_open(bool validation = false) const {
        return test::problem_of([&] { open(validation); });
    }

    test::TemporaryFolder folder_;
};

TEST_F(WebDatasetTest, PngWinsAndTextWins) {
    write("a.tar", tar_member("k.jpg", "no jpeg") + tar_member("k.png", png(16, 16, 77)) +
                       tar_member("k.json", R"({"caption": "from json"})") +
                       tar_member("k.txt", "from txt") +
                       tar_member("l.json", R"({"caption": "c"})") +
                       tar_member("l.jpg", png(16, 16)) + tar_end());
    const auto dataset = open();
    ASSERT_EQ(dataset->size(), 2);
    EXPECT_EQ(dataset->read(0, 0).image.rgb[0], 77);
    EXPECT_EQ(dataset->read(0, 0).caption, "from txt");
    EXPECT_EQ(dataset->read(1, 0).caption, "c");
    EXPECT_EQ(dataset->read(1, 0).timestep, -1);
    EXPECT_EQ(dataset->describe(1), (folder_.path() / "a.tar").string() + ": l");
}

TEST_F(WebDatasetTest, BadSamplesAreNamed) {
    const std::string good = png(16, 16);
    write("a.tar",
          tar_member("good.png", good) + tar_member("good.txt", "x") +
              tar_member("text.jpg", "I am a text") + tar_member("text.txt", "x") +
              tar_member("latin.png", good) + tar_member("latin.txt", "caf\xE9") +
              tar_member("json.png", good) + tar_member("json.json", "{") +
              tar_member("number.png", good) + tar_member("number.json", R"({"caption": 3})") +
              tar_member("step.png", good) + tar_member("step.txt", "x") +
              tar_member("step.json", R"({"timestep": "1"})") + tar_member("ninth.png", good) +
              tar_member("ninth.json", R"({"caption": "x", "timestep": 8})") +
              tar_member("minus.png", good) +
              tar_member("minus.json", R"({"caption": "x", "timestep": -1})") +
              tar_member("huge.png", good) +
              tar_member("huge.json", R"({"caption": "x", "timestep": 18446744073709551608})") +
              tar_member("alone.txt", "x") + tar_member("silent.png", good) + tar_end());
    const auto dataset = open(true);
    ASSERT_EQ(dataset->size(), 11);
    EXPECT_EQ(error_of_read(*dataset, 0), "");
    const std::vector<std::string> expected = {"text: not a JPEG",
                                               "latin: the .txt member is not UTF-8 at byte 3",
                                               "json: the .json member is not valid",
                                               "number: has no caption",
                                               "step: timestep \"1\": must be 0 .. 7",
                                               "ninth: timestep 8: must be 0 .. 7",
                                               "minus: timestep -1: must be 0 .. 7",
                                               "huge: timestep 18446744073709551608: must",
                                               "alone: has no picture",
                                               "silent: has no caption"};
    for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_THAT(error_of_read(*dataset, static_cast<int64_t>(i + 1)), HasSubstr(expected[i]));
    }
}

TEST_F(WebDatasetTest, SmallPicturesAreLeftOutOrEnlarged) {
    write("a.tar", tar_member("small.png", png(15, 40)) + tar_member("small.txt", "x") +
                       tar_member("fits.png", png(16, 16)) + tar_member("fits.txt", "x") +
                       tar_end());
    EXPECT_EQ(open()->size(), 1);
    const auto validation = open(true);
    ASSERT_EQ(validation->size(), 2);
    EXPECT_EQ(validation->read(0, 0).image.width, 16);
    EXPECT_EQ(validation->read(0, 0).image.height, 16);
}

TEST_F(WebDatasetTest, CropsAreKeyedByRowAndEpoch) {
    Image wide{200, 16, {}};
    for (int i = 0; i < 200 * 16; ++i) {
        wide.rgb.insert(wide.rgb.end(), 3, static_cast<uint8_t>(i % 200));
    }
    write("a.tar",
          tar_member("k.png", encode_png(wide.view())) + tar_member("k.txt", "x") + tar_end());
    const auto dataset = open();
    EXPECT_EQ(dataset->read(0, 1).image.rgb, dataset->read(0, 1).image.rgb);
    EXPECT_NE(dataset->read(0, 1).image.rgb, dataset->read(0, 2).image.rgb);
}

TEST_F(WebDatasetTest, ABadShardIsLeftOut) {
    write("a.tar", "this is no tar archive");
    write("b.tar", tar_member("k.png", png(16, 16)) + tar_member("k.txt", "x") + tar_end());
    write("c.tar", "");
    write("notes.tsv", "not looked at");
    const auto dataset = open();
    EXPECT_EQ(dataset->size(), 1);
    EXPECT_EQ(dataset->read(0, 0).key, "k");
}

TEST_F(WebDatasetTest, ATruncatedShardEndsTheRunOnlyAboveTheLimit) {
    std::string tar;
    for (int i = 0; i < 20; ++i) {
        tar += tar_member(std::to_string(i) + ".png", png(16, 16)) +
               tar_member(std::to_string(i) + ".txt", "x");
    }
    write("a.tar", tar + test::tar_header({.name = "20.png"}, 5000) + "cut");
    const auto dataset = open();
    ASSERT_EQ(dataset->size(), 21);
    const auto batches_until_error = [&](double max_bad_fraction) {
        Loader loader(*dataset, {.batch_size = 7, .seed = 1, .max_bad_fraction = max_bad_fraction});
        int batches = 0;
        try {
            for (; batches < 30; ++batches) {
                loader.next();
            }
        } catch (const Error& error) {
            EXPECT_THAT(error.what(), HasSubstr("1 of 3 read in epoch 0, which has 21"));
            EXPECT_THAT(error.what(), HasSubstr("a.tar: 20: the archive is truncated"));
        }
        return batches;
    };
    EXPECT_EQ(batches_until_error(0.01), 0);
    EXPECT_EQ(batches_until_error(0.05), 30);
}

TEST_F(WebDatasetTest, AFileThatShrinksUnderWayIsABadSample) {
    write("a.tar", tar_member("k.png", png(16, 16)) + tar_member("k.txt", "x") + tar_end());
    const auto dataset = open();
    std::filesystem::resize_file(folder_.path() / "a.tar", 600);
    EXPECT_THAT(error_of_read(*dataset, 0), HasSubstr("has become shorter"));
    EXPECT_THAT([&] { dataset->caption(0); },
                testing::ThrowsMessage<Error>(HasSubstr("has become shorter")));
}

TEST_F(WebDatasetTest, NothingUsableIsAnError) {
    EXPECT_THAT(error_of_open(), HasSubstr("holds no tar shard"));
    write("a.tar", tar_end());
    EXPECT_THAT(error_of_open(), HasSubstr("the data set is empty"));
    write("a.tar", "no tar");
    EXPECT_THAT(error_of_open(), HasSubstr("the archive is truncated: 6 bytes"));
    write("a.tar", tar_member("k.png", png(8, 8)) + tar_member("k.txt", "x") + tar_end());
    EXPECT_THAT(error_of_open(), HasSubstr("choose a smaller img_size"));
    write("a.tar", tar_member("k.x.png", png(16, 16)) + tar_member("k.x.txt", "x") + tar_end());
    EXPECT_THAT(error_of_open(), HasSubstr("none of the 1 samples can be used"));
}

TEST_F(WebDatasetTest, ShardsAreFoundByFolderPatternAndList) {
    for (const char* name : {"b.tar", "a.tar", "c.tar.gz", "c,d.tar", "x.txt"}) {
        write(name, "x");
    }
    const auto found = [&](const std::string& path) {
        std::string names;
        for (const auto& shard : find_shards(path)) {
            names += shard.filename().string() + " ";
        }
        return names;
    };
    const std::string folder = folder_.path().string();
    EXPECT_EQ(found(folder), "a.tar b.tar c,d.tar c.tar.gz ");
    EXPECT_EQ(found(folder + "/[ab].tar"), "a.tar b.tar ");
    EXPECT_EQ(found(folder + "/c,d.tar"), "c,d.tar ");
    EXPECT_EQ(found(folder + "/b.tar," + folder + "/*.tar"), "b.tar a.tar c,d.tar ");
    EXPECT_THROW(found(folder + "/no*.tar"), Error);
    EXPECT_THROW(found(folder + "/none"), Error);
    EXPECT_THROW(found(""), Error);

    std::string many = folder + "/b.tar";
    for (int i = 0; i < 200; ++i) {
        many += "," + folder + "/a.tar";
    }
    EXPECT_EQ(found(many), "b.tar a.tar ");  // longer than a path may be
    fs::create_directory(folder_.path() / "odd");
    fs::create_symlink("circle", folder_.path() / "odd" / "circle");
    EXPECT_THAT([&] { found(folder + "/odd/circle/a.tar"); },
                testing::ThrowsMessage<ConfigError>(
                    AllOf(HasSubstr("circle/a.tar: cannot be looked at"), HasSubstr("levels"))));
    fs::create_symlink("circle", folder_.path() / "odd" / "circle.tar");
    fs::copy_file(folder_.path() / "a.tar", folder_.path() / "odd" / "a.tar");
    EXPECT_EQ(found(folder + "/odd"), "a.tar ");
}

/// Four shards of three samples.
void write_shards(const std::filesystem::path& folder, const char* ending,
                  std::string (*pack)(const std::string&)) {
    std::filesystem::create_directories(folder);
    for (int shard = 0; shard < 4; ++shard) {
        std::string tar;
        for (int i = 0; i < 3; ++i) {
            const std::string key = fmt::format("{}{}", shard, i);
            tar += tar_member(key + ".png", png(16, 16, static_cast<uint8_t>(10 * shard + i))) +
                   tar_member(key + ".txt", "caption " + key);
        }
        write_text(folder / fmt::format("{}{}", shard, ending), pack(tar + tar_end()));
    }
}

std::string as_is(const std::string& bytes) { return bytes; }

TEST_F(WebDatasetTest, CompressedShardsBeyondTheMemoryGiveTheSameSamples) {
    write_shards(folder_.path() / "plain", ".tar", as_is);
    write_shards(folder_.path() / "gzip", ".tar.gz", test::gzip);
    write_shards(folder_.path() / "zstd", ".tar.zst", test::zstd);
    const auto open_with = [&](const char* folder, uint64_t unpacked_bytes) {
        return WebDataset({.path = (folder_.path() / folder).string(),
                           .img_size = 16,
                           .max_image_pixels = 1000,
                           .shard_limits = {.unpacked_bytes = unpacked_bytes, .open_shards = 2}});
    };
    const uint64_t one = std::filesystem::file_size(folder_.path() / "plain/0.tar");
    const WebDataset plain = open_with("plain", 0);
    for (const char* folder : {"gzip", "zstd"}) {
        EXPECT_THAT([&] { open_with(folder, one - 1); },
                    testing::ThrowsMessage<Error>(
                        HasSubstr(fmt::format("unpacks to more than {} bytes", one - 1))));
        const WebDataset packed = open_with(folder, 2 * one);
        Loader loader(packed, {.batch_size = 5, .num_workers = 4});
        Loader expected(plain, {.batch_size = 5, .num_workers = 0});
        for (int i = 0; i < 20; ++i) {
            const Batch batch = *loader.next();
            const Batch reference = *expected.next();
            EXPECT_EQ(batch.keys, reference.keys);
            EXPECT_EQ(batch.payload.pictures.captions, reference.payload.pictures.captions);
            EXPECT_TRUE(
                at::equal(batch.payload.pictures.images, reference.payload.pictures.images));
        }
        EXPECT_EQ(loader.bad_samples(), 0);
    }
}

TEST_F(WebDatasetTest, AShardThatUnpacksToTooMuchIsLeftOutAndNotUnpacked) {
    write("a.tar", tar_member("k.png", png(16, 16)) + tar_member("k.txt", "x") + tar_end());
    write("bomb.tar.zst", test::zstd(tar_member("b.png", png(16, 16)) + tar_member("b.txt", "x") +
                                     std::string(size_t{64} << 20, '\0')) +
                              "damage behind the limit");
    const WebDataset dataset({.path = folder_.path().string(),
                              .img_size = 16,
                              .max_image_pixels = 1000,
                              .shard_limits = {.unpacked_bytes = 1 << 20}});
    ASSERT_EQ(dataset.size(), 1);
    EXPECT_THAT(dataset.describe(0), testing::EndsWith("a.tar: k"));
    EXPECT_THAT([&] { Shard(folder_.path() / "bomb.tar.zst", 1 << 20); },
                testing::ThrowsMessage<Error>(HasSubstr("unpacks to more than 1048576 bytes")));
}

TEST_F(WebDatasetTest, CaptionsAreReadWithoutThePicture) {
    write("a.tar", tar_member("k.png", "no picture") + tar_member("k.txt", "from txt") +
                       tar_member("l.png", png(16, 16)) +
                       tar_member("l.json", R"({"caption": "from json"})") +
                       tar_member("m.png", png(16, 16)) + tar_end());
    const auto dataset = open();
    EXPECT_EQ(dataset->caption(0), "from txt");
    EXPECT_EQ(dataset->caption(1), "from json");
    EXPECT_THAT([&] { dataset->caption(2); },
                testing::ThrowsMessage<Error>(HasSubstr("a.tar: m: has no caption")));
}

TEST_F(WebDatasetTest, TheFingerprintIsThatOfTheRows) {
    write_shards(folder_.path() / "a", ".tar", as_is);
    write_shards(folder_.path() / "elsewhere/b", ".tar", as_is);
    const auto fingerprint = [&](const char* folder, DatasetSettings settings = {}) {
        settings.name = "webdataset";
        settings.path = (folder_.path() / folder).string();
        settings.img_size = std::min(settings.img_size, 16);
        return make_dataset(settings)->fingerprint();
    };
    const uint64_t value = fingerprint("a");
    EXPECT_EQ(fingerprint("a"), value);
    EXPECT_EQ(fingerprint("elsewhere/b"), value);
    EXPECT_EQ(fingerprint("a", {.seed = 9}), value);  // keys the crops
    EXPECT_NE(fingerprint("a", {.img_size = 8}), value);
    EXPECT_NE(fingerprint("a", {.subset_size = 12}), value);
    EXPECT_EQ(fingerprint("a", {.img_size = 8, .validation = true}),
              fingerprint("a", {.img_size = 16, .validation = true}));  // no filter
    const std::filesystem::path b = folder_.path() / "elsewhere/b";
    std::filesystem::rename(b / "3.tar", b / "4.tar");
    EXPECT_NE(fingerprint("elsewhere/b"), value);
    std::filesystem::remove(b / "4.tar");
    EXPECT_NE(fingerprint("elsewhere/b"), value);
    write_text(b / "3.tar",
               tar_member("x.png", png(16, 16)) + tar_member("x.txt", "x") + tar_end());
    EXPECT_NE(fingerprint("elsewhere/b"), value);
}

TEST(MakeDataset, KnowsEveryName) {
    EXPECT_THAT([] { make_dataset({.name = "no_such_set"}); },
                testing::ThrowsMessage<ConfigError>(HasSubstr(
                    "known are shapes, webdataset, image_folder, picture_table, preprocessed, "
                    "cc12m-test, cc12m-wds, cc12m_disk, "
                    "cc12m_preprocessed, coco, coco-validation, coco_preprocessed, "
                    "dummy")));
}

TEST(MakeDataset, RefusesWithTheRemedy) {
    const auto open = [](const std::string& name, const std::string& path) {
        return [=] { make_dataset({.name = name, .path = path}); };
    };
    EXPECT_THAT(open("shape", ""), testing::ThrowsMessage<ConfigError>(HasSubstr(
                                       "\"shape\": unknown data set; did you mean shapes?")));
    EXPECT_THAT(open("cc12m_disk", "/nowhere"),
                testing::ThrowsMessage<Error>(HasSubstr("no such file or folder")));
    EXPECT_THAT(open("cc12m-wds", ""), testing::ThrowsMessage<Error>(HasSubstr("network")));
    EXPECT_THAT(open("webdataset", ""), testing::ThrowsMessage<Error>(
                                            HasSubstr("set training.dataset_path to the folder")));
    EXPECT_THAT(open("webdataset", "/no/such/folder"),
                testing::ThrowsMessage<Error>(HasSubstr("/no/such/folder: no such file")));
    EXPECT_EQ(
        std::get<PictureShape>(make_dataset({.name = "dummy", .img_size = 32})->payload()).width,
        32);
}

}  // namespace
}  // namespace flux::data
