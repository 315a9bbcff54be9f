#include "flux/train/trainer.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>

#include <utility>

#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/checkpoint/export.h"
#include "flux/config/print.h"
#include "flux/sample/sampler.h"
#include "flux/train/train_state.h"
#include "train/inputs.h"

namespace flux::train {
namespace {

c10::ScalarType export_dtype(config::ExportDtype choice) {
    switch (choice) {
        case config::ExportDtype::kFloat16:
            return at::kHalf;
        case config::ExportDtype::kBfloat16:
            return at::kBFloat16;
        case config::ExportDtype::kFloat32:
            break;
    }
    return at::kFloat;
}

}  // namespace

int Trainer::run() {
    try {
        return loop();
    } catch (...) {
        stop_.fall_silent();
        log_->run_stops(figures_.samples, false);
        log_->finish(RunLog::End::kFailed);
        log_->report("failed", figures_.samples, true);
        throw;
    }
}

int Trainer::loop() {
    const int64_t steps = job_.config.training.steps;
    if (job_.config.checkpoint.create_seed_checkpoint && !job_.resume) {
        save(Save::kStopping);
        log_->finish(RunLog::End::kGood);
        world_.finish();
        return 0;
    }
    while (true) {
        world_.at(fmt::format("step {}", figures_.step));
        if (stopping_ && (figures_.step < steps || validation_due())) {
            return leave();
        }
        if (validation_due()) {
            const Outcome outcome = validate();
            if (outcome == Outcome::kTargetReached) {
                return finish("target reached");
            }
            if (outcome == Outcome::kStopped) {
                continue;
            }
        }
        if (figures_.step >= steps) {
            return finish("finished");
        }
        if (save_due()) {
            save(Save::kPeriodic);
        }
        log_->report("running", figures_.samples, false);
        log_->step_starts(figures_.samples);
        try {
            step();
        } catch (const data::TooManyBadSamples&) {  // the weights are those of the last whole step
            save_trained();
            throw;
        }
    }
}

encoders::MicroBatch Trainer::next_micro_batch() {
    const data::Batch batch = [&] {
        const auto waiting = log_->meter().data_wait();
        return *loader_->next();  // endless
    }();
    world_.at(fmt::format("step {}", figures_.step));
    const config::Training& training = job_.config.training;
    const int64_t first = data_begin_ + batch.first_sample;
    const at::Tensor samples =
        at::arange(first, first + batch.size(), at::TensorOptions(job_.device).dtype(at::kLong));
    encoders::MicroBatch micro = encoders::encode_batch(
        conditioning_, batch, {job_.seed, Purpose::kVaeNoise, Purpose::kNoise, samples});
    log_->add_pass(batch.size(), micro.latents.size(2) * micro.latents.size(3) / 4,
                   micro.text.tokens.size(1));
    micro.timesteps = flow::sample_timesteps(timestep_settings(training), job_.seed, samples);
    micro.text = conditioning_.drop_captions(
        micro.text,
        {.probability = training.classifier_free_guidance_prob, .mode = training.dropout_mode},
        job_.seed, samples);
    micro.guidance = training.guidance;
    return micro;
}

void Trainer::step() {
    {
        const auto recording = profiler_.record(figures_.step + 1);
        const auto measured = log_->meter().step();
        const double lr = lr_(figures_.step - lr_begin_);
        const StepResult result =
            steps_->step({.global_batch_size = job_.global_batch_size,
                          .micro_batches = job_.micro_batches(),
                          .max_norm = job_.config.training.max_norm,
                          .stop_requested = stop_.received() != nullptr,
                          .bad_samples = [&] { return bad_samples_of_step(); }},
                         lr, [&] { return next_micro_batch(); });
        ++figures_.step;
        figures_.samples += job_.global_batch_size;
        unread_.add({.step = figures_.step, .lr = lr}, packed(result));
        read_figures(/*all=*/recording != nullptr || all_figures_due());
    }
    if (!trained_) {  // the first step of a process takes longer than the others
        world_.training_begins(mesh_);
        trained_ = true;
    }
    log_->meter().add_samples(job_.global_batch_size);
    if (log_due()) {
        log_->train(figures_);
    }
    log_->progress(figures_);
}

bool Trainer::log_due() const {
    return figures_.step == 1 || figures_.step % job_.config.metrics.log_freq == 0 ||
           figures_.step == job_.config.training.steps;
}

bool Trainer::save_due() const {
    return job_.config.checkpoint.enable_checkpoint && figures_.step > 0 &&
           figures_.step % job_.config.checkpoint.interval == 0;
}

/// What comes next needs the figures of all steps: it logs them, writes them down, takes the device
/// for long, or is to begin only when the first step is over.
bool Trainer::all_figures_due() const {
    return !trained_ || log_due() || save_due() || validation_due();
}

/// Of this process.
int64_t Trainer::bad_samples_of_step() {
    const int64_t before = std::exchange(told_bad_samples_, loader_->own_bad_samples());
    return told_bad_samples_ - before;
}

/// Of the steps that are far enough back, or of `all`; of these too when the run is to stop. The
/// wait for them has the time-out of World::at().
void Trainer::read_figures(bool all) {
    while (const auto step = unread_.take(all || stopping_)) {
        take_in(*step);
    }
}

void Trainer::take_in(const ReadStep& step) {
    stopping_ = stopping_ || step.stop;
    figures_.loss = step.loss;
    figures_.grad_norm = step.grad_norm;
    figures_.lr = step.started.lr;
    if (!step.skipped) {
        skipped_in_a_row_ = 0;
    } else {
        count_skipped(step);
    }
    if (world_.size() > 1) {
        loader_->add_of_all(job_.global_batch_size, step.bad);
    }
}

void Trainer::count_skipped(const ReadStep& step) {
    ++figures_.skipped;
    ++skipped_in_a_row_;
    if (world_.is_first()) {
        log::warning(
            "step {}: loss {} and gradient norm {}: not finite, the step is skipped ({} in a row)",
            step.started.step, step.loss, step.grad_norm, skipped_in_a_row_);
    }
    if (skipped_in_a_row_ > job_.config.training.max_skipped_steps) {
        fail(
            "step {}: {} steps in a row had a loss or gradient that is not finite, more than "
            "training.max_skipped_steps = {}; lower optimizer.lr or go on from an older checkpoint "
            "with --checkpoint.load_step",
            step.started.step, skipped_in_a_row_, job_.config.training.max_skipped_steps);
    }
}

/// Whether any process was asked to stop; all must ask at the same places.
bool Trainer::stop_agreed() {
    if (!stopping_) {
        at::Tensor count = at::full({1}, stop_.received() != nullptr ? 1.0 : 0.0,
                                    at::TensorOptions(job_.device).dtype(at::kFloat));
        mesh_.world().all_reduce(count).wait();
        stopping_ = count.item<double>() > 0;
    }
    return stopping_;
}

/// Before the first step when asked for, every eval_interval() steps, and at the end; once at each.
bool Trainer::validation_due() const {
    if (!validator_ || validated_step_ == figures_.step) {
        return false;
    }
    if (figures_.step == 0) {
        return job_.config.eval.at_start;
    }
    return figures_.step % job_.eval_interval() == 0 || figures_.step >= job_.config.training.steps;
}

/// For what may fail of bad data or a full disk: that loses no training. All processes fail
/// together, and so can save.
void Trainer::together_or_save(const std::string& topic, const std::function<void()>& part) {
    try {
        world_.together(topic, part);
    } catch (const Error&) {
        save_trained();
        throw;
    }
}

/// Nothing when a stop signal came in between.
std::optional<eval::ValidationResult> Trainer::validation_pass() {
    // To ask is to wait for the device, which must not run dry.
    const int64_t asks_every = job_.device.is_cuda() ? 8 : 1;
    int64_t batches = 0;
    std::optional<eval::ValidationResult> result;
    together_or_save("validation", [&] {
        result = validator_->run(model_, figures_.step, [&] {
            world_.at(fmt::format("validation at step {}", figures_.step));
            return batches++ % asks_every == 0 && stop_agreed();
        });
    });
    return result;
}

Trainer::Outcome Trainer::validate() {
    log_->validation_starts(figures_.samples);
    const auto result = validation_pass();
    if (!result) {
        return Outcome::kStopped;  // done again when the run goes on
    }
    validated_step_ = figures_.step;
    log_->validation(figures_.step, figures_.samples, *result);
    const double target = job_.config.eval.target_eval_loss;
    target_reached_ = result->sample_mean() <= target;
    if (target_reached_) {
        log::info("validation loss {:.4f} has reached eval.target_eval_loss = {}",
                  result->sample_mean(), target);
        log_->run_stops(figures_.samples, true);
    }
    const bool drawn = draw_pictures();
    log_->pictures(figures_.step);
    log_->report("running", figures_.samples, true);
    if (target_reached_) {
        return Outcome::kTargetReached;
    }
    return drawn ? Outcome::kGoOn : Outcome::kStopped;
}

/// Of the average of the weights where one is kept. False when a stop signal came in between.
bool Trainer::draw_pictures() {
    const config::Eval& eval = job_.config.eval;
    if (eval.save_img_folder.empty() || eval.save_img_count == 0) {
        return true;
    }
    std::vector<sample::PictureRequest> requests;
    for (std::string& caption : agreed_captions(world_, *validator_, eval.save_img_count)) {
        requests.push_back({std::move(caption), static_cast<int64_t>(requests.size()), 0});
    }
    if (requests.empty()) {
        return true;  // the validation set holds no captions to draw
    }
    const auto folder = picture_folder(job_, figures_.step);
    together_or_save("picture folder", [&] { std::filesystem::create_directories(folder); });
    const sample::DrawHooks hooks{
        .path_of = [&](size_t i) { return folder / fmt::format("{:02}.png", i); },
        .should_stop =
            [&] {
                world_.at(fmt::format("pictures at step {}", figures_.step));
                return stop_agreed();
            }};
    bool drawn = false;
    together_or_save("pictures", [&] {
        drawn = optim::with_average(ema_.get(), model_.parameters(), [&] {
            return sample::draw_pictures(model_, conditioning_,
                                         sample::training_pictures(job_.config, job_.seed),
                                         requests, hooks);
        });
    });
    return drawn;
}

/// Before the run ends for a reason that lies outside of the weights: what else the steps that are
/// still unread bring to light is said, and does not take its place.
void Trainer::save_trained() {
    while (!unread_.empty()) {
        try {
            read_figures(/*all=*/true);
        } catch (const data::TooManyBadSamples&) {
            continue;
        } catch (const Error& problem) {
            log::warning("{}", problem.what());
            break;
        }
    }
    if (figures_.step > 0) {
        save(Save::kStopping);
    }
}

void Trainer::save(Save occasion) {
    const config::Checkpoint& settings = job_.config.checkpoint;
    const bool last = occasion == Save::kLast;
    const bool weights_only = last && settings.model_weights_only;
    if (saved_step_ == figures_.step && !last) {
        return;
    }
    world_.at_leisure(fmt::format("the checkpoint of step {}", figures_.step));
    auto pieces =
        checkpoint_pieces(model_.parameters(), weights_only ? nullptr : &optimizer_, ema_.get());
    if (weights_only) {
        for (checkpoint::Piece& piece : pieces) {
            piece.data =
                checkpoint::converted(piece.data, export_dtype(settings.export_dtype), piece.name);
        }
    }
    const checkpoint::RunState run{.step = figures_.step,
                                   .samples = figures_.samples,
                                   .data_begin = data_begin_,
                                   .seed = job_.seed,
                                   .global_batch_size = job_.global_batch_size,
                                   .optimizer_step = optimizer_.steps_taken(),
                                   .skipped_steps = figures_.skipped,
                                   .validated_step = validated_step_,
                                   .target_reached = target_reached_,
                                   .dataset_fingerprint = dataset_->fingerprint(),
                                   .config_toml = config::to_toml(job_.config)};
    saver_->save(run, std::move(pieces), /*now=*/occasion != Save::kPeriodic);
    saved_step_ = figures_.step;
}

/// The end of the run. One that once went on from a checkpoint also leaves its last one, so that it
/// is known to be over.
int Trainer::finish(const char* status) {
    stop_.fall_silent();
    log_->run_stops(figures_.samples, target_reached_);
    if (job_.config.checkpoint.enable_checkpoint || job_.resume) {
        save(Save::kLast);
    }
    log_->finish(RunLog::End::kGood);
    log_->report(status, figures_.samples, true);
    log::info("{} at step {} after {} samples; report: {}", status, figures_.step, figures_.samples,
              (job_.folder() / "report.html").string());
    if (world_.is_first() && loader_->bad_samples() > 0) {
        log::warning("{} samples were bad and replaced", loader_->bad_samples());
    }
    world_.finish();
    return 0;
}

/// Saves after a stop signal, whether or not checkpoints are on.
int Trainer::leave() {
    save(Save::kStopping);
    log_->finish(RunLog::End::kGood);
    log_->report("stopped", figures_.samples, true);
    if (!world_.is_first()) {
        return kExitSavedUnfinished;
    }
    log::warning(
        "{}: saved at step {}; the same command (without --job.restart{}) goes on from there",
        stop_.received() != nullptr ? stop_.received() : "another process was asked to stop",
        figures_.step, job_.config.checkpoint.load_step < 0 ? "" : " and --checkpoint.load_step");
    world_.finish();
    return kExitSavedUnfinished;
}

}  // namespace flux::train
