#include "train/resume_point.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/checkpoint/folder.h"
#include "flux/checkpoint/load.h"
#include "flux/config/print.h"

namespace flux::train {
namespace {

namespace fs = std::filesystem;

/// The checkpoint that rank 0 found; the other processes must see it too.
std::optional<fs::path> agreed_checkpoint(const ResolvedJob& job, dist::World& world) {
    std::optional<fs::path> own;
    if (world.is_first()) {
        own = checkpoint::find_latest(job.checkpoint_folder(), job.config.checkpoint.load_step);
    }
    const std::string agreed =
        world.from_first("checkpoint to load", own ? own->string() : std::string());
    if (agreed.empty()) {
        return std::nullopt;
    }
    if (!fs::exists(checkpoint::manifest_path(agreed))) {
        fail(
            "{}: rank 0 goes on from this checkpoint, and it is not here: job.dump_folder must be "
            "one folder that all machines see (a shared file system)",
            agreed);
    }
    return agreed;
}

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> prefixes) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](std::string_view prefix) { return text.starts_with(prefix); });
}

}  // namespace

std::optional<ResumePoint> find_resume_point(const ResolvedJob& job, dist::World& world) {
    const auto folder = agreed_checkpoint(job, world);
    if (!folder) {
        return std::nullopt;
    }
    if (world.is_first()) {
        for (const auto& path : checkpoint::without_manifest(job.checkpoint_folder())) {
            log::warning(
                "{}: is not used: it has no checkpoint.json, so it is not complete; going on from "
                "{}",
                path.string(), folder->string());
        }
    }
    ResumePoint point{*folder, checkpoint::Checkpoint(*folder).run()};
    if (checkpoint::step_of(*folder).value_or(point.run.step) != point.run.step) {
        fail("{}: holds step {}: give the folder its name back", folder->string(), point.run.step);
    }
    return point;
}

void check_changes(const ResolvedJob& job) {
    const std::string name = checkpoint::manifest_path(job.resume->folder).string();
    const config::JobConfig before =
        config::load_config({}, {.name = name, .toml = job.resume->run.config_toml}).config;
    std::vector<std::string> changes = config::differences(before, job.config);
    std::erase_if(changes, [](const std::string& change) {
        return starts_with_any(change, {"job.", "metrics.", "mlperf.", "checkpoint.load_step ",
                                        "training.steps ", "dataloader."});
    });
    const auto other_model =
        std::find_if(changes.begin(), changes.end(), [](const std::string& change) {
            return starts_with_any(change, {"model.", "encoder.context_in_dim "});
        });
    if (!(model_dimensions(before) == job.model) && other_model != changes.end()) {
        fail_config(
            "{}: the run in {} has another model; leave the option as it was, or begin anew with "
            "--job.restart",
            *other_model, job.resume->folder.string());
    }
    if (!changes.empty() && job.place.is_first()) {
        log::warning("changed since {} was saved: {}", job.resume->folder.string(),
                     fmt::join(changes, "; "));
    }
}

}  // namespace flux::train
