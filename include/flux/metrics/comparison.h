// One self-contained page that lays the curves of several runs over each other.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace flux::metrics {

inline constexpr size_t kMostComparedRuns = 24;  // more curves cannot be told apart

struct ComparedRun {
    std::filesystem::path folder;  // holds metrics.jsonl
    std::string name;
    std::string description;  // may be empty
};

/// An option that is not alike in all runs.
struct ComparedOption {
    std::string name;
    std::vector<std::string> values;  // of each run
};

/// Replaces `file` in one step. At most kMostComparedRuns runs.
void write_comparison(const std::filesystem::path& file, const std::vector<ComparedRun>& runs,
                      const std::vector<ComparedOption>& options);

}  // namespace flux::metrics
