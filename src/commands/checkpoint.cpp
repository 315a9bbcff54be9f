#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "commands/shared.h"
#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/checkpoint/export.h"
#include "flux/checkpoint/inspect.h"
#include "flux/checkpoint/load.h"
#include "flux/train/job.h"

namespace flux::commands {
namespace {

constexpr std::array kExportDtypes{at::kFloat, at::kBFloat16, at::kHalf};

c10::ScalarType export_dtype(const std::string& name) {
    const auto dtype = dtype_from_long_name(name);
    if (!dtype ||
        std::find(kExportDtypes.begin(), kExportDtypes.end(), *dtype) == kExportDtypes.end()) {
        fail_config("command line: --dtype {}: must be float32, bfloat16 or float16", name);
    }
    return *dtype;
}

constexpr double kBytesPerGb = 1e9;

struct ExportFlags {
    std::string from;
    std::string out;
    std::string dtype = "float32";
    std::string format = "single";
    std::string shard_gb = "10";
    bool ema = false;
};

std::vector<config::Flag> flags_of(ExportFlags& flags) {
    return {
        {"checkpoint", "DIR", "a run's folder, its checkpoint folder, or one step-N", &flags.from},
        {"out", "PATH", "the safetensors file to write, or the folder with --format diffusers",
         &flags.out},
        {"format", "NAME",
         "single (default): one file with the published names; diffusers: a transformer folder "
         "of that library",
         &flags.format},
        {"dtype", "TYPE", "float32 (default), bfloat16 or float16", &flags.dtype},
        {"ema", "", "the averaged weights, which a run with training.ema_decay keeps", &flags.ema},
        {"shard-gb", "X", "most data in one file of the folder, in GB (default 10)",
         &flags.shard_gb}};
}

int64_t shard_bytes(const std::string& text) {
    double gb = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), gb);
    if (code != std::errc() || end != text.data() + text.size() || !(gb > 0 && gb <= 1e6)) {
        fail_config("command line: --shard-gb {}: must be a number of gigabytes above 0", text);
    }
    return static_cast<int64_t>(gb * kBytesPerGb);
}

/// The dimensions of the model that a checkpoint belongs to.
model::FluxConfig model_of(const std::filesystem::path& path) {
    const checkpoint::Checkpoint from(path);
    return train::model_dimensions(
        config::load_config({}, {(path / "checkpoint.json").string(), from.run().config_toml})
            .config);
}

int export_weights(const Words& words) {
    ExportFlags flags;
    const config::CommandLine command_line = config::parse_command_line(words, flags_of(flags));
    if (command_line.help) {
        fmt::print("Usage: flux_train checkpoint export --checkpoint DIR --out PATH\n\n{}",
                   config::flags_help(flags_of(flags)));
        return 0;
    }
    refuse_configuration(command_line, "checkpoint export");
    if (flags.from.empty() || flags.out.empty()) {
        fail_config("command line: checkpoint export: {} is missing",
                    flags.from.empty() ? "--checkpoint DIR" : "--out PATH");
    }
    if (flags.format != "single" && flags.format != "diffusers") {
        fail_config("command line: --format {}: must be single or diffusers", flags.format);
    }
    const c10::ScalarType dtype = export_dtype(flags.dtype);
    const int64_t most_shard_bytes = shard_bytes(flags.shard_gb);
    const auto path = resolve_checkpoint(flags.from);
    if (flags.ema) {
        require_average(checkpoint::Checkpoint(path), "--ema");
    }
    const std::string kind = flags.ema ? checkpoint::kEma : checkpoint::kParam;
    if (flags.format == "single") {
        checkpoint::export_model(path, flags.out, dtype, kind);
    } else {
        checkpoint::export_diffusers(path, model_of(path),
                                     {.out_folder = flags.out,
                                      .dtype = dtype,
                                      .kind = kind,
                                      .most_shard_bytes = most_shard_bytes});
    }
    log::info("{} -> {} ({}, {}{})", path.string(), flags.out, flags.format, flags.dtype,
              flags.ema ? ", averaged" : "");
    return 0;
}

int inspect(const Words& words) {
    bool verify = false;
    const std::vector<config::Flag> flags{
        {"verify", "", "also reads everything and compares every checksum", &verify}};
    const config::CommandLine command_line = config::parse_command_line(words, flags, 1);
    if (command_line.help) {
        fmt::print("Usage: flux_train checkpoint inspect PATH\n\n{}", config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "checkpoint inspect");
    if (command_line.words.empty()) {
        fail_config(
            "command line: checkpoint inspect: name a run's folder, its checkpoint folder, or one "
            "step-N");
    }
    checkpoint::Checkpoint from(resolve_checkpoint(command_line.words.front()));
    fmt::print("{}", checkpoint::inspection_text(from));
    if (verify) {
        fmt::print("verified: {} bytes, every checksum is right\n", from.verify());
    }
    return 0;
}

constexpr const char* kTools = "there are `checkpoint export` and `checkpoint inspect`";

}  // namespace

int checkpoint(const Words& words) {
    if (words.empty()) {
        fail_config("command line: checkpoint: which tool? {}", kTools);
    }
    const Words rest(words.begin() + 1, words.end());
    if (words.front() == "export") {
        return export_weights(rest);
    }
    if (words.front() == "inspect") {
        return inspect(rest);
    }
    if (words.front() != "--help") {
        fail_config("command line: checkpoint {}: unknown; {}", words.front(), kTools);
    }
    export_weights({"--help"});
    fmt::print("\n");
    return inspect({"--help"});
}

}  // namespace flux::commands
