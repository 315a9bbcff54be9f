#include "flux/train/run_log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/checkpoint/folder.h"
#include "flux/config/print.h"
#include "flux/model/flops.h"
#include "flux/train/device.h"
#include "flux/train/report_page.h"
#include "train/mlperf.h"

namespace flux::train {
namespace {

constexpr double kReportInterval_s = 5;

std::optional<double> peak_of(const ResolvedJob& job) {
    if (job.config.metrics.peak_tflops) {
        return job.config.metrics.peak_tflops;
    }
    return job.device.is_cuda() ? metrics::peak_tflops(device_name(job.device)) : std::nullopt;
}

ProgressSettings progress_settings(const ResolvedJob& job) {
    ProgressSettings settings{
        .label = "train", .unit = "steps", .total = job.config.training.steps};
    settings.done = job.resume ? job.resume->run.step : 0;
    switch (job.config.metrics.progress_bar) {
        case config::ProgressBar::kAuto:
            settings.style = ProgressSettings::Style::kAuto;
            break;
        case config::ProgressBar::kOn:
            settings.style = ProgressSettings::Style::kBar;
            break;
        case config::ProgressBar::kOff:
            settings.style = ProgressSettings::Style::kLines;
            break;
    }
    return settings;
}

/// Moves what an earlier run left in the folder into earlier-N/: nothing that was written is lost.
void set_aside_earlier_run(const ResolvedJob& job) {
    std::vector<std::filesystem::path> found;
    for (const std::string& name :
         {std::string("config.toml"), std::string("train.log"), std::string("metrics.jsonl"),
          std::string("mlperf_compliance.log"), std::string("report.html"),
          std::string("wandb_run_id"), std::string("wandb_forward.log"),
          job.config.metrics.save_tb_folder, job.config.eval.save_img_folder,
          job.config.checkpoint.folder}) {
        if (!name.empty() && std::filesystem::exists(job.folder() / name)) {
            found.push_back(name);
        }
    }
    if (found.empty()) {
        return;
    }
    std::filesystem::path aside;
    for (int i = 1; aside.empty() || std::filesystem::exists(aside); ++i) {
        aside = job.folder() / fmt::format("earlier-{}", i);
    }
    for (const auto& name : found) {
        std::filesystem::create_directories((aside / name).parent_path());
        std::filesystem::rename(job.folder() / name, aside / name);
    }
    log::info("what an earlier run left is now in {}", aside.string());
}

/// Sample pictures of steps that the resumed run has not reached yet.
void remove_later_pictures(const ResolvedJob& job) {
    const auto folder = job.folder() / job.config.eval.save_img_folder;
    if (job.config.eval.save_img_folder.empty() || !std::filesystem::exists(folder)) {
        return;
    }
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        const auto step = checkpoint::step_of(entry.path());
        if (step && *step > job.resume->run.step) {
            std::filesystem::remove_all(entry.path());
        }
    }
}

metrics::ReporterSettings reporter_settings(const ResolvedJob& job) {
    if (job.resume) {
        remove_later_pictures(job);
    } else {
        set_aside_earlier_run(job);
    }
    log::add_file(job.folder() / "train.log");
    const config::Metrics& metrics = job.config.metrics;
    return {.folder = job.folder(),
            .resume_step = job.resume ? std::optional(job.resume->run.step) : std::nullopt,
            .color = !metrics.disable_color_printing && ::isatty(STDERR_FILENO) == 1,
            .tensorboard_folder = metrics.enable_tensorboard ? job.folder() / metrics.save_tb_folder
                                                             : std::filesystem::path(),
            .config_toml = config::to_toml(job.config)};
}

}  // namespace

std::optional<metrics::LiveView> open_live_view(const ResolvedJob& job) {
    const config::Metrics& settings = job.config.metrics;
    if (!job.place.is_first() || settings.http_port == 0) {
        return std::nullopt;
    }
    return std::optional<metrics::LiveView>(std::in_place, settings.http_host,
                                            static_cast<int>(settings.http_port));
}

RunLog::RunLog(const ResolvedJob& job, const RunSizes& sizes, metrics::LiveView* view)
    : job_(job),
      flops_per_sample_(model::training_flops(job.model, job.image_tokens(),
                                              job.config.encoder.max_t5_encoding_len)),
      peak_tflops_(peak_of(job)),
      view_(view),
      histogram_(kTimestepBins) {
    if (job.place.is_first()) {
        open(sizes);
    }
}

void RunLog::open_mlperf(const RunSizes& sizes) {
    // A seed checkpoint is made before the run that is measured.
    if (!job_.config.metrics.mlperf_logging ||
        (job_.config.checkpoint.create_seed_checkpoint && !job_.resume)) {
        return;
    }
    const metrics::MlperfFacts facts = mlperf_facts(job_, sizes);
    mlperf_.emplace(job_.folder(), facts,
                    job_.resume ? std::optional(job_.resume->run.samples) : std::nullopt);
    if (facts.open_division) {
        return;
    }
    if (const auto problems = closed_division_problems(job_, facts); !problems.empty()) {
        log::warning("no valid MLPerf result of the closed division: {}",
                     fmt::join(problems, "; "));
    }
}

void RunLog::open(const RunSizes& sizes) {
    const ResolvedJob& job = job_;
    const int64_t parameters = sizes.parameters;
    reporter_.emplace(reporter_settings(job));
    open_mlperf(sizes);
    html_.emplace(job.folder());
    progress_.emplace(progress_settings(job));
    write_text(job.folder() / "config.toml", config::to_toml(job.config));
    page_ = report_input(job.config);
    page_.facts.push_back({"Device", device_name(job.device)});
    page_.facts.push_back({"Compute", std::string(long_name(job.dtype))});
    log::info(
        "{} with {} parameters, {:.4g} TFLOP per sample forward and backward; {} in {}; seed {}",
        job.config.model.flavor, parameters, flops_per_sample_ / 1e12, device_name(job.device),
        long_name(job.dtype), job.seed);
    if (job.mesh.size() > 1) {
        log::info("{} processes: {} x the model, each sharded over {}; started by {}",
                  job.mesh.size(), job.mesh.replicate, job.mesh.shard, job.place.launcher);
    }
    log::info(
        "global batch {} = {} x {} accumulated x {} processes; {} steps; everything goes to {}",
        job.global_batch_size, job.config.training.batch_size, job.micro_batches(), job.mesh.size(),
        job.config.training.steps, job.folder().string());
    if (job.config.metrics.enable_wandb) {
        forwarder_.emplace(job.folder());
    }
    if (view_ != nullptr) {
        view_->show(job.folder() / "report.html");
        log::info("live: http://{}:{}/", job.config.metrics.http_host, view_->port());
    }
}

void RunLog::add_pass(int64_t samples, int64_t image_tokens, int64_t text_tokens) {
    meter_.add_flops(static_cast<double>(samples) *
                     model::training_flops(job_.model, image_tokens, text_tokens));
}

void RunLog::run_starts() {
    if (mlperf_) {
        mlperf_->run_starts();
    }
}

void RunLog::step_starts(int64_t samples) {
    if (mlperf_) {
        mlperf_->step_starts(samples);
    }
}

void RunLog::progress(const StepFigures& figures) {
    if (progress_) {
        progress_->update(figures.step, fmt::format("loss {:.4f}", figures.loss));
    }
}

void RunLog::train(const StepFigures& figures) {
    const auto reading = meter_.take();
    const metrics::MemoryUse memory = device_memory(job_.device);
    metrics::TrainLine line;
    line.step = figures.step;
    line.samples = figures.samples;
    line.loss = figures.loss;
    line.grad_norm = figures.grad_norm;
    line.lr = figures.lr;
    line.skipped = figures.skipped;
    line.samples_per_s = reading.samples_per_s;
    line.tflops = reading.flops_per_s / 1e12;
    if (peak_tflops_) {
        line.mfu = line.tflops / *peak_tflops_;
    }
    line.memory_gib = memory.gib;
    line.memory_percent = memory.percent;
    line.data_wait = reading.data_wait;
    line.time_s = metrics::process_seconds();
    if (reporter_) {
        reporter_->train(line);
    }
    if (forwarder_) {
        forwarder_->watch();
    }
    if (view_ != nullptr) {
        view_->train(line);
    }
    if (mlperf_) {
        mlperf_->trained(figures.samples, figures.loss, figures.lr);
    }
}

void RunLog::validation_starts(int64_t samples) {
    if (mlperf_) {
        mlperf_->validation_starts(samples);
    }
}

void RunLog::validation(int64_t step, int64_t samples, const eval::ValidationResult& result) {
    metrics::ValidationLine line;
    line.step = step;
    line.samples = samples;
    line.val_loss = result.sample_mean();
    for (size_t k = 0; k < line.val_loss_t.size(); ++k) {
        line.val_loss_t[k] = result.timestep_mean(k);
    }
    line.val_loss_t_mean = result.mean_of_timestep_means();
    line.val_samples = result.samples();
    line.time_s = metrics::process_seconds();
    if (reporter_) {
        reporter_->validation(line);
    }
    if (view_ != nullptr) {
        view_->validation(line);
    }
    if (mlperf_) {
        mlperf_->validation_ends(samples, line.val_loss);
    }
}

void RunLog::finish(End end) {
    if (progress_) {
        progress_->finish();
    }
    if (forwarder_ && end == End::kGood) {
        forwarder_->finish();
    }
}

void RunLog::pictures(int64_t step) {
    if (reporter_) {
        reporter_->pictures(step, picture_folder(job_, step));
    }
}

void RunLog::run_stops(int64_t samples, bool success) {
    try {
        if (mlperf_) {
            mlperf_->run_stops(samples, success);
        }
    } catch (const std::exception& problem) {  // what ends the run, if it fails, is another one
        log::warning("{}", failure_text(problem));
    }
}

void RunLog::report(const std::string& status, int64_t samples, bool force) {
    if (!html_ || (!force && metrics::process_seconds() - last_report_s_ < kReportInterval_s)) {
        return;
    }
    count_timesteps(histogram_, job_.config.training, job_.seed, histogram_samples_, samples);
    histogram_samples_ = samples;
    page_.timestep_counts = histogram_.counts();
    page_.status = status;
    try {
        html_->write(page_);
    } catch (const std::exception& problem) {  // a picture of the run, not the run
        log::warning("{}", failure_text(problem));
    }
    last_report_s_ = metrics::process_seconds();
}

std::filesystem::path picture_folder(const ResolvedJob& job, int64_t step) {
    return job.folder() / job.config.eval.save_img_folder / fmt::format("step-{:06}", step);
}

}  // namespace flux::train
