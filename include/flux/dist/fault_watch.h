// Ends a job whose processes cannot go on together: one died, hangs, or failed.
//
// Every process tells the store twice a second that it lives, and reads there whether another has
// failed. The first to notice a failure puts it into words for all, so that one message names
// rank, host and reason; the others leave without adding to it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "flux/dist/store.h"

namespace flux::dist {

struct WatchLimits {
    /// A process that has not been heard of for so long is lost.
    std::chrono::milliseconds silence{8000};
    /// The same when an exchange has failed already, so that somebody must be lost.
    std::chrono::milliseconds silence_after_failure{2500};
    std::chrono::milliseconds period{500};
    /// The parent process lives as long as the job: without it the job ends.
    bool parent_stays = true;
};

class FaultWatch {
public:
    /// Watches from now on, over a connection of its own. When another process has failed, the
    /// watch calls `on_failure` with a message for people, empty if another process says it, and
    /// ends the process with exit code 1.
    FaultWatch(std::unique_ptr<Store> store, const WatchLimits& limits,
               std::function<void(const std::string&)> on_failure);
    ~FaultWatch();
    FaultWatch(const FaultWatch&) = delete;
    FaultWatch& operator=(const FaultWatch&) = delete;

    /// Where this process is, for messages of others: "step 12".
    void at(const std::string& place);

    /// This process fails with `reason`. Returns whether it is the first of the job and so the one
    /// to speak.
    bool report(const std::string& reason);

    /// Why a peer was lost: waits until the watch knows of a silent process, else gives what
    /// LibTorch said.
    std::string explain(const LostPeer& problem);

    /// While it lives, the process waits for others on a device that cannot tell; after `limit`
    /// the job ends.
    class Waiting {
    public:
        Waiting(FaultWatch& watch, std::chrono::milliseconds limit);
        ~Waiting();
        Waiting(const Waiting&) = delete;
        Waiting& operator=(const Waiting&) = delete;

    private:
        FaultWatch& watch_;
    };

private:
    using Clock = std::chrono::steady_clock;
    struct Beat {
        std::string text;  // as last read
        Clock::time_point changed;
    };

    void run();
    void beat();
    std::optional<std::string> silent_rank(std::chrono::milliseconds limit);
    std::optional<std::string> overdue();
    [[noreturn]] void end_process(const std::string& message);

    std::unique_ptr<Store> store_;
    WatchLimits limits_;
    std::function<void(const std::string&)> on_failure_;
    std::mutex store_mutex_;  // the thread and report() share the connection
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stop_ = false;
    std::string place_ = "start";
    std::optional<Clock::time_point> deadline_;
    std::vector<Beat> beats_;
    int64_t count_ = 0;
    pid_t parent_;
    std::thread thread_;
};

}  // namespace flux::dist
