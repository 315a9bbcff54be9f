// Runs the real program, as a user would.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace flux::test {

struct ProcessResult {
    int exit_code = 0;  // 128 + signal when a signal ended it
    std::string out;    // stdout
    std::string err;    // stderr
};

/// Runs build/flux_train with `arguments` to its end.
ProcessResult run_flux_train(const std::vector<std::string>& arguments);

using Environment = std::vector<std::pair<std::string, std::string>>;

/// Starts build/flux_train with its output going to `log`; returns the process id.
pid_t start_flux_train(const std::vector<std::string>& arguments, const std::filesystem::path& log,
                       const Environment& environment = {});

/// The same for another program, such as a launcher.
pid_t start_program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                    const std::filesystem::path& log, const Environment& environment = {});

/// build/flux_train.
std::filesystem::path flux_train_binary();

/// Waits for a started process; exit code as in ProcessResult.
int wait_for(pid_t process);

/// All lines of metrics.jsonl in a run's folder that hold `key`, as text by step: "loss" or
/// "val_loss". Numbers keep their digits, so equal text means equal bits.
std::vector<std::pair<int64_t, std::string>> metric(const std::filesystem::path& run_folder,
                                                    const std::string& key);

}  // namespace flux::test
