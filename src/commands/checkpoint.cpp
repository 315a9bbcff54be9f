#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "commands/shared.h"
#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/checkpoint/export.h"

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

int export_weights(const Words& words) {
    std::string from, out, dtype = "float32";
    const std::vector<config::Flag> flags{
        {"checkpoint", "DIR", "a run's folder, its checkpoint folder, or one step-N", &from},
        {"out", "FILE", "the safetensors file to write", &out},
        {"dtype", "TYPE", "float32 (default), bfloat16 or float16", &dtype}};
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print("Usage: flux_train checkpoint export --checkpoint DIR --out FILE\n\n{}",
                   config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "checkpoint export");
    if (from.empty() || out.empty()) {
        fail_config("command line: checkpoint export: {} is missing",
                    from.empty() ? "--checkpoint DIR" : "--out FILE");
    }
    const auto path = resolve_checkpoint(from);
    checkpoint::export_model(path, out, export_dtype(dtype));
    log::info("{} -> {} ({})", path.string(), out, dtype);
    return 0;
}

}  // namespace

int checkpoint(const Words& words) {
    if (!words.empty() && words.front() == "export") {
        return export_weights({words.begin() + 1, words.end()});
    }
    if (!words.empty() && words.front() != "--help") {
        fail_config("command line: checkpoint {}: unknown; there is `checkpoint export`",
                    words.front());
    }
    if (words.empty()) {
        fail_config("command line: checkpoint: which tool? there is `checkpoint export`");
    }
    return export_weights({"--help"});
}

}  // namespace flux::commands
