// `data clean-cc12m`: the cleaned training set, with the option names of the reference.
#include <fmt/core.h>

#include "commands/data_tools.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/data/clean_cc12m.h"

namespace flux::commands {
namespace {

struct Options {
    std::string input, output, cache_dir, filter = "configs/cc12m_problematic_indices.txt";
    int64_t size = 256, subset = 1'099'776, workers = 16, batch = 1000;
};

std::vector<config::Flag> flags_of(Options& options) {
    return {
        {"input_dir", "DIR", "the tar shards of CC12M: folder, file, pattern, list or address",
         &options.input},
        {"output_dir", "DIR", "where the Arrow files go", &options.output},
        {"filter_file", "FILE",
         "numbers of rows to leave out (default configs/cc12m_problematic_indices.txt)",
         &options.filter},
        {"output_size", "N", "side of the pictures in pixels (default 256)", &options.size},
        {"subset_size", "N", "pictures to keep (default 1099776)", &options.subset},
        {"num_workers", "N", "threads; the result is the same (default 16)", &options.workers},
        {"batch_size", "N", "accepted as in the reference; the result is the same", &options.batch},
        cache_flag(options.cache_dir)};
}

void check(const Options& options) {
    if (options.input.empty() || options.output.empty()) {
        fail_config("command line: data clean-cc12m: --input_dir and --output_dir must be given");
    }
    if (options.size < 1 || options.size > 16384 || options.subset < 1 || options.workers < 1 ||
        options.workers > 1024 || options.batch < 1) {
        fail_config(
            "command line: data clean-cc12m: --output_size must be 1 .. 16384, --num_workers "
            "1 .. 1024, --subset_size and --batch_size >= 1");
    }
}

}  // namespace

int data_clean_cc12m(const Words& words) {
    Options options;
    const std::vector<config::Flag> flags = flags_of(options);
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print("Usage: flux_train data clean-cc12m --input_dir DIR --output_dir DIR\n\n{}",
                   config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "data clean-cc12m");
    check(options);
    const int64_t rows =
        data::write_clean_cc12m({.input_dir = options.input,
                                 .left_out = data::read_row_numbers(options.filter),
                                 .output_size = static_cast<int>(options.size),
                                 .subset_size = options.subset,
                                 .num_workers = static_cast<int>(options.workers),
                                 .remote = remote_settings(options.cache_dir)},
                                options.output);
    log::info("{} pictures in {}", rows, options.output);
    return 0;
}

}  // namespace flux::commands
