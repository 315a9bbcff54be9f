// The command lines of `flux_train data`, one tool feeding the next.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/base/file.h"
#include "flux/base/png.h"
#include "run/job_words.h"
#include "support/local_server.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class RunDataTools : public testing::Test {
protected:
    std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

    static ProcessResult tool(Words words) {
        words.insert(words.begin(), "data");
        return run_flux_train(words);
    }
    static std::string inspect(const std::string& path) {
        const ProcessResult result = tool({"inspect", path});
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return result.out;
    }
    void write_shards(int samples = 12) const {
        const ProcessResult result = tool({"shapes", "--out", path("shards"), "--samples",
                                           std::to_string(samples), "--img_size", "32"});
        ASSERT_EQ(result.exit_code, 0) << result.err;
    }
    fs::path first_shard() const {
        return fs::directory_iterator(folder_.path() / "shards")->path();
    }

    TemporaryFolder folder_;
};

TEST_F(RunDataTools, CleanSetOfTheRowsThatCanBeRead) {
    write_shards();
    // the head of the first picture's data no longer holds
    std::string tar = read_text(first_shard());
    const size_t png = tar.find("IHDR");
    ASSERT_NE(png, std::string::npos);
    tar.replace(tar.find("IDAT", png), 4, "XDAT");
    write_text(first_shard(), tar);
    const ProcessResult found = tool({"find-problematic", "--input_dir", path("shards"),
                                      "--output_file", path("bad.txt"), "--num_workers", "2"});
    ASSERT_EQ(found.exit_code, 0) << found.err;
    EXPECT_EQ(read_text(path("bad.txt")), "0\n");
    EXPECT_THAT(
        tool({"find-problematic", "--input_dir", path("shards"), "--output_file", path("bad.txt")})
            .err,
        HasSubstr("exists already"));
    const Words clean{"clean-cc12m",
                      "--input_dir",
                      path("shards"),
                      "--output_dir",
                      path("clean"),
                      "--filter_file",
                      path("bad.txt"),
                      "--subset_size",
                      "11",
                      "--num_workers",
                      "2",
                      "--output_size"};
    const auto with_size = [&](const std::string& size) {
        Words words = clean;
        words.push_back(size);
        return tool(words);
    };
    const ProcessResult written = with_size("16");
    ASSERT_EQ(written.exit_code, 0) << written.err;
    EXPECT_THAT(written.err, HasSubstr("11 pictures in"));
    EXPECT_THAT(
        inspect(path("clean")),
        AllOf(HasSubstr("kind       table of pictures\nfiles      1\nsamples    11\n"),
              HasSubstr("pictures   RGB 11; sides of 16 to 16 pixels"), HasSubstr("problems   0")));
    const ProcessResult other = with_size("24");
    EXPECT_EQ(other.exit_code, 1);
    EXPECT_THAT(other.err, AllOf(HasSubstr("was begun with output_size = 16, now it is 24"),
                                 HasSubstr("choose another --output_dir")));
}

TEST_F(RunDataTools, ReadShardsFromTheNetworkOnce) {
    write_shards();
    const LocalServer server("python3", "flaky_server.py", path("shards"), path("log"), {"503"});
    const std::string url = server.url(first_shard().filename().string());
    const Words cache{"--cache-dir", path("cache")};
    const auto with_cache = [&](Words words) {
        words.insert(words.end(), cache.begin(), cache.end());
        return tool(words);
    };
    const ProcessResult seen = with_cache({"inspect", url});
    ASSERT_EQ(seen.exit_code, 0) << seen.err;
    EXPECT_THAT(seen.out, HasSubstr("kind       tar shards\nfiles      1\nsamples    12\n"));
    const std::string requests = server.log();
    const ProcessResult found =
        with_cache({"find-problematic", "--input_dir", url, "--output_file", path("bad.txt")});
    ASSERT_EQ(found.exit_code, 0) << found.err;
    const ProcessResult cleaned = with_cache({"clean-cc12m", "--input_dir", url, "--output_dir",
                                              path("clean"), "--filter_file", path("bad.txt"),
                                              "--subset_size", "12", "--output_size", "16"});
    ASSERT_EQ(cleaned.exit_code, 0) << cleaned.err;
    EXPECT_THAT(read_text(path("clean/data-00000-of-00001.arrow")), HasSubstr(url));
    EXPECT_EQ(server.log(), requests);  // all from the cache
    write_text(path("file"), "");
    const ProcessResult refused = tool({"inspect", url, "--cache-dir", path("file/cache")});
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.err, HasSubstr("choose another with --cache_dir"));
}

TEST_F(RunDataTools, CocoWritesShardsThatCanBeInspected) {
    nlohmann::json captions;
    fs::create_directories(path("images"));
    const std::vector<uint8_t> pixels(5 * 5 * 3, 40);
    for (int id = 0; id < 9; ++id) {
        write_png(path(fmt::format("images/COCO_val2014_{:012}.jpg", id)), {pixels.data(), 5, 5});
        captions["annotations"].push_back(
            {{"image_id", id}, {"id", id}, {"caption", fmt::format("caption {}", id)}});
    }
    write_text(path("captions.json"), captions.dump());
    Words words{"coco",
                "--input-images-dir",
                path("images"),
                "--input-captions-file",
                path("captions.json"),
                "--output-dir",
                path("out"),
                "--output-tsv-file",
                path("out.tsv"),
                "--samples-per-shard",
                "3",
                "--width",
                "16",
                "--height",
                "16",
                "--num-workers",
                "2",
                "--num-samples"};
    words.push_back("7");
    EXPECT_NE(tool(words).exit_code, 0);
    words.back() = "8";
    const std::string images = words[2];
    words[2] = path("out_of_place");
    fs::create_directories(words[2]);
    const ProcessResult misplaced = tool(words);
    EXPECT_EQ(misplaced.exit_code, 2);
    EXPECT_THAT(misplaced.err, HasSubstr("--input-images-dir " + words[2] +
                                         ": holds none of the 8 chosen pictures"));
    words[2] = images;
    const ProcessResult written = tool(words);
    ASSERT_EQ(written.exit_code, 0) << written.err;
    EXPECT_TRUE(fs::exists(path("out.tsv")));
    EXPECT_THAT(inspect(path("out")),
                AllOf(HasSubstr("kind       tar shards\nfiles      3\nsamples    8\n"),
                      HasSubstr("timesteps  0 1, 1 1, 2 1, 3 1, 4 1, 5 1, 6 1, 7 1\n")));
    EXPECT_THAT(written.err, Not(HasSubstr("left out")));
    fs::remove(path("images/COCO_val2014_000000000003.jpg"));
    fs::remove(path("images/COCO_val2014_000000000004.jpg"));
    fs::remove(path("out.tsv"));
    words[6] = path("less");
    const ProcessResult less = tool(words);
    EXPECT_EQ(less.exit_code, 0);
    EXPECT_THAT(less.err, HasSubstr("the timesteps no longer have equally many"));
    words.insert(words.end(), {"--allow-duplicate-images", "maybe"});
    EXPECT_EQ(tool(words).exit_code, 2);
}

TEST_F(RunDataTools, InspectsStoredEncodings) {
    const ProcessResult result = run_flux_train(
        {"preprocess", "--job.config_file", std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
         "--training.subset_size=6", "--training.img_size=32",
         "--eval.dataset=", "--preprocessing.output_dataset_path=" + path("encoded")});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const std::string text = inspect(path("encoded"));
    EXPECT_THAT(text, AllOf(HasSubstr("kind       stored encodings\nfiles      1\nsamples    6\n"),
                            HasSubstr("latents    [16, 4, 4]; mean "), HasSubstr("problems   0")));
    EXPECT_THAT(text, HasSubstr("logvar     mean -30.0000, deviation 0.0000"));
    EXPECT_THAT(text, HasSubstr("timesteps  none"));
    EXPECT_EQ(tool({"inspect", path("encoded"), "--contact-sheet", path("x.png")}).exit_code, 1);
}

TEST_F(RunDataTools, InspectFailsWithoutAUsableSample) {
    write_text(path("script.sh"), "#!/bin/sh\necho no tar file\n");
    const ProcessResult script = tool({"inspect", path("script.sh")});
    EXPECT_EQ(script.exit_code, 1);
    EXPECT_THAT(
        script.out,
        AllOf(HasSubstr("usable     0\nkeys       none\npictures   none\ncaptions   none\n"),
              HasSubstr("problems   1\n")));
    EXPECT_THAT(script.err, HasSubstr("script.sh: holds no usable sample: samples 0, problems 1"));
    fs::create_directories(path("mute"));
    write_png(path("mute/a.png"), {std::vector<uint8_t>(48 * 48 * 3).data(), 48, 48});
    const ProcessResult mute = tool({"inspect", path("mute")});
    EXPECT_EQ(mute.exit_code, 1);
    EXPECT_THAT(mute.err, HasSubstr("mute: holds no usable sample: samples 1, problems 1"));
}

TEST_F(RunDataTools, InspectRefusesAWrongCommandLineFirst) {
    const ProcessResult bare = tool({"inspect"});
    EXPECT_EQ(bare.exit_code, 2);
    EXPECT_THAT(bare.err, AllOf(HasSubstr("PATH is missing"), Not(HasSubstr("num-workers"))));
    const ProcessResult workers = tool({"inspect", path("x"), "--num-workers", "0"});
    EXPECT_EQ(workers.exit_code, 2);
    EXPECT_THAT(workers.err, HasSubstr("--num-workers 0: must be 1 to 1024"));
    write_shards();
    const ProcessResult sheet =
        tool({"inspect", path("shards"), "--contact-sheet", path("missing/sheet.png")});
    EXPECT_EQ(sheet.exit_code, 2);
    EXPECT_EQ(sheet.out, "");
    EXPECT_THAT(sheet.err, HasSubstr("there is no folder " + path("missing")));
}

TEST_F(RunDataTools, InspectsFoldersOfPicturesAndTrainsOnThem) {
    for (int i = 0; i < 10; ++i) {
        const std::vector<uint8_t> pixels(32 * 40 * 3, static_cast<uint8_t>(20 * i));
        fs::create_directories(path("pictures/sub"));
        const std::string stem =
            path((i % 2 == 0 ? "pictures/" : "pictures/sub/") + std::to_string(i));
        write_png(stem + ".png", {pixels.data(), 40, 32});
        write_text(stem + ".txt", "grey " + std::to_string(i));
    }
    EXPECT_THAT(inspect(path("pictures")),
                AllOf(HasSubstr("kind       folder of pictures\nfiles      10\nsamples    10\n"),
                      HasSubstr("keys       0.png, 2.png, 4.png, 6.png, 8.png, ..."),
                      HasSubstr("sides of 32 to 40 pixels")));
    write_png(path("pictures/mute.png"), {std::vector<uint8_t>(48 * 48 * 3).data(), 48, 48});
    const ProcessResult sheet =
        tool({"inspect", path("pictures"), "--contact-sheet", path("sheet.png")});
    EXPECT_EQ(sheet.exit_code, 0) << sheet.err;
    EXPECT_THAT(sheet.out, HasSubstr("problems   1\n  " + path("pictures/mute.png") +
                                     ": has no caption: there is no mute.txt beside it"));
    EXPECT_THAT(sheet.out, HasSubstr("samples    11\nusable     10\n"));
    EXPECT_THAT(sheet.err, Not(HasSubstr("have a side below")));
    EXPECT_TRUE(fs::exists(path("sheet.png")));
    const ProcessResult trained = run_flux_train(
        {"--job.config_file", std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
         "--job.dump_folder", path("run"), "--training.dataset=image_folder",
         "--training.dataset_path=" + path("pictures"), "--training.img_size=32",
         "--training.steps=3", "--training.batch_size=4", "--eval.dataset=", "--metrics.log_freq=1",
         "--training.max_bad_fraction=0.2"});
    EXPECT_EQ(trained.exit_code, 0) << trained.err;
    EXPECT_EQ(metric(path("run"), "loss").size(), 3u);
}

}  // namespace
}  // namespace flux::test
