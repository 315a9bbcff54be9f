#include "flux/dist/world.h"

#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux::dist {
namespace {

void say(const std::string& message) {
    if (!message.empty()) {
        log::error("{}", message);
    }
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
        store_ = std::make_unique<Store>(place_, timeout_);
        watch_ = std::make_unique<FaultWatch>(store_->clone(), WatchLimits{}, say);
        exchange("start", "");
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
        // The store goes with rank 0, so that leaves last; the others need no answer. They stay
        // until rank 0 has finished its files: a launcher that sees a process leave with an exit
        // code other than 0 gives the rest a second or two.
        if (!place_.is_first()) {
            store_->get("leaving", train_timeout_);
        } else {
            store_->set("leaving", "");
            for (int rank = 1; rank < size(); ++rank) {
                store_->get(fmt::format("left/{}", rank), train_timeout_);
            }
        }
        watch_.reset();
        if (!place_.is_first()) {
            store_->set(fmt::format("left/{}", rank()), "");
        }
    } catch (const LostPeer& problem) {
        log::warning("at the end of the job: {}", problem.what());
    }
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
    constexpr std::chrono::hours kLong(24);  // the watch ends the job when a process is lost
    struct State {
        std::unique_ptr<Store> store;
        int64_t round = 0;
    };
    const auto state = std::make_shared<State>(State{store_->clone()});
    return [state, name, kLong](const std::string& topic, const std::string& text) {
        return state->store->exchange(fmt::format("{}/{}/{}", name, topic, state->round++), text,
                                      kLong);
    };
}

std::string World::from_first(const std::string& topic, std::string_view value) {
    return exchange(topic, is_first() ? value : "").front();
}

Mesh World::make_mesh(const MeshShape& shape, c10::Device device) {
    return place_.is_alone() ? Mesh() : Mesh(*store_, shape, device, timeout_);
}

void World::training_begins(Mesh& mesh) {
    timeout_ = train_timeout_;
    mesh.set_timeout(timeout_);
}

void World::at(const std::string& place) {
    if (watch_) {
        watch_->at(place);
    }
}

std::unique_ptr<FaultWatch::Waiting> World::waiting() {
    return watch_ ? std::make_unique<FaultWatch::Waiting>(*watch_, timeout_) : nullptr;
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

}  // namespace flux::dist
