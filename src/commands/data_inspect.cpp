// `data inspect`: what lies in a data set.
#include <fmt/core.h>

#include <filesystem>

#include "commands/data_tools.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/data/inspect.h"

namespace flux::commands {

int data_inspect(const Words& words) {
    constexpr size_t kThumbnails = 64;
    std::string sheet, cache_dir;
    int64_t workers = 8;
    const std::vector<config::Flag> flags{
        {"contact-sheet", "FILE.png", "also draws the first 64 pictures", &sheet},
        {"num-workers", "N", "threads (default 8)", &workers},
        cache_flag(cache_dir)};
    const config::CommandLine command_line = config::parse_command_line(words, flags, 1);
    if (command_line.help) {
        fmt::print("Usage: flux_train data inspect PATH\n\n{}", config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "data inspect");
    if (command_line.words.empty() || workers < 1 || workers > 1024) {
        fail_config(
            "command line: data inspect: give tar shards, a save_to_disk folder, Parquet files or "
            "a folder of pictures; --num-workers must be 1 .. 1024");
    }
    if (!sheet.empty() && std::filesystem::exists(sheet)) {
        fail("{}: exists already: remove it, or choose another with --contact-sheet", sheet);
    }
    const data::Inspection inspection =
        data::inspect(command_line.words.front(), static_cast<int>(workers),
                      sheet.empty() ? 0 : kThumbnails, remote_settings(cache_dir));
    fmt::print("{}", data::inspection_text(inspection));
    if (!sheet.empty() && inspection.thumbnails.empty()) {
        fail("{}: not written: no picture can be read", sheet);
    }
    if (!sheet.empty()) {
        write_png(sheet, data::contact_sheet(inspection.thumbnails).view());
        log::info("{} pictures in {}", inspection.thumbnails.size(), sheet);
    }
    return 0;
}

}  // namespace flux::commands
