#include "flux/dist/fault_watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "flux/base/error.h"

namespace flux::dist {
namespace {

constexpr const char* kFailure = "failure";
constexpr const char* kFailures = "failures";
constexpr const char* kSeen = "seen";  // how many know that the job has failed

std::string beat_key(int rank) { return fmt::format("beat/{}", rank); }

/// "12 node17 step 3": count, host, place.
std::string describe(int rank, const std::string& beat) {
    const size_t host = beat.find(' ') + 1, place = beat.find(' ', host) + 1;
    return fmt::format("rank {} on {}, last heard of at {}", rank,
                       beat.substr(host, place - 1 - host), beat.substr(place));
}

/// Of "2 rank 1 on node17: reason".
int exit_code_of(const std::string& failure) { return std::atoi(failure.c_str()); }

}  // namespace

/// The connection to the store, for one thread at a time. Throws LostPeer where the store keeps
/// the other thread waiting.
class FaultWatch::StoreLock {
public:
    explicit StoreLock(FaultWatch& watch) : lock_(watch.store_mutex_, watch.limits_.silence) {
        if (!lock_.owns_lock()) {
            throw LostPeer("the store on the host of rank 0 does not answer");
        }
    }

private:
    std::unique_lock<std::timed_mutex> lock_;
};

FaultWatch::FaultWatch(std::unique_ptr<Store> store, const WatchLimits& limits,
                       std::function<void(const std::string&)> on_failure)
    : store_(std::move(store)),
      limits_(limits),
      on_failure_(std::move(on_failure)),
      beats_(static_cast<size_t>(store_->place().world_size), Beat{{}, Clock::now()}),
      parent_(::getppid()),
      last_answer_(Clock::now()),
      thread_([this] { run(); }),
      sentinel_([this] { guard(); }) {}

FaultWatch::~FaultWatch() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
    sentinel_.join();
}

void FaultWatch::at(const std::string& place, std::optional<std::chrono::milliseconds> limit) {
    const std::lock_guard lock(mutex_);
    place_ = place;
    deadline_ = limit ? std::optional(Clock::now() + *limit) : std::nullopt;
}

std::optional<int> FaultWatch::report(const std::string& reason, int exit_code) {
    speaking_ = true;
    const auto said = failed_before(reason, exit_code);
    speaking_ = !said;
    return said;
}

/// The exit code of the first failure of the job; nothing if it is this one.
std::optional<int> FaultWatch::failed_before(const std::string& reason, int exit_code) {
    try {
        const StoreLock lock(*this);
        const bool is_first = store_->add(kFailures, 1) == 1;
        if (is_first) {
            store_->set(kFailure,
                        fmt::format("{} {}: {}", exit_code, store_->place().name(), reason));
        }
        const int code = exit_code_of(store_->get(kFailure, limits_.silence));
        let_others_see();
        return is_first ? std::nullopt : std::optional(code);
    } catch (const LostPeer&) {
        return speaks_for_lost_store() ? std::nullopt : std::optional(kExitFailure);
    }
}

/// Rank 0 takes the store with it, so that leaves last, unless others are too long in coming.
void FaultWatch::let_others_see() {
    const ProcessPlace& place = store_->place();
    if (!place.is_first()) {
        store_->add(kSeen, 1);
        return;
    }
    const auto give_up = Clock::now() + 3 * limits_.period;
    while (store_->add(kSeen, 0) < place.world_size - 1 && Clock::now() < give_up) {
        std::this_thread::sleep_for(limits_.period / 25);
    }
}

std::string FaultWatch::explain(const LostPeer& problem) {
    const auto give_up = Clock::now() + limits_.silence + 2 * limits_.period;
    while (Clock::now() < give_up) {
        try {
            const StoreLock lock(*this);
            if (store_->find(kFailure)) {
                break;  // somebody has said it; run() ends this process
            }
            if (const auto silent =
                    watches_others() ? silent_rank(limits_.silence_after_failure) : std::nullopt) {
                return *silent;
            }
        } catch (const LostPeer&) {
            return store_is_gone("is gone");
        }
        std::this_thread::sleep_for(limits_.period / 2);
    }
    return fmt::format("lost another process: {}", problem.what());
}

void FaultWatch::run() {
    do {
        std::string failure;
        try {
            const StoreLock lock(*this);
            beat();
            if (const auto said = speaking_ ? std::nullopt : store_->find(kFailure)) {
                let_others_see();
                return end_process("", exit_code_of(*said));
            }
            if (limits_.parent_stays && ::getppid() != parent_) {
                failure = "the launcher that started it is gone";
            } else if (const auto late = overdue()) {
                failure = *late;
            } else if (watches_others()) {
                failure = silent_rank(limits_.silence).value_or("");
            }
            last_answer_ = Clock::now();
        } catch (const LostPeer&) {
            // Whoever waits for a peer learns of it at once and speaks; a wait on a GPU does not.
            if (!stopped_within(limits_.silence_after_failure)) {
                end_process(speaks_for_lost_store() ? store_is_gone("is gone") : "", kExitFailure);
            }
            return;
        }
        if (!failure.empty()) {
            const auto said = failed_before(failure, kExitFailure);
            return end_process(said ? "" : failure, said.value_or(kExitFailure));
        }
    } while (!stopped_within(limits_.period));
}

/// Never asks the store: a store that accepts questions and does not answer holds up run().
void FaultWatch::guard() {
    const auto limit = limits_.silence + limits_.silence_after_failure;
    while (!stopped_within(limits_.period)) {
        const auto silence = Clock::now() - last_answer_.load();
        if (silence > limit) {
            const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(silence).count();
            const auto text = store_is_gone(fmt::format("has not answered for {} s", seconds));
            return end_process(speaks_for_lost_store() ? text : "", kExitFailure);
        }
    }
}

bool FaultWatch::stopped_within(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return wake_.wait_for(lock, time, [this] { return stop_; });
}

/// 0 watches all, 1 watches too in case it is 0; the others learn it from them.
bool FaultWatch::watches_others() const { return store_->place().rank <= 1; }

/// With the store the place is gone where the first one to notice is found out: one process a
/// machine speaks, and on the machine of rank 0 the next one.
bool FaultWatch::speaks_for_lost_store() const {
    return store_->place().local_rank == 0 || store_->place().rank == 1;
}

std::string FaultWatch::store_is_gone(const std::string& how) const {
    const auto& address = store_->place().master_address;
    return fmt::format("rank 0, which hosts the store of the job{}, {}",
                       address ? " (MASTER_ADDR=" + *address + ")" : "", how);
}

void FaultWatch::beat() {
    const std::string place = [this] {
        const std::lock_guard lock(mutex_);
        return place_;
    }();
    store_->set(beat_key(store_->place().rank),
                fmt::format("{} {} {}", ++count_, store_->place().host, place));
}

/// A process whose beat has stopped.
std::optional<std::string> FaultWatch::silent_rank(std::chrono::milliseconds limit) {
    const ProcessPlace& self = store_->place();
    const auto now = Clock::now();
    for (int rank = 0; rank < self.world_size; ++rank) {
        Beat& last = beats_[static_cast<size_t>(rank)];
        const std::string beat = store_->find(beat_key(rank)).value_or("");
        if (rank == self.rank || beat != last.text) {
            last = {beat, now};
            continue;
        }
        if (!beat.empty() && now - last.changed > limit) {
            return fmt::format(
                "{}, has been silent for {} s: it was killed (as the system does when memory runs "
                "out) or its machine is lost",
                describe(rank, beat),
                std::chrono::duration_cast<std::chrono::seconds>(now - last.changed).count());
        }
    }
    return std::nullopt;
}

std::optional<std::string> FaultWatch::overdue() {
    const std::lock_guard lock(mutex_);
    if (!deadline_ || Clock::now() < *deadline_) {
        return std::nullopt;
    }
    std::string places;
    for (int rank = 0; rank < store_->place().world_size && rank < 1024; ++rank) {
        const std::string beat = store_->find(beat_key(rank)).value_or("");
        const std::string place = beat.substr(beat.find(' ', beat.find(' ') + 1) + 1);
        if (!beat.empty() && place != place_) {
            places += "; " + describe(rank, beat);
        }
    }
    return fmt::format(
        "waited for the other processes at {} longer than comm.train_timeout_seconds allow{}",
        place_, places);
}

void FaultWatch::end_process(const std::string& message, int exit_code) {
    if (speaking_) {
        // The failure is this process's own: it speaks, and ends in its own time if it can.
        if (stopped_within(limits_.silence)) {
            return;
        }
    } else {
        on_failure_(message);
    }
    std::_Exit(exit_code);
}

}  // namespace flux::dist
