// `data inspect`: what lies in a data set.
#include <fmt/core.h>

#include <filesystem>

#include "commands/data_tools.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/data/inspect.h"

namespace flux::commands {
namespace {

/// What would keep the contact sheet from being written shows before any picture is read.
void check_sheet(const std::string& sheet) {
    namespace fs = std::filesystem;
    if (fs::exists(sheet)) {
        fail("{}: exists already: remove it, or choose another with --contact-sheet", sheet);
    }
    const fs::path folder = fs::absolute(sheet).parent_path();
    if (!fs::is_directory(folder)) {
        fail_config("command line: --contact-sheet {}: there is no folder {}: create it", sheet,
                    folder.string());
    }
}

}  // namespace

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
        fmt::print(
            "Usage: flux_train data inspect PATH\n\nEnds with 1 if there is no sample that "
            "training could use.\n\n{}",
            config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "data inspect");
    if (command_line.words.empty()) {
        fail_config(
            "command line: data inspect: PATH is missing: give tar shards, a save_to_disk folder, "
            "Parquet files or a folder of pictures");
    }
    check_between("data inspect", "--num-workers", workers, 1, 1024);
    if (!sheet.empty()) {
        check_sheet(sheet);
    }
    const std::string& path = command_line.words.front();
    const data::Inspection inspection =
        data::inspect(path, static_cast<int>(workers), sheet.empty() ? 0 : kThumbnails,
                      remote_settings(cache_dir));
    fmt::print("{}", data::inspection_text(inspection));
    if (!inspection.thumbnails.empty()) {
        write_png(sheet, data::contact_sheet(inspection.thumbnails).view());
        log::info("{} pictures in {}", inspection.thumbnails.size(), sheet);
    }
    if (inspection.usable == 0) {
        fail("{}: holds no usable sample: samples {}, problems {}", path, inspection.samples,
             inspection.problems.size());
    }
    if (!sheet.empty() && inspection.thumbnails.empty()) {
        fail("{}: not written: no picture can be read", sheet);
    }
    return 0;
}

}  // namespace flux::commands
