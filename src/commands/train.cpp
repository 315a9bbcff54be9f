#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>

#include "commands/shared.h"
#include "flux/base/log.h"
#include "flux/config/print.h"
#include "flux/config/validate.h"
#include "flux/metrics/wandb_forwarder.h"
#include "flux/train/stop_signal.h"
#include "flux/train/trainer.h"

namespace flux::commands {
namespace {

int show_help(const config::CommandLine& command_line) {
    const config::LoadedConfig loaded = config::load_config(command_line);
    fmt::print(
        "flux_train: trains the Flux.1 text-to-image model\n\n"
        "Usage: flux_train [train] [--job.config_file FILE] [--section.key=value ...] "
        "[--print-config]\n"
        "       flux_train SUBCOMMAND ...\n"
        "       flux_train --version\n\n{}\n"
        "Options; command line over file over default. Shown are the {}.\n\n{}",
        subcommands_help(),
        loaded.config.job.config_file.empty() ? "defaults" : "values of the given file",
        config::options_help(&loaded.config));
    return 0;
}

/// Of one that was given: it has a default.
void warn_of_idle_target(const config::LoadedConfig& loaded) {
    constexpr const char* kTarget = "eval.target_eval_loss";
    const config::Eval& eval = loaded.config.eval;
    if (eval.dataset.empty() && eval.target_eval_loss > 0 && loaded.is_set(kTarget)) {
        log::warning("{}: is never reached: eval.dataset is empty, so nothing is validated",
                     loaded.place(kTarget));
    }
}

int train_job(const config::LoadedConfig& loaded, dist::World& world) {
    const train::ResolvedJob job = train::resolve_job(loaded, world);
    if (job.config.job.print_args) {
        log::info("effective configuration:\n{}", config::to_toml(job.config));
    }
    if (job.finished()) {
        // One that comes now changes nothing.
        const train::StopSignal leaving(train::StopSignal::Answer::kSilent);
        log::info("{}: the run has already finished{}; --job.restart begins anew",
                  job.resume->folder.string(),
                  job.resume->run.target_reached
                      ? ": its validation loss reached the target"
                      : fmt::format(" its {} steps", job.config.training.steps));
        return 0;
    }
    if (world.is_first() && job.config.metrics.enable_wandb) {
        metrics::check_wandb();
    }
    train::Trainer trainer(job, world);
    return trainer.run();
}

}  // namespace

int train(const Words& words) {
    train::end_at_stop_signals();
    const config::CommandLine command_line = config::parse_command_line(words);
    if (command_line.help) {
        return show_help(command_line);
    }
    const config::LoadedConfig loaded = config::load_config(command_line);
    const dist::ProcessPlace place = dist::process_place();
    const char* const shown_ranks = std::getenv("LOG_RANK");
    log::configure({.rank = place.rank,
                    .processes = place.world_size,
                    .origin = place.origin(),
                    .color = !loaded.config.metrics.disable_color_printing,
                    .shown_ranks = shown_ranks == nullptr ? "" : shown_ranks});
    if (place.is_first()) {
        show_notices(loaded);
        warn_of_idle_target(loaded);
    }
    if (command_line.print_config) {
        fmt::print("{}", config::to_toml(loaded.config));
        config::validate(loaded);
        return 0;
    }
    dist::World world(place, loaded.config.comm);
    int exit_code = 0;
    world.run(
        [&] { exit_code = config::with_places(loaded, [&] { return train_job(loaded, world); }); });
    return exit_code;
}

}  // namespace flux::commands
