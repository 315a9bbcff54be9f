#include <fmt/core.h>

#include <sstream>

#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/base/progress.h"
#include "flux/base/utf8.h"
#include "flux/config/print.h"
#include "flux/config/validate.h"
#include "flux/sample/sampler.h"
#include "flux/train/device.h"
#include "flux/train/execution.h"
#include "flux/train/job.h"
#include "flux/train/train_state.h"
#include "flux/units/precision.h"

namespace flux::commands {
namespace {

struct SampleFlags {
    std::string checkpoint;
    std::string prompts_file;
    std::vector<std::string> prompts;
    std::string out;
    int64_t pictures = 1;
};

std::vector<config::Flag> flags_of(SampleFlags& flags) {
    return {{"checkpoint", "DIR", "a run's folder, its checkpoint folder, or one step-N",
             &flags.checkpoint},
            {"prompts", "FILE", "one prompt a line (default: inference.prompts_path)",
             &flags.prompts_file},
            {"prompt", "TEXT", "a prompt; may be given several times", &flags.prompts},
            {"out", "DIR", "where the pictures go (default: inference.save_path)", &flags.out},
            {"pictures", "N", "pictures of each prompt, with different noise (default 1)",
             &flags.pictures}};
}

std::vector<std::string> read_prompts(const std::filesystem::path& file) {
    std::istringstream lines(read_text(file));
    std::vector<std::string> prompts;
    int number = 0;
    for (std::string line; std::getline(lines, line);) {
        ++number;
        const size_t end = line.find_last_not_of(" \t\r");
        if (end == line.npos) {
            continue;
        }
        line.resize(end + 1);
        if (const auto position = first_invalid_utf8(line)) {
            fail("{}:{}: is not UTF-8 at byte {} of the line: save the file as UTF-8",
                 file.string(), number, *position);
        }
        prompts.push_back(line);
    }
    if (prompts.empty()) {
        fail("{}: holds no prompt; write one a line", file.string());
    }
    return prompts;
}

/// Those of --prompt, then those of --prompts or, without both, of inference.prompts_path.
std::vector<std::string> all_prompts(const SampleFlags& flags, const config::LoadedConfig& loaded) {
    std::vector<std::string> prompts = flags.prompts;
    for (const std::string& prompt : prompts) {
        if (const auto position = first_invalid_utf8(prompt)) {
            fail_config("command line: --prompt: is not UTF-8 at byte {}", *position);
        }
    }
    if (!flags.prompts_file.empty()) {
        const auto more = read_prompts(flags.prompts_file);
        prompts.insert(prompts.end(), more.begin(), more.end());
    } else if (prompts.empty()) {
        const std::string& file = loaded.config.inference.prompts_path;
        if (!std::filesystem::exists(file)) {
            fail_config("{}: no such file; say what to draw with --prompt TEXT or --prompts FILE",
                        loaded.place("inference.prompts_path"));
        }
        return read_prompts(file);
    }
    return prompts;
}

/// Where a picture goes. Throws Error if one is there already: nothing is replaced.
std::filesystem::path free_picture_path(const std::filesystem::path& out,
                                        const sample::PictureRequest& request) {
    auto path = out / fmt::format("{:04}-{:02}.png", request.prompt_index, request.picture);
    if (std::filesystem::exists(path)) {
        fail("{}: exists already and is not replaced: choose another folder with --out",
             path.string());
    }
    return path;
}

std::vector<sample::PictureRequest> make_requests(const std::vector<std::string>& prompts,
                                                  int64_t pictures) {
    std::vector<sample::PictureRequest> requests;
    for (size_t i = 0; i < prompts.size(); ++i) {
        for (int64_t picture = 0; picture < pictures; ++picture) {
            requests.push_back({prompts[i], static_cast<int64_t>(i), picture});
        }
    }
    return requests;
}

void draw(const std::vector<sample::PictureRequest>& requests, const std::filesystem::path& out,
          const config::JobConfig& config, checkpoint::Checkpoint& from) {
    std::vector<std::filesystem::path> paths;
    for (const sample::PictureRequest& request : requests) {
        paths.push_back(free_picture_path(out, request));
    }
    const c10::Device device = train::prepare_device(config);
    const model::FluxConfig dimensions = train::model_dimensions(config);
    const encoders::Conditioning conditioning(config.encoder, config.training.test_mode,
                                              {dimensions.context_in_dim, dimensions.vec_in_dim},
                                              device);
    model::Mmdit model(
        dimensions,
        {.compute_dtype = units::compute_dtype(config.training.mixed_precision_param, device),
         .device = device,
         .trainable = false},
        units::RecomputePolicy::none(), {.path = train::execution(config).path});
    if (config.inference.ema) {
        train::restore_average(from, model.parameters());
    } else {
        train::restore(from, model.parameters(), nullptr);
    }
    make_writable_folder(out, "choose another with --out");
    Progress progress(
        {.label = "sample", .unit = "pictures", .total = static_cast<int64_t>(requests.size())});
    sample::draw_pictures(model, conditioning, sample::inference_pictures(config, from.run().seed),
                          requests,
                          {.path_of = [&](size_t i) { return paths[i]; },
                           .on_progress = [&](int64_t done) { progress.update(done); }});
    progress.finish();
    log::info("{} picture{} in {}", requests.size(), requests.size() == 1 ? "" : "s", out.string());
}

}  // namespace

int sample(const Words& words) {
    SampleFlags flags;
    const config::CommandLine command_line = config::parse_command_line(words, flags_of(flags));
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train sample --checkpoint DIR [--prompt TEXT | --prompts FILE] "
            "[--section.key=value ...] [--print-config]\n\n"
            "Options that are not given come from the checkpoint's own configuration.\n\n{}",
            config::flags_help(flags_of(flags)));
        return 0;
    }
    if (flags.checkpoint.empty()) {
        fail_config(
            "command line: --checkpoint is missing: name a run's folder or a step-N folder");
    }
    if (flags.pictures < 1) {
        fail_config("command line: --pictures {}: must be >= 1", flags.pictures);
    }
    checkpoint::Checkpoint from(resolve_checkpoint(flags.checkpoint));
    const config::LoadedConfig loaded = config::load_config(
        command_line, {(from.folder() / "checkpoint.json").string(), from.run().config_toml});
    log::configure({.rank = 0, .color = !loaded.config.metrics.disable_color_printing});
    show_notices(loaded);
    if (command_line.print_config) {
        fmt::print("{}", config::to_toml(loaded.config));
        return 0;
    }
    config::validate(loaded);
    config::refuse_unbuilt(loaded);
    if (loaded.config.inference.ema) {
        require_average(from, loaded.place("inference.ema"));
    }
    const auto requests = make_requests(all_prompts(flags, loaded), flags.pictures);
    const std::filesystem::path out =
        flags.out.empty() ? loaded.config.inference.save_path : flags.out;
    config::with_places(loaded, [&] { draw(requests, out, loaded.config, from); });
    return 0;
}

}  // namespace flux::commands
