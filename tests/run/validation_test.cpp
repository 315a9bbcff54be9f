// Validation by the real program: the same value on any number of processes, and sets that do not
// serve.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>

#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/data/arrow_writer.h"
#include "run/dist_job.h"
#include "run/process_group.h"
#include "support/reference.h"
#include "support/tar_member.h"

namespace flux::test {
namespace {

namespace fs = std::filesystem;
using testing::Each;
using testing::HasSubstr;
using testing::Not;

class RunValidation : public testing::Test {
protected:
    std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

    /// A tar shard of validation pictures.
    Words pictures(int samples) const {
        const std::string out = path(fmt::format("set-{}", samples));
        const ProcessResult written =
            run_flux_train({"data", "shapes", "--out", out, "--samples", std::to_string(samples),
                            "--img_size", "32", "--validation"});
        EXPECT_EQ(written.exit_code, 0) << written.err;
        return set_in(out);
    }
    static Words set_in(const std::string& folder) {
        return {"--eval.dataset=webdataset", "--eval.dataset_path=" + folder,
                "--eval.save_img_folder="};
    }
    /// A shard of pictures with these json members.
    Words pictures_with(const std::vector<std::string>& jsons) const {
        const std::vector<uint8_t> rgb(32 * 32 * 3, 99);
        std::string tar;
        for (const std::string& json : jsons) {
            const std::string key(1, static_cast<char>('a' + (&json - jsons.data())));
            tar += tar_member(key + ".png", encode_png(ImageView{rgb.data(), 32, 32})) +
                   tar_member(key + ".txt", "a grey square") + tar_member(key + ".json", json);
        }
        fs::create_directory(path("own"));
        write_text(path("own/a.tar"), tar + std::string(1024, '\0'));
        return set_in(path("own"));
    }
    Words picture_with(const std::string& json) const { return pictures_with({json}); }
    Words job(const std::string& run, int64_t steps) const {
        return small_job(path(run), steps) +
               Words{"--training.img_size=32", "--training.global_batch_size=12"};
    }
    ProcessResult train(const Words& options) const {
        return run_flux_train(job("run", 2) + Words{"--training.batch_size=12"} + options);
    }

    TemporaryFolder folder_;
};

/// The values of one validation key by step, as numbers.
double value_at(const fs::path& run, const std::string& key, int64_t step) {
    for (const auto& [at, text] : metric(run, key)) {
        if (at == step) {
            return std::stod(text);
        }
    }
    return NAN;
}

// Only the first sample is looked at before training; the second belongs to the second process. At
// the last step and before; then with a set that serves.
TEST_F(RunValidation, AFaultInTheSetLosesNoTraining) {
    const std::string good = "{\"timestep\": 1}";
    for (const int processes : {1, 2}) {
        for (const int steps : {2, 3}) {
            const std::string run = fmt::format("run-{}-{}", processes, steps);
            const auto train_on = [&](const Words& set) {
                ProcessGroup group(
                    processes,
                    job(run, steps) + set +
                        Words{fmt::format("--training.batch_size={}", 12 / processes),
                              "--eval.batch_size=1", "--eval.freq_steps=2", "--eval.at_start=false",
                              "--eval.target_eval_loss=0"},
                    folder_.path());
                const std::vector<int> codes = group.wait();
                return std::pair(codes, group.all_logs());
            };
            const auto [codes, said] = train_on(pictures_with({good, "{}"}));
            EXPECT_THAT(codes, Each(1)) << said;
            EXPECT_EQ(errors_in(said), size_t{1}) << said;
            EXPECT_THAT(said, HasSubstr("validation sample \"b\": has no timestep"));
            EXPECT_TRUE(fs::exists(path(run) + "/checkpoint/step-2")) << said;
            EXPECT_TRUE(metric(path(run), "val_loss").empty());
            const auto [then, more] = train_on(pictures_with({good, good}));
            EXPECT_THAT(then, Each(0)) << more;
            EXPECT_EQ(value_at(path(run), "val_samples", 2), 2) << more;
            EXPECT_EQ(value_at(path(run), "val_samples", steps), 2) << more;
        }
    }
}

TEST_F(RunValidation, PicturesThatCannotBeWrittenLoseNoTraining) {
    const Words draws{"--eval.dataset=shapes",      "--eval.steps=1",
                      "--eval.freq_steps=2",        "--eval.at_start=false",
                      "--eval.save_img_folder=img", "--eval.save_img_count=2",
                      "--eval.denoising_steps=2",   "--eval.batch_size=1",
                      "--training.batch_size=6",    "--training.ema_decay=0.5"};
    fs::create_directory(path("run"));
    fs::create_directory_symlink("/nowhere/x", path("run") + "/img");
    ProcessGroup no_folder(2, job("run", 3) + draws, folder_.path());
    EXPECT_THAT(no_folder.wait(), Each(1)) << no_folder.all_logs();
    EXPECT_THAT(no_folder.all_logs(), HasSubstr("/img/step-000002"));
    EXPECT_EQ(errors_in(no_folder.all_logs()), size_t{1}) << no_folder.all_logs();
    EXPECT_TRUE(fs::exists(path("run") + "/checkpoint/step-2")) << no_folder.all_logs();

    // The second picture is the second process's.
    ASSERT_EQ(run_flux_train(job("other", 2) + Words{"--training.batch_size=12"}).exit_code, 0);
    fs::create_directories(path("other") + "/img/step-000002/01.png/in the way");
    ProcessGroup no_file(2, job("other", 3) + draws, folder_.path());
    EXPECT_THAT(no_file.wait(), Each(1)) << no_file.all_logs();
    EXPECT_THAT(no_file.all_logs(), testing::ContainsRegex("rank 1: .*/step-000002/01.png"));
    EXPECT_TRUE(fs::exists(path("other") + "/img/step-000002/00.png")) << no_file.all_logs();
}

TEST_F(RunValidation, AStopInTheLastOneSavesAndItIsDoneLater) {
    const auto options = [&](const std::string& batches) {
        return job("run", 2) + Words{"--training.batch_size=6", "--eval.dataset=shapes",
                                     "--eval.save_img_folder=", "--eval.target_eval_loss=0",
                                     "--eval.at_start=false",   "--eval.steps=" + batches};
    };
    ProcessGroup stopped(2, options("-1"), folder_.path());
    await_step(path("run"), 2);
    ::kill(stopped.pid(1), SIGUSR1);
    EXPECT_THAT(stopped.wait(), Each(75)) << stopped.all_logs();
    EXPECT_TRUE(fs::exists(path("run") + "/checkpoint/step-2")) << stopped.all_logs();
    EXPECT_TRUE(metric(path("run"), "val_loss").empty());
    ProcessGroup again(2, options("1"), folder_.path());
    EXPECT_THAT(again.wait(), Each(0)) << again.all_logs();
    EXPECT_EQ(metric(path("run"), "val_loss").size(), 1u) << again.all_logs();
}

// The weights of one checkpoint, to the bit, under every number of processes and in other batches:
// 37 samples leave the last ones uneven, and some processes without any.
TEST_F(RunValidation, IsTheSameOnOneTwoAndThreeProcesses) {
    ASSERT_EQ(run_flux_train(job("trained", 3) + Words{"--training.batch_size=12"}).exit_code, 0);
    const Words many = pictures(37), two = pictures(2);
    const struct {
        const char* name;
        Words options;
        double samples;
    } cases[] = {{"each once", many, 37},
                 {"fewer samples than processes", two, 2},
                 {"all timesteps, noise of the pass",
                  many + Words{"--eval.all_timesteps", "--eval.noise=per_pass",
                               "--eval.timestep_grid=(k+0.5)/8"},
                  8 * 37}};
    for (const auto& item : cases) {
        double alone = NAN;
        for (const auto& [processes, batch] : {std::pair(1, 4), {2, 3}, {3, 1}}) {
            const std::string run = fmt::format("{}-{}", item.name, processes);
            fs::copy(path("trained"), path(run), fs::copy_options::recursive);
            ProcessGroup group(processes,
                               job(run, 4) + item.options +
                                   Words{fmt::format("--training.batch_size={}", 12 / processes),
                                         fmt::format("--eval.batch_size={}", batch),
                                         "--eval.freq_steps=3", "--eval.target_eval_loss=0"},
                               folder_.path());
            ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
            const double value = value_at(path(run), "val_loss", 3);
            EXPECT_EQ(value_at(path(run), "val_samples", 3), item.samples) << run;
            alone = processes == 1 ? value : alone;
            std::printf("measured: %s: relative difference %.2g\n", run.c_str(), value / alone - 1);
            EXPECT_NEAR(value, alone, 1e-6 * alone) << run;
        }
    }
}

// Whatever a validation draws, the training goes on as without one.
TEST_F(RunValidation, MovesNoStreamOfTheTraining) {
    const auto losses_with = [&](const std::string& run, const Words& options) {
        EXPECT_EQ(
            run_flux_train(job(run, 6) + Words{"--training.batch_size=12"} + options).exit_code, 0);
        return metric(path(run), "loss");
    };
    const Words often = pictures(9) + Words{"--eval.freq_steps=1", "--eval.noise=per_pass",
                                            "--eval.all_timesteps", "--eval.target_eval_loss=0"};
    EXPECT_EQ(losses_with("with", often), losses_with("without", {}));
    EXPECT_EQ(metric(path("with"), "val_loss").size(), 7u);  // and before the first step
}

TEST_F(RunValidation, SetsThatDoNotServeAreRefusedBeforeTheFirstStep) {
    const auto expect_refused = [&](const Words& set, const std::vector<std::string>& said) {
        const ProcessResult result = train(set);
        EXPECT_EQ(result.exit_code, 1) << result.err;
        for (const std::string& text : said) {
            EXPECT_THAT(result.err, HasSubstr(text));
        }
        EXPECT_TRUE(metric(path("run"), "loss").empty());
        fs::remove_all(path("one"));
    };
    expect_refused(picture_with("{}"), {"validation sample \"a\": has no timestep",
                                        "flux_train data coco", "eval.all_timesteps"});
    expect_refused(picture_with("{\"timestep\": 8}"), {"timestep 8: must be 0 .. 7"});
    expect_refused(picture_with("{\"timestep\": -1}"), {"timestep -1: must be 0 .. 7"});
    fs::create_directory(path("one"));
    write_text(path("one/a.tar"), std::string(1024, '\0'));
    expect_refused(set_in(path("one")), {"is empty"});
}

TEST_F(RunValidation, ALaterRowWithoutItsTimestepIsRefusedBeforeTraining) {
    const std::vector<uint8_t> rgb(32 * 32 * 3, 99);
    const std::string png = encode_png(ImageView{rgb.data(), 32, 32});
    const Words set{"--eval.dataset=picture_table", "--eval.dataset_path=" + path("set.arrow"),
                    "--eval.save_img_folder=", "--eval.target_eval_loss=0"};
    for (const auto& [wrong, said] :
         {std::pair(data::SavedCell(8), "row 1: timestep 8: must be 0 .. 7"),
          std::pair(data::SavedCell(), "row 1: has no timestep, and needs one of 0 .. 7")}) {
        fs::remove(path("set.arrow"));
        data::ArrowWriter writer(path("set.arrow"),
                                 {{"png", data::SavedKind::kImage},
                                  {"txt", data::SavedKind::kText},
                                  {"timestep", data::SavedKind::kInt32}},
                                 data::SavedCompression::kNone);
        writer.add({std::string_view(png), std::string_view("x"), 7});
        writer.add({std::string_view(png), std::string_view("x"), wrong});
        writer.commit();
        const ProcessResult result = train(set);
        EXPECT_EQ(result.exit_code, 1) << result.err;
        EXPECT_THAT(result.err, HasSubstr(said));
        EXPECT_TRUE(metric(path("run"), "loss").empty());
    }
    EXPECT_EQ(train(set + Words{"--eval.all_timesteps"}).exit_code, 0);
}

TEST_F(RunValidation, ASetOfBadSamplesIsNamed) {
    const ProcessResult result = train(pictures_with({"{\"timestep\": 1}", "{\"timestep\": 8}"}) +
                                       Words{"--eval.at_start=true"});
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr("eval.dataset: too many bad samples: 1 of 2"));
}

TEST_F(RunValidation, ASetWithoutTimestepsServesAtAllOfThem) {
    const ProcessResult result =
        train(picture_with("{}") + Words{"--eval.all_timesteps", "--eval.target_eval_loss=0"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(value_at(path("run"), "val_samples", 2), 8);
}

TEST_F(RunValidation, ATargetWithoutASetIsWarnedOfOnce) {
    constexpr const char* kWarning = "eval.target_eval_loss = 0.3: is never reached";
    ProcessGroup group(
        2, job("run", 2) + Words{"--training.batch_size=6", "--eval.target_eval_loss=0.3"},
        folder_.path());
    ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
    const std::string said = group.all_logs();
    ASSERT_THAT(said, HasSubstr(kWarning));
    EXPECT_EQ(said.find(kWarning), said.rfind(kWarning));
    fs::remove_all(path("run"));
    EXPECT_THAT(train({"--eval.target_eval_loss=0"}).err, Not(HasSubstr("never reached")));
}

}  // namespace
}  // namespace flux::test
