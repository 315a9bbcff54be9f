#include "flux/train/run_log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/base/progress.h"
#include "flux/checkpoint/folder.h"
#include "flux/config/print.h"
#include "flux/config/run_files.h"
#include "flux/flow/timesteps.h"
#include "flux/metrics/html_report.h"
#include "flux/metrics/mlperf_log.h"
#include "flux/metrics/reporter.h"
#include "flux/model/flops.h"
#include "flux/train/device.h"
#include "flux/train/execution.h"
#include "flux/train/step_path.h"
#include "train/mlperf.h"
#include "train/report_page.h"

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
    std::vector<std::filesystem::path> found(config::kRunFiles.begin(), config::kRunFiles.end());
    for (const std::string& folder :
         {job.config.metrics.save_tb_folder, job.config.eval.save_img_folder,
          job.config.checkpoint.folder}) {
        found.emplace_back(folder);
    }
    std::erase_if(found, [&](const std::filesystem::path& name) {
        return name.empty() || !std::filesystem::exists(job.folder() / name);
    });
    if (found.empty()) {
        return;
    }
    std::filesystem::path aside;
    for (int i = 1; aside.empty() || std::filesystem::exists(aside); ++i) {
        aside = job.folder() / fmt::format("{}{}", config::kEarlierRun, i);
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

/// Clears the folder for what this process will add, and writes down what it does. Returns what the
/// report says of it.
metrics::ReportInput begin_folder(const ResolvedJob& job) {
    if (job.resume) {
        remove_later_pictures(job);
    } else {
        set_aside_earlier_run(job);
    }
    log::add_file(job.folder() / "train.log");
    write_text(job.folder() / "config.toml", config::to_toml(job.config));
    metrics::ReportInput page = report_input(job.config);
    page.facts.push_back({"Device", device_name(job.device)});
    page.facts.push_back(
        {"Compute", std::string(long_name(job.dtype)) + products_text(job.config, job.model)});
    page.status = "running";
    metrics::save_report_input(job.folder(), page);
    return page;
}

metrics::ReporterSettings reporter_settings(const ResolvedJob& job, metrics::LiveView* view) {
    const config::Metrics& metrics = job.config.metrics;
    return {.folder = job.folder(),
            .resume_step = job.resume ? std::optional(job.resume->run.step) : std::nullopt,
            .color = !metrics.disable_color_printing && ::isatty(STDERR_FILENO) == 1,
            .tensorboard_folder = metrics.enable_tensorboard ? job.folder() / metrics.save_tb_folder
                                                             : std::filesystem::path(),
            .config_toml = config::to_toml(config::published(job.config)),
            .wandb = metrics.enable_wandb,
            .view = view};
}

/// Null where none is to be written.
std::unique_ptr<metrics::MlperfLog> open_mlperf(const ResolvedJob& job, const RunSizes& sizes) {
    // A seed checkpoint is made before the run that is measured.
    if (!job.config.metrics.mlperf_logging ||
        (job.config.checkpoint.create_seed_checkpoint && !job.resume)) {
        return nullptr;
    }
    const metrics::MlperfFacts facts = mlperf_facts(job, sizes);
    auto log = std::make_unique<metrics::MlperfLog>(
        job.folder(), facts, job.resume ? std::optional(job.resume->run.samples) : std::nullopt);
    if (facts.open_division) {
        return log;
    }
    if (const auto problems = closed_division_problems(job, facts); !problems.empty()) {
        log::warning("no valid MLPerf result of the closed division: {}",
                     fmt::join(problems, "; "));
    }
    return log;
}

void introduce(const ResolvedJob& job) {
    const double flops = model::training_flops(job.model, job.image_tokens(),
                                               job.config.encoder.max_t5_encoding_len);
    log::info("{} with {} parameters, {:.4g} TFLOP per sample forward and backward; {}; seed {}",
              job.config.model.flavor, model::parameter_count(job.model), flops / 1e12,
              device_name(job.device), job.seed);
    say_step_path(job);
    if (job.mesh.size() > 1) {
        log::info("{} processes: {} x the model, each sharded over {}; started by {}",
                  job.mesh.size(), job.mesh.replicate, job.mesh.shard, job.place.launcher);
    }
    log::info(
        "global batch {} = {} x {} accumulated x {} processes; {} steps; everything goes to {}",
        job.global_batch_size, job.config.training.batch_size, job.micro_batches(), job.mesh.size(),
        job.config.training.steps, job.folder().string());
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

/// Its members are opened in this order.
struct RunLog::FirstRank {
    FirstRank(const ResolvedJob& job, const RunSizes& sizes, metrics::LiveView* view)
        : page(begin_folder(job)),
          reporter(reporter_settings(job, view)),
          mlperf(open_mlperf(job, sizes)),
          html(job.folder()),
          progress(progress_settings(job)),
          peak_tflops(peak_of(job)) {}

    metrics::ReportInput page;
    metrics::Reporter reporter;
    std::unique_ptr<metrics::MlperfLog> mlperf;  // null: none is written
    metrics::HtmlReport html;
    Progress progress;
    std::optional<double> peak_tflops;
    flow::TimestepHistogram histogram{kTimestepBins};
    int64_t histogram_samples = 0;
    double last_report_s = 0;
};

RunLog::RunLog(const ResolvedJob& job, const RunSizes& sizes, metrics::LiveView* view) : job_(job) {
    if (!job.place.is_first()) {
        return;
    }
    first_ = std::make_unique<FirstRank>(job, sizes, view);
    introduce(job);
    if (view != nullptr) {
        view->show(job.folder() / "report.html");
        log::info("live: {}", view->address());
    }
}

RunLog::~RunLog() = default;

/// Null where none is written.
metrics::MlperfLog* RunLog::mlperf() const { return first_ ? first_->mlperf.get() : nullptr; }

void RunLog::add_pass(int64_t samples, int64_t image_tokens, int64_t text_tokens) {
    meter_.add_flops(static_cast<double>(samples) *
                     model::training_flops(job_.model, image_tokens, text_tokens));
}

void RunLog::run_starts() {
    if (metrics::MlperfLog* log = mlperf()) {
        log->run_starts();
    }
}

void RunLog::step_starts(int64_t samples) {
    if (metrics::MlperfLog* log = mlperf()) {
        log->step_starts(samples);
    }
}

void RunLog::progress(const StepFigures& figures) {
    if (first_) {
        first_->progress.update(figures.step, fmt::format("loss {:.4f}", figures.loss));
    }
}

void RunLog::train(const StepFigures& figures) {
    if (!first_) {
        return;
    }
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
    if (first_->peak_tflops) {
        line.mfu = line.tflops / *first_->peak_tflops;
    }
    line.memory_gib = memory.gib;
    line.memory_percent = memory.percent;
    line.data_wait = reading.data_wait;
    line.time_s = metrics::process_seconds();
    first_->reporter.train(line);
    if (metrics::MlperfLog* log = mlperf()) {
        log->trained(figures.samples, figures.loss, figures.lr);
    }
}

void RunLog::validation_starts(int64_t samples) {
    if (metrics::MlperfLog* log = mlperf()) {
        log->validation_starts(samples);
    }
}

void RunLog::validation(int64_t step, int64_t samples, const eval::ValidationResult& result) {
    if (!first_) {
        return;
    }
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
    first_->reporter.validation(line);
    if (metrics::MlperfLog* log = mlperf()) {
        log->validation_ends(samples, line.val_loss);
    }
}

void RunLog::finish(End end) {
    if (!first_) {
        return;
    }
    first_->progress.finish();
    if (end == End::kGood) {
        first_->reporter.finish();
    }
}

void RunLog::pictures(int64_t step) {
    if (first_) {
        first_->reporter.pictures(step, picture_folder(job_, step));
    }
}

void RunLog::run_stops(int64_t samples, bool success) {
    try {
        if (metrics::MlperfLog* log = mlperf()) {
            log->run_stops(samples, success);
        }
    } catch (const std::exception& problem) {  // what ends the run, if it fails, is another one
        log::warning("{}", failure_text(problem));
    }
}

void RunLog::report(const std::string& status, int64_t samples, bool force) {
    if (!first_ ||
        (!force && metrics::process_seconds() - first_->last_report_s < kReportInterval_s)) {
        return;
    }
    FirstRank& first = *first_;
    count_timesteps(first.histogram, job_.config.training, job_.seed, first.histogram_samples,
                    samples);
    first.histogram_samples = samples;
    first.page.timestep_counts = first.histogram.counts();
    first.page.status = status;
    try {
        metrics::save_report_input(job_.folder(), first.page);
        first.html.write(first.page);
    } catch (const std::exception& problem) {  // a picture of the run, not the run
        log::warning("{}", failure_text(problem));
    }
    first.last_report_s = metrics::process_seconds();
}

std::filesystem::path picture_folder(const ResolvedJob& job, int64_t step) {
    return job.folder() / job.config.eval.save_img_folder / fmt::format("step-{:06}", step);
}

}  // namespace flux::train
