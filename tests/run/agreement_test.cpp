// What the processes of a job must have in common, and what becomes of them without the shell that
// started them.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <tuple>

#include "flux/base/file.h"
#include "run/process_group.h"
#include "support/group.h"
#include "support/reference.h"

namespace flux::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

/// The second process works in a folder of its own: relative paths lead it elsewhere.
class DistRunAgreement : public testing::Test {
protected:
    DistRunAgreement() {
        fs::create_directories(own_);
        fs::remove_all(data_);
    }
    ~DistRunAgreement() override { fs::remove_all(data_); }

    std::vector<std::string> job(int64_t steps, const std::vector<std::string>& more) const {
        std::vector<std::string> words{
            "--job.config_file=" + std::string(FLUX_SOURCE_DIR) + "/configs/debug.toml",
            "--job.dump_folder=" + run().string(),
            "--model.depth=1",
            "--model.depth_single_blocks=1",
            "--training.img_size=32",
            "--training.batch_size=2",
            "--training.steps=" + std::to_string(steps),
            "--comm.init_timeout_seconds=30",
            "--comm.train_timeout_seconds=10",
            "--dataloader.num_workers=1",
            "--metrics.log_freq=1",
            "--checkpoint.enable_checkpoint=false"};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }

    static void make_pictures(const fs::path& folder, int count, bool validation = false) {
        const std::string number = std::to_string(count);
        std::vector<std::string> words{
            "data", "shapes", "--out", folder.string(), "--samples", number, "--samples_per_shard",
            number};
        if (validation) {
            words.emplace_back("--validation");
        }
        const auto made = run_flux_train(words);
        ASSERT_EQ(made.exit_code, 0) << made.err;
    }

    fs::path run() const { return folder_.path() / "run"; }

    const std::string data_ = fmt::format("agreement_data_{}", ::getpid());
    TemporaryFolder folder_;
    fs::path own_ = folder_.path() / "elsewhere";
};

TEST_F(DistRunAgreement, OtherSamplesAreRefusedByRankHostAndSize) {
    struct Set {
        const char* section;
        const char* name;
        const char* other;
    };
    for (const Set& set : {Set{"training", "cc12m-test", "--eval.dataset="},
                           Set{"eval", "coco", "--training.dataset=shapes"}}) {
        const bool validation = std::string(set.section) == "eval";
        make_pictures(data_, 64, validation);
        make_pictures(own_ / data_, 48, validation);
        const std::string option = std::string("--") + set.section + ".dataset";
        ProcessGroup group(2,
                           job(5, {option + "=" + set.name, option + "_path=" + data_, set.other}),
                           folder_.path(), {.rank = 1, .working_folder = own_});
        EXPECT_THAT(group.wait(), Each(1)) << group.all_logs();
        EXPECT_THAT(
            group.all_logs(),
            AllOf(HasSubstr(fmt::format("{}.dataset = \"{}\": rank 1 on ", set.section, set.name)),
                  HasSubstr("sees 48 samples, fingerprint "),
                  HasSubstr("sees 64 samples, fingerprint ")));
        EXPECT_FALSE(fs::exists(run() / "metrics.jsonl"));
        fs::remove_all(data_);
        fs::remove_all(own_ / data_);
    }
}

/// Its first caption is no text any more; every name, size and place is as it was.
void spoil_first_caption(const fs::path& shards) {
    const fs::path shard = fs::directory_iterator(shards)->path();
    std::string bytes = read_text(shard);
    const size_t place = bytes.find(" on a ");
    ASSERT_NE(place, std::string::npos);
    bytes[place] = '\xff';
    write_text(shard, bytes);
}

TEST_F(DistRunAgreement, PicturesAreThoseOfTheFirstProcesssCaptions) {
    make_pictures(own_ / data_, 3, /*validation=*/true);
    fs::copy(own_ / data_, data_);
    spoil_first_caption(own_ / data_);
    // Three captions make two rounds of two processes, two captions one.
    ProcessGroup group(
        2,
        job(1, {"--eval.dataset=coco", "--eval.dataset_path=" + data_, "--eval.batch_size=1",
                "--eval.at_start=true", "--eval.save_img_count=3", "--eval.denoising_steps=2",
                "--training.max_bad_fraction=1"}),
        folder_.path(), {.rank = 1, .working_folder = own_});
    EXPECT_THAT(group.wait(), Each(0)) << group.all_logs();
    EXPECT_TRUE(fs::exists(run() / "img/step-000001/02.png")) << group.all_logs();
}

/// Three processes on two machines, for all that they can see, told of them what operators tell:
/// the place on the machine and not how many are there.
TEST_F(DistRunAgreement, UnequalMachinesMakeOneMesh) {
    const std::string named = "exec unshare --user --map-root-user --uts sh -c ";
    const fs::path log = folder_.path() / "log";
    if (wait_for(start_program("/bin/sh", {"-c", named + "'hostname node0'"}, log)) != 0) {
        GTEST_SKIP() << "a process cannot be given another name of the machine here";
    }
    const std::string port = std::to_string(free_port());
    std::vector<pid_t> processes;
    for (const auto& [rank, place, host] :
         {std::tuple{"0", "0", "node0"}, std::tuple{"1", "1", "node0"},
          std::tuple{"2", "0", "node1"}}) {
        std::vector<std::string> words{"-c", named + "'hostname \"$0\"; exec \"$@\"' \"$0\" \"$@\"",
                                       host, flux_train_binary().string()};
        for (const std::string& word : job(2, {"--eval.dataset="})) {
            words.push_back(word);
        }
        processes.push_back(start_program("/bin/sh", words,
                                          folder_.path() / (std::string("log") + rank),
                                          {{"RANK", rank},
                                           {"LOCAL_RANK", place},
                                           {"WORLD_SIZE", "3"},
                                           {"MASTER_ADDR", "127.0.0.1"},
                                           {"MASTER_PORT", port},
                                           {"OMP_NUM_THREADS", "1"}}));
    }
    for (const pid_t process : processes) {
        EXPECT_EQ(wait_for(process), 0);
    }
    EXPECT_THAT(read_text(folder_.path() / "log0"),
                AllOf(HasSubstr("3 processes: 1 x the model, each sharded over 3"),
                      HasSubstr("the machines hold unequal numbers of processes")));
}

/// Two processes whose shell is gone at once, as when a user starts them over ssh.
class RunWithoutItsShell : public DistRunAgreement {
protected:
    void start(const std::string& environment, int64_t steps) {
        const std::string port = std::to_string(free_port());
        std::string script;
        for (const char* rank : {"0", "1"}) {
            script += fmt::format(
                "{} RANK={} LOCAL_RANK={} WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 "
                "MASTER_PORT={} OMP_NUM_THREADS=1 {}",
                environment, rank, rank, port, flux_train_binary().string());
            for (const std::string& word : job(steps, {"--eval.dataset="})) {
                script += " '" + word + "'";
            }
            script += " &\n";
        }
        // By then they have met and know their parent.
        script += fmt::format("until [ -s '{}' ]; do sleep 0.05; done\n",
                              (run() / "metrics.jsonl").string());
        ASSERT_EQ(wait_for(start_program("/bin/bash", {"-c", script}, log_)), 0);
    }

    bool said_within(const std::string& text, int seconds) const {
        for (int i = 0; i < 20 * seconds; ++i) {
            if (read_text(log_).find(text) != std::string::npos) {
                return true;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        }
        return false;
    }

    fs::path log_ = folder_.path() / "log";
};

TEST_F(RunWithoutItsShell, ByHandItGoesOn) {
    start("", 400);
    const auto steps = metric(run(), "loss").size();
    EXPECT_LT(steps, 300U);  // there was something left to do
    EXPECT_TRUE(said_within("finished at step 400", 120)) << read_text(log_);
}

TEST_F(RunWithoutItsShell, UnderALauncherItEnds) {
    start("TORCHELASTIC_RUN_ID=none", 1'000'000);
    EXPECT_TRUE(said_within("the launcher that started it is gone", 30)) << read_text(log_);
}

}  // namespace
}  // namespace flux::test
