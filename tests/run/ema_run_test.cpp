// The average of the weights in the real program: its value, its way through checkpoints, and what
// is drawn and exported from it.
#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/base/safetensors.h"
#include "run/dist_job.h"
#include "run/process_group.h"
#include "support/reference.h"

namespace flux::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::Not;

constexpr double kDecay = 0.8;
const std::string kAverage = "--training.ema_decay=0.8";
const Words kAlone{"--training.batch_size=8"};
const Words kEveryStep{"--checkpoint.interval=1", "--checkpoint.keep_latest_k=0"};
constexpr double kRounding = 1e-6;  // of fp32 numbers up to one, over some steps

using Weights = std::map<std::string, at::Tensor>;  // fp64

class RunEma : public testing::Test {
protected:
    fs::path path(const std::string& name) const { return folder_.path() / name; }

    ProcessResult train(const std::string& run, int64_t steps, const Words& options) const {
        const ProcessResult result =
            run_flux_train(small_job(path(run), steps) + kAlone + kEveryStep + options);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return result;
    }

    /// What `checkpoint export` makes of a step.
    Weights exported(const std::string& run, int64_t step, const Words& options = {}) {
        const fs::path out = path("export-" + std::to_string(exports_++) + ".safetensors");
        const ProcessResult result = run_flux_train(
            Words{"checkpoint", "export", "--checkpoint",
                  (path(run) / "checkpoint" / ("step-" + std::to_string(step))).string(), "--out",
                  out.string()} +
            options);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        const SafetensorsFile file(out);
        Weights weights;
        for (const std::string& name : file.names()) {
            weights[name] = file.tensor(name).to(at::kDouble);
        }
        return weights;
    }
    Weights average(const std::string& run, int64_t step) { return exported(run, step, {"--ema"}); }

    TemporaryFolder folder_;
    int exports_ = 0;
};

Weights mixed(const Weights& average, const Weights& weights) {
    Weights result;
    for (const auto& [name, tensor] : average) {
        result[name] = tensor * kDecay + weights.at(name) * (1 - kDecay);
    }
    return result;
}

double largest_difference(const Weights& a, const Weights& b) {
    EXPECT_EQ(a.size(), b.size());
    double largest = 0;
    for (const auto& [name, tensor] : a) {
        largest = std::max(largest, (tensor - b.at(name)).abs().max().item<double>());
    }
    return largest;
}

// A step at a time from the first weights on, by one, two, two times two and again one process.
TEST_F(RunEma, IsWhatTheWeightsOfTheStepsMakeItOnAnyNumberOfProcesses) {
    train("run", 1, {kAverage, "--checkpoint.create_seed_checkpoint"});
    const struct {
        int64_t steps;
        int processes;
        Words options;
    } stages[] = {{2, 2, {"--training.batch_size=4"}},
                  {4,
                   4,
                   {"--training.batch_size=2", "--parallelism.data_parallel_replicate_degree=2",
                    "--training.enable_cpu_offload"}},
                  {6, 1, {"--training.batch_size=8", "--checkpoint.async_mode=async"}}};
    for (const auto& stage : stages) {
        ProcessGroup group(
            stage.processes,
            small_job(path("run"), stage.steps) + kEveryStep + stage.options + Words{kAverage},
            folder_.path());
        ASSERT_THAT(group.wait(), Each(0)) << group.all_logs();
        EXPECT_THAT(group.all_logs(), Not(HasSubstr("holds no averaged weights")));
    }
    Weights expected = exported("run", 0);
    EXPECT_EQ(largest_difference(average("run", 0), expected), 0);  // begins at the first weights
    for (int64_t step = 1; step <= 6; ++step) {
        expected = mixed(expected, exported("run", step));
        EXPECT_LT(largest_difference(average("run", step), expected), kRounding) << step;
    }
    EXPECT_GT(largest_difference(expected, exported("run", 6)), 1e-4);  // is not the weights
}

TEST_F(RunEma, BeginsAtTheLoadedWeightsWhereThereIsNone) {
    train("run", 2, {});
    const std::string warning = "holds no averaged weights: the average begins at its weights";
    const std::string said = train("run", 3, {kAverage}).err;
    EXPECT_THAT(said, HasSubstr(warning));
    EXPECT_EQ(said.find(warning), said.rfind(warning));
    EXPECT_LT(largest_difference(average("run", 3), mixed(exported("run", 2), exported("run", 3))),
              kRounding);
    EXPECT_THAT(train("run", 4, {kAverage}).err, Not(HasSubstr(warning)));
    EXPECT_LT(largest_difference(average("run", 4), mixed(average("run", 3), exported("run", 4))),
              kRounding);
    EXPECT_THAT(train("run", 5, {kAverage, "--checkpoint.exclude_from_loading=ema"}).err,
                Not(HasSubstr(warning)));
    EXPECT_LT(largest_difference(average("run", 5), mixed(exported("run", 4), exported("run", 5))),
              kRounding);
}

TEST_F(RunEma, ChangesNoTrainingAndNoValidationLoss) {
    const Words validates{"--eval.dataset=shapes",     "--eval.freq_steps=2",
                          "--eval.target_eval_loss=0", "--eval.save_img_count=1",
                          "--eval.denoising_steps=2",  "--training.img_size=32",
                          "--eval.save_img_folder=img"};
    train("with", 4, validates + Words{kAverage});
    train("without", 4, validates);
    for (const char* key : {"loss", "val_loss"}) {
        EXPECT_EQ(metric(path("with"), key), metric(path("without"), key)) << key;
    }
    // Pictures are of the average: that of the last validation is what `sample` draws of it.
    const fs::path picture = fs::path("img") / "step-000004" / "00.png";
    const auto drawn = [&](const std::string& name, const Words& options) {
        const ProcessResult result =
            run_flux_train(Words{"sample", "--checkpoint", path("with").string(), "--prompt",
                                 read_png_text(path("with") / picture).at("prompt"), "--out",
                                 path(name).string()} +
                           options);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return read_text(path(name) / "0000-00.png");
    };
    const std::string of_average = drawn("average", {"--inference.ema"});
    EXPECT_EQ(read_text(path("with") / picture), of_average);
    const std::string of_weights = drawn("weights", {});
    EXPECT_EQ(read_text(path("without") / picture), of_weights);
    EXPECT_NE(of_average, of_weights);
}

TEST_F(RunEma, StaysInALastCheckpointOfWeightsOnly) {
    train("run", 2,
          {kAverage, "--checkpoint.model_weights_only", "--checkpoint.export_dtype=bfloat16"});
    EXPECT_GT(largest_difference(average("run", 2), exported("run", 2)), 0);
    const ProcessResult folder =
        run_flux_train({"checkpoint", "export", "--checkpoint", path("run").string(), "--ema",
                        "--format", "diffusers", "--out", path("transformer").string()});
    ASSERT_EQ(folder.exit_code, 0) << folder.err;
    const SafetensorsFile file(path("transformer") / "diffusion_pytorch_model.safetensors");
    EXPECT_EQ(largest_difference(
                  {{"proj_out.weight", file.tensor("proj_out.weight").to(at::kDouble)}},
                  {{"proj_out.weight", average("run", 2).at("final_layer.linear.weight")}}),
              0);
}

TEST_F(RunEma, IsRefusedWhereThereIsNone) {
    train("run", 1, {});
    const ProcessResult exported =
        run_flux_train({"checkpoint", "export", "--checkpoint", path("run").string(), "--ema",
                        "--out", path("x.safetensors").string()});
    EXPECT_EQ(exported.exit_code, 1);
    EXPECT_THAT(exported.err, AllOf(HasSubstr("step-1: --ema: this checkpoint holds no averaged"),
                                    HasSubstr("training.ema_decay")));
    const ProcessResult drawn =
        run_flux_train({"sample", "--checkpoint", path("run").string(), "--prompt", "x", "--out",
                        path("out").string(), "--inference.ema"});
    EXPECT_EQ(drawn.exit_code, 1);
    EXPECT_THAT(drawn.err, HasSubstr("command line: inference.ema = true: this checkpoint holds no "
                                     "averaged weights"));
    EXPECT_FALSE(fs::exists(path("out")));
    EXPECT_EQ(run_flux_train(small_job(path("run"), 1) + Words{"--training.ema_decay=1"}).exit_code,
              2);
}

}  // namespace
}  // namespace flux::test
