// The folder of a run's checkpoints: `step-N/` is a committed one, `step-N.tmp/` one that is being
// written or was given up, `step-N.aside-K.tmp/` one that was given up and cannot be removed yet,
// `step-N.replaced/` the former content of step-N while a new one takes its name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <vector>

namespace flux::checkpoint {

/// All committed checkpoints by step. A folder that does not exist has none.
std::map<int64_t, std::filesystem::path> committed(const std::filesystem::path& folder);

/// Folders step-N that hold no manifest. Saving leaves none: somebody has taken it out.
std::vector<std::filesystem::path> without_manifest(const std::filesystem::path& folder);

/// The newest committed checkpoint, or the one of step `load_step` (-1: newest). Nothing if there
/// is none at all; throws Error if `load_step` is not among them.
std::optional<std::filesystem::path> find_latest(const std::filesystem::path& folder,
                                                 int64_t load_step);

/// Removes what a killed save left behind and puts a half-replaced checkpoint back. What cannot be
/// removed (on NFS: files that somebody still reads) is warned of and stays for the next time.
void clean_leftovers(const std::filesystem::path& folder);

/// Frees the name of a step-N.tmp that stayed; the next clean_leftovers() finds it.
void move_aside(const std::filesystem::path& temporary, const std::filesystem::path& folder,
                int64_t step);

/// Removes all but the newest `keep_latest_k` checkpoints (0 keeps all), never `written`. Warns of
/// what cannot be removed.
void prune(const std::filesystem::path& folder, int64_t keep_latest_k, int64_t written);

/// Renames all checkpoints after `step` to step-N.abandoned: a run that goes on from an older one
/// must not find them again. Returns how many.
int64_t abandon_after(const std::filesystem::path& folder, int64_t step);

/// folder/step-N
std::filesystem::path step_folder(const std::filesystem::path& folder, int64_t step);

/// The step of a path that ends in "step-N"; nothing for another name.
std::optional<int64_t> step_of(const std::filesystem::path& path);

}  // namespace flux::checkpoint
