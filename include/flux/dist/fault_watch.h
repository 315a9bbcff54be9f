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
    /// ends the process with the exit code of the one that failed.
    FaultWatch(std::unique_ptr<Store> store, const WatchLimits& limits,
               std::function<void(const std::string&)> on_failure);
    ~FaultWatch();
    FaultWatch(const FaultWatch&) = delete;
    FaultWatch& operator=(const FaultWatch&) = delete;

    /// Where this process is, for messages of others: "step 12". When it has not come to another
    /// place within `limit` the job ends: waits for others on a GPU cannot tell by themselves.
    void at(const std::string& place, std::optional<std::chrono::milliseconds> limit);

    /// This process fails with `reason`. Returns nothing if it is the first of the job and so the
    /// one to speak, else the exit code of the first.
    std::optional<int> report(const std::string& reason, int exit_code);

    /// Why a peer was lost: waits until the watch knows of a silent process, else gives what
    /// LibTorch said.
    std::string explain(const LostPeer& problem);

private:
    using Clock = std::chrono::steady_clock;
    struct Beat {
        std::string text;  // as last read
        Clock::time_point changed;
    };

    class StoreLock;

    void run();
    void guard();
    bool stopped_within(std::chrono::milliseconds time);
    bool watches_others() const;
    bool speaks_for_lost_store() const;
    std::string store_is_gone(const std::string& how) const;
    void beat();
    std::optional<std::string> silent_rank(std::chrono::milliseconds limit);
    std::optional<std::string> overdue();
    std::optional<int> failed_before(const std::string& reason, int exit_code);
    void let_others_see();
    void end_process(const std::string& message, int exit_code);

    std::unique_ptr<Store> store_;
    WatchLimits limits_;
    std::function<void(const std::string&)> on_failure_;
    std::timed_mutex store_mutex_;  // the thread and report() share the connection
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stop_ = false;
    std::string place_ = "start";
    std::optional<Clock::time_point> deadline_;
    std::vector<Beat> beats_;
    int64_t count_ = 0;
    pid_t parent_;
    std::atomic<bool> speaking_ = false;          // report() says why the job ends
    std::atomic<Clock::time_point> last_answer_;  // of the store
    std::thread thread_;
    std::thread sentinel_;
};

}  // namespace flux::dist
