#include <fmt/core.h>
#include <fmt/ranges.h>

#include <array>
#include <string_view>

#include "commands/data_tools.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/base/nearest.h"
#include "flux/data/shapes.h"

namespace flux::commands {
namespace {

void check_between(std::string_view flag, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
        fail_config("command line: data shapes: {} {}: must be {} to {}", flag, value, low, high);
    }
}

int shapes(const Words& words) {
    std::string out;
    int64_t samples = 0, img_size = 256, seed = 0, samples_per_shard = 1000;
    bool validation = false;
    const std::vector<config::Flag> flags{
        {"out", "DIR", "where the shards go", &out},
        {"samples", "N", "number of pictures", &samples},
        {"img_size", "N", "side of the pictures in pixels (default 256)", &img_size},
        {"seed", "N", "of the pictures' content (default 0)", &seed},
        {"samples_per_shard", "N", "most pictures in one tar file (default 1000)",
         &samples_per_shard},
        {"validation", "", "the validation pictures, with their timesteps", &validation}};
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print("Usage: flux_train data shapes --out DIR --samples N\n\n{}",
                   config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "data shapes");
    if (out.empty()) {
        fail_config("command line: data shapes: --out is missing: name the folder for the shards");
    }
    const int64_t limit = validation ? data::kShapesValidationRows : data::kShapesTrainingRows;
    check_between("--samples", samples, 1, limit);
    check_between("--samples_per_shard", samples_per_shard, 1, data::kShapesTrainingRows);
    check_between("--img_size", img_size, 16, 16384);
    make_writable_folder(out, "choose another with --out");
    const int64_t shards = data::write_shapes_tar({.out_dir = out,
                                                   .samples = samples,
                                                   .samples_per_shard = samples_per_shard,
                                                   .img_size = static_cast<int>(img_size),
                                                   .seed = static_cast<uint64_t>(seed),
                                                   .validation = validation});
    log::info("{} pictures in {} shards in {}", samples, shards, out);
    return 0;
}

}  // namespace

int data(const Words& words) {
    struct Tool {
        std::string_view name;
        std::string_view help;
        int (*run)(const Words&);
    };
    static constexpr std::array kTools{
        Tool{"shapes", "write the built-in data set as tar shards", shapes},
        Tool{"coco", "write the COCO validation set as tar shards", data_coco},
        Tool{"inspect", "tell what lies in a data set", data_inspect},
        Tool{"clean-cc12m", "write the cleaned CC12M as Arrow files", data_clean_cc12m},
        Tool{"find-problematic", "list the rows of tar shards whose picture cannot be read",
             data_find_problematic}};
    for (const Tool& tool : kTools) {
        if (!words.empty() && words.front() == tool.name) {
            return tool.run({words.begin() + 1, words.end()});
        }
    }
    if (!words.empty() && words.front() != "--help" && words.front() != "-h") {
        std::vector<std::string> names;
        for (const Tool& tool : kTools) {
            names.emplace_back(tool.name);
        }
        fail_config("command line: data {}: unknown{}; there are {}", words.front(),
                    did_you_mean(words.front(), names), fmt::join(names, ", "));
    }
    fmt::print("Usage: flux_train data TOOL ...   (each has its own --help)\n\n");
    for (const Tool& tool : kTools) {
        fmt::print("  {:<18}{}\n", tool.name, tool.help);
    }
    if (words.empty()) {
        fail_config("command line: data: which tool?");
    }
    return 0;
}

}  // namespace flux::commands
