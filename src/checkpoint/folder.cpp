#include "flux/checkpoint/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/checkpoint/manifest.h"

namespace flux::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporary = ".tmp";
constexpr std::string_view kReplaced = ".replaced";

/// The step in "step-N<suffix>"; nothing for another name.
std::optional<int64_t> step_in(std::string_view name, std::string_view suffix) {
    constexpr std::string_view kPrefix = "step-";
    if (!name.starts_with(kPrefix) || !name.ends_with(suffix)) {
        return std::nullopt;
    }
    name.remove_prefix(kPrefix.size());
    name.remove_suffix(std::min(name.size(), suffix.size()));
    int64_t step = 0;
    const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), step);
    const bool whole = code == std::errc() && end == name.data() + name.size() && step >= 0;
    return whole ? std::optional(step) : std::nullopt;
}

std::vector<fs::path> entries(const fs::path& folder) {
    std::error_code code;
    std::vector<fs::path> paths = list_folder(folder, code);
    const bool absent =
        code == std::errc::no_such_file_or_directory || code == std::errc::not_a_directory;
    if (code && !absent) {
        fail("{}: cannot list the checkpoints: {}", folder.string(), code.message());
    }
    return paths;
}

/// step-N.tmp, and step-N.aside-K.tmp (move_aside).
bool is_temporary(std::string_view name) {
    return name.ends_with(kTemporary) && step_in(name.substr(0, name.find('.')), "");
}

/// Gives the folder a name that no reader looks at before it takes it apart, so that a kill in
/// between leaves no half checkpoint under a valid name.
void remove_checkpoint(const fs::path& path, const fs::path& parent, int64_t step) {
    const fs::path doomed = step_folder(parent, step).string() + std::string(kTemporary);
    fs::remove_all(doomed);
    fs::rename(path, doomed);
    fs::remove_all(doomed);
}

/// Removes the folder, or puts it back, if it is a leftover.
void clean_leftover(const fs::path& path, const fs::path& parent) {
    const std::string name = path.filename().string();
    if (is_temporary(name)) {
        fs::remove_all(path);
    } else if (const auto step = step_in(name, kReplaced)) {
        if (fs::exists(manifest_path(step_folder(parent, *step)))) {
            remove_checkpoint(path, parent, *step);
        } else {
            fs::rename(path, step_folder(parent, *step));
            sync_folder(parent);
        }
    }
}

}  // namespace

fs::path step_folder(const fs::path& folder, int64_t step) {
    return folder / fmt::format("step-{}", step);
}

std::optional<int64_t> step_of(const fs::path& path) {
    return step_in(path.filename().string(), "");
}

std::map<int64_t, fs::path> committed(const fs::path& folder) {
    std::map<int64_t, fs::path> found;
    for (const fs::path& path : entries(folder)) {
        const std::string name = path.filename().string();
        if (!fs::exists(manifest_path(path))) {
            continue;
        }
        if (const auto step = step_in(name, "")) {
            found[*step] = path;
        } else if (const auto former = step_in(name, kReplaced)) {
            found.try_emplace(*former, path);
        }
    }
    return found;
}

std::vector<fs::path> without_manifest(const fs::path& folder) {
    std::vector<fs::path> found = entries(folder);
    std::erase_if(found, [](const fs::path& path) {
        return !step_of(path) || fs::exists(manifest_path(path));
    });
    return found;
}

std::optional<fs::path> find_latest(const fs::path& folder, int64_t load_step) {
    const auto found = committed(folder);
    if (load_step < 0) {
        return found.empty() ? std::nullopt : std::optional(found.rbegin()->second);
    }
    const auto wanted = found.find(load_step);
    if (wanted == found.end()) {
        std::string steps;
        for (const auto& [step, path] : found) {
            steps += fmt::format("{}{}", steps.empty() ? "" : ", ", step);
        }
        fail_config("checkpoint.load_step = {}: {} holds no such checkpoint; complete ones: {}",
                    load_step, folder.string(), steps.empty() ? "none" : steps);
    }
    return wanted->second;
}

void clean_leftovers(const fs::path& folder) {
    for (const fs::path& path : entries(folder)) {
        try {
            clean_leftover(path, folder);
        } catch (const std::exception& problem) {
            log::warning("{}: this leftover of a save stays for now: {}", path.string(),
                         problem.what());
        }
    }
}

void move_aside(const fs::path& temporary, const fs::path& folder, int64_t step) {
    fs::path aside;
    for (int i = 1; aside.empty() || fs::exists(aside); ++i) {
        aside = fmt::format("{}.aside-{}{}", step_folder(folder, step).string(), i, kTemporary);
    }
    fs::rename(temporary, aside);
}

void prune(const fs::path& folder, int64_t keep_latest_k, int64_t written) {
    if (keep_latest_k <= 0) {
        return;
    }
    auto found = committed(folder);
    found.erase(written);
    for (auto left = static_cast<int64_t>(found.size()); left > keep_latest_k - 1; --left) {
        const auto oldest = found.begin();
        try {
            remove_checkpoint(oldest->second, folder, oldest->first);
        } catch (const fs::filesystem_error& problem) {
            log::warning("an old checkpoint could not be removed: {}", problem.what());
        }
        found.erase(oldest);
    }
}

int64_t abandon_after(const fs::path& folder, int64_t step) {
    int64_t count = 0;
    const auto found = committed(folder);
    for (auto newer = found.upper_bound(step); newer != found.end(); ++newer, ++count) {
        fs::path aside = step_folder(folder, newer->first).string() + ".abandoned";
        for (int i = 2; fs::exists(aside); ++i) {
            aside = fmt::format("{}.abandoned-{}", step_folder(folder, newer->first).string(), i);
        }
        fs::rename(newer->second, aside);
    }
    if (count > 0) {
        sync_folder(folder);
    }
    return count;
}

}  // namespace flux::checkpoint
