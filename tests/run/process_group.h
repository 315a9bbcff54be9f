// A job of several processes of the real program on this machine.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "support/process.h"

namespace flux::test {

/// What one rank is told besides.
struct ExtraWords {
    int rank = -1;
    std::vector<std::string> arguments{};
    std::filesystem::path working_folder{};    // empty: that of the test
    std::string master_address = "127.0.0.1";  // of all ranks
};

/// Sends it every few milliseconds until the process has ended, which is still to be waited for.
void signal_until_over(pid_t process, int signal);

class ProcessGroup {
public:
    /// Starts `count` ranks; each writes to folder/rank-N.log. `extra` goes to one rank only.
    ProcessGroup(int count, const std::vector<std::string>& arguments,
                 const std::filesystem::path& folder, const ExtraWords& extra = {});
    /// Kills what still runs.
    ~ProcessGroup();
    ProcessGroup(const ProcessGroup&) = delete;
    ProcessGroup& operator=(const ProcessGroup&) = delete;

    pid_t pid(int rank) const { return ranks_[static_cast<size_t>(rank)]; }
    /// Exit codes by rank, when all have ended.
    std::vector<int> wait();
    /// Everything that a rank has said.
    std::string log(int rank) const;
    std::string all_logs() const;

private:
    std::filesystem::path folder_;
    std::vector<pid_t> ranks_;
    std::vector<bool> running_;
};

}  // namespace flux::test
