// `bench` as a user runs it, at small sizes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>

#include "flux/base/file.h"
#include "run/job_words.h"
#include "run/process_group.h"
#include "support/process.h"
#include "support/reference.h"

namespace flux::test {
namespace {

using testing::HasSubstr;

TEST(RunBenchData, MeasuresEveryStage) {
    const TemporaryFolder folder;
    const std::string shards = (folder.path() / "shards").string();
    const std::string json = (folder.path() / "figures.json").string();
    ASSERT_EQ(
        run_flux_train({"data", "shapes", "--out", shards, "--samples", "20", "--img_size", "64"})
            .exit_code,
        0);
    const std::vector<std::string> tokenizers{"byte_pairs", "unigram"};
    for (const std::string& name : tokenizers) {
        std::filesystem::create_directory(folder.path() / name);
        std::filesystem::copy_file(
            std::string(FLUX_SOURCE_DIR) + "/tests/fuzz/corpus/tokenizer/" + name + ".json",
            folder.path() / name / "tokenizer.json");
    }
    const std::vector<std::string> words{"bench",      "data",
                                         "--tar",      shards,
                                         "--clip",     (folder.path() / "byte_pairs").string(),
                                         "--t5",       (folder.path() / "unigram").string(),
                                         "--rows",     "16",
                                         "--img_size", "48",
                                         "--repeats",  "1",
                                         "--workers",  "2",
                                         "--json",     json};
    const ProcessResult result = run_flux_train(words);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("% of memcpy"));
    std::set<std::string> names;
    for (const auto& figure : nlohmann::json::parse(read_text(json))) {
        names.insert(figure["name"].get<std::string>());
        EXPECT_GT(figure["median"].get<double>(), 0) << figure["name"];
    }
    EXPECT_THAT(names, testing::ElementsAre("clip", "decode", "image_total", "loader_0", "loader_1",
                                            "loader_2", "memcpy", "resize_crop_normalise",
                                            "stored_rows", "t5"));
    const ProcessResult again = run_flux_train(words);
    EXPECT_EQ(again.exit_code, 1);
    EXPECT_THAT(again.err, HasSubstr("exists already"));
}

TEST(RunBenchData, RefusesWhatMakesNoSense) {
    const auto expect = [](std::vector<std::string> words, int code, const std::string& message) {
        const ProcessResult result = run_flux_train(words);
        EXPECT_EQ(result.exit_code, code);
        EXPECT_THAT(result.err, HasSubstr(message));
    };
    expect({"bench", "dota"}, 2, "there are step, unit, checkpoint, comm, data");
    expect({"bench", "data", "--rows", "0"}, 2, "nothing to measure");
    expect({"bench", "data", "--clip", "x"}, 2, "take the captions of --tar");
    expect({"bench", "data", "--repeats", "0"}, 2, "must be 1 to 1000");
    expect({"bench", "data", "--tar", "/no/such.tar", "--rows", "0"}, 2, "/no/such.tar");
}

const std::vector<std::string> kSmall{"--job.config_file",
                                      std::string(FLUX_SOURCE_DIR) + "/configs/bench_cpu.toml",
                                      "--model.hidden_size=32",
                                      "--model.num_heads=2",
                                      "--model.axes_dim=4,6,6",
                                      "--model.depth=1",
                                      "--model.depth_single_blocks=1",
                                      "--training.img_size=32",
                                      "--encoder.max_t5_encoding_len=3"};

std::vector<std::string> bench(const std::string& tool, const std::vector<std::string>& more) {
    std::vector<std::string> words{"bench", tool};
    words.insert(words.end(), kSmall.begin(), kSmall.end());
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

TEST(RunBenchStep, PrintsOneLineOfFiguresAndLeavesNothing) {
    const TemporaryFolder folder;
    const std::string dump = (folder.path() / "run").string();
    for (const std::string fused : {"true", "false"}) {
        const auto result = run_flux_train(
            bench("step", {"--steps", "3", "--warmup", "1", "--job.dump_folder=" + dump,
                           "--kernels.fused=" + fused}));
        ASSERT_EQ(result.exit_code, 0) << result.err;
        const auto line = nlohmann::json::parse(result.out.substr(result.out.find('{')));
        EXPECT_EQ(line.at("step_s").size(), 3u);
        EXPECT_GE(line.at("step_s_median"), line.at("step_s_min"));
        EXPECT_GT(line.at("samples_per_s"), 0.0);
        EXPECT_GT(line.at("params"), 10'000);
        EXPECT_GT(line.at("peak_gib"), 0.0);
        EXPECT_THAT(line.at("path").get<std::string>(),
                    HasSubstr(fused == "true" ? "fused" : "twins"));
        EXPECT_TRUE(line.at("loss").is_number());
    }
    EXPECT_FALSE(std::filesystem::exists(dump));
}

TEST(RunBenchUnit, MeasuresBlocksAndTheirOperations) {
    const TemporaryFolder folder;
    const std::string json = (folder.path() / "units.json").string();
    const auto result = run_flux_train(bench("unit", {"--repeats", "1", "--json", json}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const auto again = run_flux_train(bench("unit", {"--repeats", "1", "--json", json}));
    EXPECT_EQ(again.exit_code, 1);
    EXPECT_THAT(again.err, HasSubstr("exists already"));
    const auto blocks = nlohmann::json::parse(read_text(json));
    ASSERT_EQ(blocks.size(), 2u);
    for (const auto& block : blocks) {
        EXPECT_GT(block.at("seconds"), 0.0);
        EXPECT_GT(block.at("floor_s"), 0.0);
        EXPECT_GE(block.at("operations").size(), 7u);
    }
}

TEST(RunBenchUnit, BadNumbersAreNamed) {
    const auto result = run_flux_train(bench("unit", {"--repeats", "0"}));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("--repeats 0: must be"));
}

using Json = nlohmann::json;

TEST(RunBenchStep, SaysWhatAPeerHasToBuild) {
    const auto result = run_flux_train(
        bench("step", {"--steps", "1", "--warmup", "0", "--activation_checkpoint.mode=full"}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Json shape = Json::parse(result.out.substr(result.out.find('{'))).at("shape");
    EXPECT_EQ(shape.at("hidden_size"), 32);
    EXPECT_EQ(shape.at("axes_dim"), Json({4, 6, 6}));
    EXPECT_EQ(shape.at("depth"), 1);
    EXPECT_EQ(shape.at("context_in_dim"), 512);
    EXPECT_EQ(shape.at("image_tokens"), 4);
    EXPECT_EQ(shape.at("text_tokens"), 3);
    EXPECT_EQ(shape.at("batch_size"), 4);
    EXPECT_EQ(shape.at("recompute"), "full");
}

TEST(RunBenchCheckpoint, MeasuresTheDiskAndSavesInTheBackgroundAndLeavesNothing) {
    const TemporaryFolder folder;
    const auto json = folder.path() / "figures.json";
    const auto disk = folder.path() / "disk";
    std::filesystem::create_directory(disk);
    const auto run = [&](const std::vector<std::string>& more) {
        std::vector<std::string> words =
            bench("checkpoint", {"--out", disk.string(), "--repeats", "2"});
        words.insert(words.end(), more.begin(), more.end());
        return run_flux_train(words);
    };
    const auto result = run({"--steps", "2", "--json", json.string(), "--checkpoint.interval=250"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(std::filesystem::is_empty(disk));
    const Json line = Json::parse(read_text(json));
    for (const char* key :
         {"gigabytes", "save_gbs", "write_gbs", "load_gbs", "read_gbs", "save_share", "load_share",
          "step_s", "async_stall_s", "async_save_s"}) {
        EXPECT_GT(line.at(key), 0.0) << key;
    }
    for (const char* key : {"async_step_share", "async_cost_s", "async_interval_share"}) {
        EXPECT_TRUE(line.at(key).is_number()) << key;
    }
    EXPECT_EQ(line.at("interval"), 250);
    const double cached = line.at("cached");
    EXPECT_EQ(cached > 0.01, result.err.find("stayed in memory") != std::string::npos) << cached;

    const auto alone = run({});
    ASSERT_EQ(alone.exit_code, 0) << alone.err;
    EXPECT_FALSE(Json::parse(alone.out.substr(alone.out.find('{'))).contains("step_s"));
    EXPECT_THAT(run({"--steps", "-1"}).err, HasSubstr("--steps -1: must be"));
    EXPECT_TRUE(std::filesystem::is_empty(disk));
}

/// Waits until the folder has something in it, at most a minute.
void wait_for_content(const std::filesystem::path& folder) {
    for (int i = 0; i < 600 && std::filesystem::is_empty(folder); ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

TEST(RunBenchCheckpoint, ASignalLeavesNothingEither) {
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        const TemporaryFolder folder;
        const auto disk = folder.path() / "disk";
        std::filesystem::create_directory(disk);
        const pid_t process =
            start_flux_train(bench("checkpoint", {"--out", disk.string(), "--repeats", "1000"}),
                             folder.path() / "log");
        wait_for_content(disk);
        ::kill(process, signal);
        EXPECT_EQ(wait_for(process), 128 + signal);
        EXPECT_TRUE(std::filesystem::is_empty(disk)) << signal;
    }
}

TEST(RunBench, RefusesBeforeItMeasures) {
    for (const std::string tool : {"step", "unit", "checkpoint"}) {
        const auto result = run_flux_train(bench(tool, {"--json", "/no/such/figures.json"}));
        EXPECT_EQ(result.exit_code, 1);
        EXPECT_EQ(result.out, "");
        EXPECT_THAT(result.err, HasSubstr("/no/such/figures.json: the folder does not exist"));
    }
    for (const std::string tool : {"unit", "checkpoint", "data"}) {
        const TemporaryFolder folder;
        ProcessGroup group(2,
                           tool == "data" ? std::vector<std::string>{"bench", tool}
                                          : bench(tool, {"--repeats", "1"}),
                           folder.path());
        EXPECT_THAT(group.wait(), testing::Each(2)) << group.all_logs();
        EXPECT_THAT(group.all_logs(), HasSubstr("measures one process, and these are 2"));
    }
}

/// What bench_peer.py says when it refuses these options.
std::string peer_refusal(const std::vector<std::string>& more) {
    const TemporaryFolder folder;
    const auto log = folder.path() / "log";
    std::vector<std::string> words{"--flux_train", flux_train_binary().string(), "--config",
                                   std::string(FLUX_SOURCE_DIR) + "/configs/bench_cpu.toml"};
    words.insert(words.end(), more.begin(), more.end());
    EXPECT_NE(wait_for(start_program(std::string(FLUX_SOURCE_DIR) + "/scripts/bench_peer.py", words,
                                     log)),
              0);
    const std::string said = read_text(log);
    EXPECT_THAT(said, testing::Not(HasSubstr("Traceback")));
    return said;
}

TEST(RunBenchPeer, SaysAtOnceWhatItCannotDo) {
    EXPECT_THAT(peer_refusal({"--config", "/no/such.toml"}),
                HasSubstr("--config /no/such.toml: there is no such file"));
    EXPECT_THAT(peer_refusal({"--flux_train", "/no/such"}),
                HasSubstr("--flux_train /no/such: there is no such file"));
    EXPECT_THAT(peer_refusal({"--rounds", "0"}), HasSubstr("0: must be 1 or more"));
    EXPECT_THAT(peer_refusal({"--ways", "quick"}), HasSubstr("quick: must be of eager, compile"));
}

TEST(RunBenchPeer, NamesWhatDiffusersCannotBuild) {
    const TemporaryFolder folder;
    const auto config = folder.path() / "tiny.toml";
    write_text(config, tiny_config("mlp_ratio = 3.0\n"));
    EXPECT_THAT(peer_refusal({"--config", config.string(), "--venv", folder.path().string()}),
                HasSubstr("mlp_ratio = 3.0: diffusers has 4 only"));
}

TEST(RunBenchPeer, TakesNoFolderThatHoldsSomethingElse) {
    if (std::system("python3 -c 'import torch, diffusers' 2>/dev/null") == 0) {
        GTEST_SKIP() << "needs a Python without diffusers, which would be used as it is";
    }
    const TemporaryFolder folder;
    const auto config = folder.path() / "tiny.toml";
    write_text(config, tiny_config());
    EXPECT_THAT(peer_refusal({"--config", config.string(), "--venv", folder.path().string()}),
                HasSubstr("holds what was not made here"));
    EXPECT_TRUE(std::filesystem::exists(config));
}

TEST(RunBenchComm, OneProcessIsToldToStartMore) {
    const auto result = run_flux_train(bench("comm", {}));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.err, HasSubstr("start several"));
}

/// The figures of two processes with these options.
Json bench_comm(const std::vector<std::string>& more) {
    const TemporaryFolder folder;
    const auto json = folder.path() / "comm.json";
    std::vector<std::string> words =
        bench("comm", {"--repeats", "2", "--sweep_mib", "1", "--json", json.string(),
                       "--job.dump_folder=" + (folder.path() / "run").string()});
    words.insert(words.end(), more.begin(), more.end());
    ProcessGroup group(2, words, folder.path());
    EXPECT_THAT(group.wait(), testing::Each(0)) << group.all_logs();
    EXPECT_FALSE(std::filesystem::exists(folder.path() / "run"));
    return Json::parse(read_text(json));
}

/// The names of what a step exchanges.
std::vector<std::string> of_step(const Json& line) {
    std::vector<std::string> names;
    for (const Json& operation : line.at("operations")) {
        EXPECT_EQ(operation.at("processes"), 2);
        EXPECT_GT(operation.at("seconds_median"), 0.0);
        const double share =
            operation.at("bus_gbs").get<double>() / operation.at("algorithm_gbs").get<double>();
        EXPECT_NEAR(share, operation.at("operation") == "all_reduce" ? 1.0 : 0.5, 1e-9);
        if (operation.at("of_step")) {
            names.push_back(operation.at("operation"));
        }
    }
    return names;
}

TEST(DistBenchComm, ShardedJobsGatherAndScatter) {
    const Json line =
        bench_comm({"--training.mixed_precision_param=bfloat16", "--training.batch_size=2"});
    EXPECT_EQ(line.at("backend"), "gloo");
    EXPECT_EQ(line.at("shard"), 2);
    EXPECT_THAT(of_step(line), testing::ElementsAre("all_gather", "reduce_scatter"));
    const Json& operations = line.at("operations");
    EXPECT_EQ(operations[0].at("dtype"), "bfloat16");
    EXPECT_EQ(operations[1].at("dtype"), "float32");
    EXPECT_EQ(2 * operations[0].at("bytes").get<int64_t>(), operations[1].at("bytes"));
    EXPECT_EQ(operations.size(), 2u + 3 * 3);  // 4 KiB, 64 KiB, 1 MiB
    const Json& step = line.at("step");
    for (const char* key : {"all_gather_s", "reduce_scatter_s", "seconds"}) {
        EXPECT_GT(step.at(key), 0.0) << key;
    }
    EXPECT_GE(step.at("reduce_scatter_bytes").get<int64_t>(),
              operations[1].at("bytes").get<int64_t>() / 2);
}

TEST(DistBenchComm, CopiesAddUp) {
    const Json line = bench_comm({"--parallelism.data_parallel_replicate_degree=2",
                                  "--parallelism.data_parallel_shard_degree=1"});
    EXPECT_EQ(line.at("replicate"), 2);
    EXPECT_THAT(of_step(line), testing::ElementsAre("all_reduce"));
    EXPECT_EQ(line.at("step").at("all_gather_bytes"), 0);
    EXPECT_GT(line.at("step").at("all_reduce_s"), 0.0);
}

}  // namespace
}  // namespace flux::test
