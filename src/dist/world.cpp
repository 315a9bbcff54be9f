#include "flux/dist/world.h"

#include <c10/util/Exception.h>

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
    store_ = std::make_unique<Store>(place_, timeout_);
    watch_ = std::make_unique<FaultWatch>(store_->clone(),
                                          WatchLimits{.parent_stays = place_.launcher_stays}, say);
    place_ = placed_among(place_, exchange("hosts", place_.host));
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
    const auto speak = [&](const std::string& reason) {
        failed_ = true;
        if (!watch_->report(reason)) {
            throw EndedByPeer();
        }
        return fmt::format("{}: {}", place_.name(), reason);
    };
    try {
        body();
    } catch (const LostPeer& problem) {
        failed_ = true;
        throw Error(speak(watch_->explain(problem)));
    } catch (const ConfigError& problem) {
        throw ConfigError(speak(problem.what()));
    } catch (const c10::Error& problem) {
        speak(problem.what_without_backtrace());
        throw;
    } catch (const std::exception& problem) {
        throw Error(speak(problem.what()));
    }
}

}  // namespace flux::dist
