#include "flux/dist/world.h"

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <stop_token>
#include <thread>

#include "dist/local_address.h"
#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux::dist {
namespace {

/// The watch ends the job when a process is lost.
constexpr std::chrono::hours kAsLongAsAllLive(24);

void say(const std::string& message) {
    if (!message.empty()) {
        log::error("{}", message);
    }
}

/// Says after a few seconds what is waited for, unless it is over by then.
class WaitNotice {
public:
    explicit WaitNotice(std::function<std::string()> text)
        : thread_([text = std::move(text)](const std::stop_token& stop) {
              std::mutex mutex;
              std::unique_lock lock(mutex);
              std::condition_variable_any over;
              over.wait_for(lock, stop, kPatience, [] { return false; });
              if (!stop.stop_requested()) {
                  log::warning("{}", text());
              }
          }) {}

private:
    static constexpr std::chrono::seconds kPatience{5};
    std::jthread thread_;
};

std::string waiting_to_meet(const ProcessPlace& place, int64_t timeout_s) {
    const auto [host, port] = store_address(place);
    const bool is_known = address_towards(host).has_value();
    return fmt::format(
        "waiting for the {} processes of the job to meet at MASTER_ADDR={}, MASTER_PORT={}, up to "
        "{} s (comm.init_timeout_seconds){}",
        place.world_size, host, port, timeout_s,
        is_known ? "" : "; no address is known for that name so far");
}

}  // namespace

World::World(const ProcessPlace& place, const config::Comm& settings)
    : place_(place),
      timeout_(std::chrono::seconds(settings.init_timeout_seconds)),
      train_timeout_(std::chrono::seconds(settings.train_timeout_seconds)) {
    if (place_.is_alone()) {
        return;
    }
    try {
        const WaitNotice notice(
            [&] { return waiting_to_meet(place_, settings.init_timeout_seconds); });
        store_ = std::make_unique<Store>(place_, timeout_);
        watch_ = std::make_unique<FaultWatch>(
            store_->clone(), WatchLimits{.parent_stays = place_.launcher_stays}, say);
        place_ = placed_among(place_, exchange("hosts", place_.host));
    } catch (const LostPeer& problem) {
        const std::string reason = fmt::format(
            "the {} processes of the job have not met within {} s "
            "(comm.init_timeout_seconds): {}",
            size(), settings.init_timeout_seconds, problem.what());
        if (!watch_) {
            throw Error(reason);
        }
        end_job(reason, kExitFailure);
    }
}

World::~World() {
    if (!store_ || failed_) {
        return;
    }
    try {
        finish();
        // The store goes with rank 0, so that leaves last; the others need no answer.
        watch_.reset();
        if (!place_.is_first()) {
            store_->set(fmt::format("left/{}", rank()), "");
            return;
        }
        for (int rank = 1; rank < size(); ++rank) {
            store_->get(fmt::format("left/{}", rank), train_timeout_);
        }
    } catch (const LostPeer& problem) {
        log::warning("at the end of the job: {}", problem.what());
    }
}

void World::finish() {
    if (!store_ || finished_) {
        return;
    }
    at_leisure("the end");
    store_->exchange("end", "", kAsLongAsAllLive);
    finished_ = true;
}

std::vector<std::string> World::exchange(const std::string& topic, std::string_view value) {
    if (place_.is_alone()) {
        return {std::string(value)};
    }
    return store_->exchange(fmt::format("{}/{}", topic, rounds_[topic]++), value, timeout_);
}

World::Exchange World::make_exchange(const std::string& name) {
    if (place_.is_alone()) {
        return {};
    }
    struct State {
        std::unique_ptr<Store> store;
        int64_t round = 0;
    };
    const auto state = std::make_shared<State>(State{store_->clone()});
    return [state, name](const std::string& topic, const std::string& text) {
        return state->store->exchange(fmt::format("{}/{}/{}", name, topic, state->round++), text,
                                      kAsLongAsAllLive);
    };
}

std::string World::from_first(const std::string& topic, std::string_view value) {
    return exchange(topic, is_first() ? value : "").front();
}

Mesh World::make_mesh(const MeshShape& shape, c10::Device device) {
    if (place_.is_alone()) {
        return {};
    }
    limits_waits_ = device.is_cuda();
    at("the first meeting");
    return {*store_, shape, device, timeout_};
}

void World::training_begins(Mesh& mesh) {
    timeout_ = train_timeout_;
    mesh.set_timeout(timeout_);
}

void World::at(const std::string& place) {
    if (watch_) {
        watch_->at(place, limits_waits_ ? std::optional(timeout_) : std::nullopt);
    }
}

void World::at_leisure(const std::string& place) {
    if (watch_) {
        watch_->at(place, {});
    }
}

void World::run(const std::function<void()>& body) {
    if (place_.is_alone()) {
        body();
        return;
    }
    try {
        body();
    } catch (const LostPeer& problem) {
        end_job(watch_->explain(problem), kExitFailure);
    } catch (const std::exception& problem) {
        end_job(failure_text(problem), exit_code(problem));
    }
}

void World::together(const std::string& topic, const std::function<void()>& part) {
    std::string problem;
    try {
        part();
    } catch (const Error& error) {
        problem = error.what();
    } catch (const std::filesystem::filesystem_error& error) {
        problem = error.what();
    }
    fail_if_any(exchange(topic, problem));
}

void World::end_job(const std::string& reason, int code) {
    failed_ = true;
    if (const auto said = watch_->report(reason, code)) {
        throw EndedByPeer(*said);
    }
    if (code == kExitConfiguration) {
        throw ConfigError(reason);
    }
    throw Error(reason);
}

void fail_if_any(const std::vector<std::string>& problems) {
    if (problems.size() == 1 && !problems.front().empty()) {
        throw Error(problems.front());
    }
    for (size_t rank = 0; rank < problems.size(); ++rank) {
        if (!problems[rank].empty()) {
            fail("rank {}: {}", rank, problems[rank]);
        }
    }
}

}  // namespace flux::dist
