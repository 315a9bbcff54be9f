// `data find-problematic`: which rows of a tar data set hold a picture that cannot be decoded.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "commands/data_tools.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/data/clean_cc12m.h"

namespace flux::commands {

int data_find_problematic(const Words& words) {
    std::string input, cache_dir, output = "problematic_indices.txt";
    int64_t workers = 16, batch_size = 1000;
    const std::vector<config::Flag> flags{
        {"input_dir", "DIR", "the tar shards: folder, file, pattern, list or address", &input},
        {"output_file", "FILE",
         "where the row numbers go, for clean-cc12m --filter_file (default "
         "problematic_indices.txt)",
         &output},
        {"num_workers", "N", "threads (default 16)", &workers},
        {"batch_size", "N", "accepted as in the reference; the result is the same", &batch_size},
        cache_flag(cache_dir)};
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print("Usage: flux_train data find-problematic --input_dir DIR\n\n{}",
                   config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "data find-problematic");
    if (input.empty() || workers < 1 || workers > 1024 || batch_size < 1) {
        fail_config(
            "command line: data find-problematic: --input_dir must name the shards, --num_workers "
            "be 1 .. 1024, --batch_size >= 1");
    }
    if (std::filesystem::exists(output)) {
        fail("{}: exists already: remove it, or choose another with --output_file", output);
    }
    const std::vector<data::ProblematicRow> rows =
        data::find_problematic(input, static_cast<int>(workers), remote_settings(cache_dir));
    std::string text;
    for (const data::ProblematicRow& row : rows) {
        log::warning("row {}: {}", row.index, row.reason);
        text += fmt::format("{}\n", row.index);
    }
    write_text(output, text);
    log::info("{} rows cannot be read; their numbers are in {}", rows.size(), output);
    return 0;
}

}  // namespace flux::commands
