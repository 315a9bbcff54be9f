#include "flux/dist/fault_watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

namespace flux::dist {
namespace {

constexpr const char* kFailure = "failure";
constexpr const char* kFailures = "failures";

std::string beat_key(int rank) { return fmt::format("beat/{}", rank); }

/// "12 node17 step 3": count, host, place.
std::string describe(int rank, const std::string& beat) {
    const size_t host = beat.find(' ') + 1, place = beat.find(' ', host) + 1;
    return fmt::format("rank {} on {}, last heard of at {}", rank,
                       beat.substr(host, place - 1 - host), beat.substr(place));
}

}  // namespace

FaultWatch::FaultWatch(std::unique_ptr<Store> store, const WatchLimits& limits,
                       std::function<void(const std::string&)> on_failure)
    : store_(std::move(store)),
      limits_(limits),
      on_failure_(std::move(on_failure)),
      beats_(static_cast<size_t>(store_->place().world_size), Beat{{}, Clock::now()}),
      parent_(::getppid()),
      thread_([this] { run(); }) {}

FaultWatch::~FaultWatch() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

void FaultWatch::at(const std::string& place) {
    const std::lock_guard lock(mutex_);
    place_ = place;
}

bool FaultWatch::report(const std::string& reason) {
    const std::lock_guard lock(store_mutex_);
    try {
        if (store_->add(kFailures, 1) != 1) {
            return false;
        }
        store_->set(kFailure, fmt::format("{}: {}", store_->place().name(), reason));
    } catch (const LostPeer&) {
        // Rank 0 is gone and the store with it. One process a machine says so.
        return store_->place().local_rank == 0 || store_->place().rank == 1;
    }
    return true;
}

std::string FaultWatch::explain(const LostPeer& problem) {
    const auto give_up = Clock::now() + limits_.silence + 2 * limits_.period;
    while (Clock::now() < give_up) {
        {
            const std::lock_guard lock(store_mutex_);
            try {
                if (store_->find(kFailure)) {
                    break;  // somebody has said it; run() ends this process
                }
                if (const auto silent = silent_rank(limits_.silence_after_failure)) {
                    return *silent;
                }
            } catch (const LostPeer&) {
                return fmt::format("rank 0, which hosts the store of the job{}, is gone",
                                   store_->place().master_address
                                       ? " (MASTER_ADDR=" + *store_->place().master_address + ")"
                                       : "");
            }
        }
        std::this_thread::sleep_for(limits_.period / 2);
    }
    return fmt::format("lost another process: {}", problem.what());
}

void FaultWatch::run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
        lock.unlock();
        std::string failure;
        try {
            const std::lock_guard store_lock(store_mutex_);
            beat();
            if (store_->find(kFailure)) {
                end_process("");
            }
            if (limits_.parent_stays && ::getppid() != parent_) {
                failure = "the launcher that started it is gone";
            } else if (const auto late = overdue()) {
                failure = *late;
            } else if (store_->place().rank <= 1) {  // 0 watches all, 1 watches 0
                failure = silent_rank(limits_.silence).value_or("");
            }
        } catch (const LostPeer&) {
            // Rank 0 and its store are gone. Whoever waits for it learns so; who does not is done.
        }
        if (!failure.empty()) {
            end_process(report(failure) ? failure : "");
        }
        lock.lock();
        wake_.wait_for(lock, limits_.period, [this] { return stop_; });
    }
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
                "{}, has been silent for {} s: it was killed or its machine is lost",
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

void FaultWatch::end_process(const std::string& message) {
    on_failure_(message);
    std::_Exit(1);
}

FaultWatch::Waiting::Waiting(FaultWatch& watch, std::chrono::milliseconds limit) : watch_(watch) {
    const std::lock_guard lock(watch_.mutex_);
    watch_.deadline_ = Clock::now() + limit;
}

FaultWatch::Waiting::~Waiting() {
    const std::lock_guard lock(watch_.mutex_);
    watch_.deadline_.reset();
}

}  // namespace flux::dist
