// What a trainer does before its first step: opens and checks everything, loads or initialises the
// weights, takes the run's folder.
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/checkpoint/folder.h"
#include "flux/train/execution.h"
#include "flux/train/init_from.h"
#include "flux/train/step_path.h"
#include "flux/train/synthetic.h"
#include "flux/train/train_state.h"
#include "flux/train/trainer.h"
#include "train/inputs.h"
#include "train/mlperf.h"

namespace flux::train {

Trainer::Trainer(const ResolvedJob& job, dist::World& world)
    : job_(job),
      world_(world),
      mesh_(world.make_mesh(job.mesh, job.device)),
      view_(open_live_view(job)),
      conditioning_(open_conditioning(job)),
      dataset_(data::make_dataset(dataset_settings(job.config, job.seed, false))),
      validation_set_(open_validation_set(job)),
      model_(job.model, job.store(&mesh_), recompute_policy(job.config), execution(job.config)),
      optimizer_(job.config.optimizer, model_.parameters().shards(), model_.path()),
      lr_(job.config.lr_scheduler, job.config.optimizer.lr, job.config.training.steps),
      stop_(world.is_first() ? StopSignal::Answer::kSaid : StopSignal::Answer::kSilent),
      profiler_(job.config.profiling, job.folder(), world.rank(), job.device.is_cuda()),
      unread_(job.figures_lag, job.device) {
    if (job.config.training.ema_decay > 0) {
        ema_ = std::make_unique<optim::Ema>(job.config.training.ema_decay,
                                            model_.parameters().shards());
    }
    steps_.emplace(StepParts{model_, optimizer_, ema_.get()}, job.device, captures_steps(job));
    check_datasets(job, conditioning_, *dataset_, validation_set_.get());
    if (validation_set_) {
        validator_.emplace(*validation_set_, conditioning_, validator_settings(job));
    }
    begin();
}

/// Takes the run's folder; the other processes must find it too.
void Trainer::open_folder() {
    const std::filesystem::path token = job_.folder() / ".processes";
    if (world_.is_first()) {
        make_writable_folder(job_.folder(), "choose another with --job.dump_folder");
        lock_.emplace(job_.folder());
        if (std::filesystem::exists(std::filesystem::symlink_status(job_.checkpoint_folder()))) {
            make_writable_folder(job_.checkpoint_folder(),
                                 "choose another with --checkpoint.folder");
        }
        if (world_.size() > 1) {
            write_text(token, std::to_string(job_.seed));
        }
    }
    world_.exchange("folder is open", "");
    if (world_.size() > 1 && !std::filesystem::exists(token)) {
        fail(
            "job.dump_folder = \"{}\": is not the folder that rank 0 has opened under this name: "
            "it "
            "must be on a file system that all machines share",
            job_.folder().string());
    }
    world_.exchange("folder is seen", "");
    if (world_.is_first()) {
        std::filesystem::remove(token);
    }
}

void Trainer::begin() {
    check_same_data(job_, world_, *dataset_, validation_set_.get());
    open_folder();
    if (job_.resume) {
        resume();
    } else if (!job_.config.training.init_from.empty()) {
        InitialWeights(job_.config.training.init_from, job_.model).load_into(model_.parameters());
    } else {
        model_.parameters().initialize(job_.seed);
    }
    if (ema_ && (!job_.resume || job_.begins_anew("ema"))) {
        ema_->begin(model_.parameters().shards());
    }
    log_.emplace(job_,
                 RunSizes{.train_samples = dataset_->size(),
                          .eval_samples = validation_set_ ? validation_set_->size() : 0,
                          .caches_cleared = clear_caches(job_, world_)},
                 view_ ? &*view_ : nullptr);
    if (job_.resume) {
        log::info("going on from {}", job_.resume->folder.string());
        const int64_t abandoned =
            world_.is_first() ? checkpoint::abandon_after(job_.checkpoint_folder(), figures_.step)
                              : 0;
        if (abandoned > 0) {
            log::warning("{} newer checkpoints are renamed to step-N.abandoned", abandoned);
        }
    }
    saver_.emplace(checkpoint::SaverSettings{
        .folder = job_.checkpoint_folder(),
        .keep_latest_k = job_.config.checkpoint.keep_latest_k,
        .mode = job_.config.checkpoint.async_mode,
        .group = {.rank = world_.rank(), .exchange = world_.make_exchange("save")}});
    warm_up();
    log_->run_starts();
    loader_.emplace(*dataset_, loader_settings(job_, figures_.samples - data_begin_));
}

/// Touches no training data and leaves the model as it was.
void Trainer::warm_up() {
    for (int64_t i = 0; i < job_.config.mlperf.synthetic_warmup_steps; ++i) {
        world_.at(fmt::format("warm-up step {}", i));
        steps_->step({.global_batch_size = job_.global_batch_size,
                      .micro_batches = job_.micro_batches(),
                      .max_norm = job_.config.training.max_norm,
                      .rehearsal = true},
                     /*lr=*/0.0, [&] { return synthetic_batch(job_); });
    }
}

void Trainer::resume() {
    const checkpoint::RunState& run = job_.resume->run;
    const bool new_data = job_.begins_anew("dataloader");
    if (!new_data && run.dataset_fingerprint != dataset_->fingerprint()) {
        fail(
            "{}: the training data has changed since this run began (other shards, samples, "
            "training.img_size, training.buckets, training.subset_size or training.dataset), so "
            "the order of samples would not be the same; restore the data, begin its order anew "
            "with --checkpoint.exclude_from_loading=dataloader, or begin anew with --job.restart",
            job_.resume->folder.string());
    }
    checkpoint::Checkpoint from(job_.resume->folder);
    restore(from, model_.parameters(), job_.begins_anew("optimizer") ? nullptr : &optimizer_,
            job_.begins_anew("ema") ? nullptr : ema_.get());
    figures_.step = run.step;
    figures_.samples = run.samples;
    data_begin_ = new_data ? run.samples : run.data_begin;
    lr_begin_ = job_.begins_anew("lr_scheduler") ? run.step : 0;
    figures_.skipped = run.skipped_steps;
    validated_step_ = run.validated_step;
    saved_step_ = run.step;
}

}  // namespace flux::train
