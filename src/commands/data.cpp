#include <fmt/core.h>

#include <array>
#include <string_view>

#include "commands/data_tools.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/data/shapes.h"

namespace flux::commands {
namespace {

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
    constexpr std::string_view kTool = "data shapes";
    const int64_t limit = validation ? data::kShapesValidationRows : data::kShapesTrainingRows;
    check_between(kTool, "--samples", samples, 1, limit);
    check_between(kTool, "--samples_per_shard", samples_per_shard, 1, data::kShapesTrainingRows);
    check_between(kTool, "--img_size", img_size, 16, 16384);
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
    static constexpr std::array kTools{
        Tool{"shapes", "write the built-in data set as tar shards", shapes},
        Tool{"coco", "write the COCO validation set as tar shards", data_coco},
        Tool{"inspect", "tell what lies in a data set", data_inspect},
        Tool{"clean-cc12m", "write the cleaned CC12M as Arrow files", data_clean_cc12m},
        Tool{"find-problematic", "list the rows of tar shards whose picture cannot be read",
             data_find_problematic}};
    return run_tool("data", kTools, words);
}

}  // namespace flux::commands
