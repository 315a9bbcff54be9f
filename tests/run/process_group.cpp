#include "run/process_group.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "flux/base/file.h"
#include "support/group.h"

namespace flux::test {

void signal_until_over(pid_t process, int signal) {
    siginfo_t ended{};
    while (::waitid(P_PID, static_cast<id_t>(process), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           ended.si_pid == 0) {
        ::kill(process, signal);
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
}

ProcessGroup::ProcessGroup(int count, const std::vector<std::string>& arguments,
                           const std::filesystem::path& folder, const ExtraWords& extra)
    : folder_(folder), running_(static_cast<size_t>(count), true) {
    const std::string port = std::to_string(free_port());
    for (int rank = 0; rank < count; ++rank) {
        const std::string number = std::to_string(rank), size = std::to_string(count);
        const Environment environment{{"RANK", number},
                                      {"LOCAL_RANK", number},
                                      {"WORLD_SIZE", size},
                                      {"LOCAL_WORLD_SIZE", size},
                                      {"MASTER_ADDR", extra.master_address},
                                      {"MASTER_PORT", port},
                                      {"OMP_NUM_THREADS", "1"}};
        std::vector<std::string> words = arguments;
        std::filesystem::path before;
        if (rank == extra.rank) {
            words.insert(words.end(), extra.arguments.begin(), extra.arguments.end());
            if (!extra.working_folder.empty()) {
                before = std::filesystem::current_path();
                std::filesystem::current_path(extra.working_folder);
            }
        }
        const auto log = folder_ / fmt::format("rank-{}.log", rank);
        std::filesystem::remove(log);
        ranks_.push_back(start_flux_train(words, log, environment));
        if (!before.empty()) {
            std::filesystem::current_path(before);
        }
    }
}

ProcessGroup::~ProcessGroup() {
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
        if (running_[rank]) {
            ::kill(ranks_[rank], SIGKILL);
            ::waitpid(ranks_[rank], nullptr, 0);
        }
    }
}

std::vector<int> ProcessGroup::wait() {
    std::vector<int> codes;
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
        codes.push_back(wait_for(ranks_[rank]));
        running_[rank] = false;
    }
    return codes;
}

std::string ProcessGroup::log(int rank) const {
    return read_text(folder_ / fmt::format("rank-{}.log", rank));
}

std::string ProcessGroup::all_logs() const {
    std::string all;
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
        all += fmt::format("--- rank {}\n{}", rank, log(static_cast<int>(rank)));
    }
    return all;
}

}  // namespace flux::test
