#include "commands/shared.h"

#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/checkpoint/folder.h"

namespace flux::commands {

void show_notices(const config::LoadedConfig& loaded) {
    for (const std::string& notice : loaded.notices) {
        log::warning("{}", notice);
    }
}

std::filesystem::path resolve_checkpoint(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) {
        fail("--checkpoint {}: no such folder", path.string());
    }
    if (checkpoint::step_of(path)) {
        return path;
    }
    for (const auto& folder : {path, path / "checkpoint"}) {
        if (const auto newest = checkpoint::find_latest(folder, -1)) {
            return *newest;
        }
    }
    fail(
        "--checkpoint {}: neither it nor its folder checkpoint/ holds a complete checkpoint "
        "(step-N)",
        path.string());
}

}  // namespace flux::commands
