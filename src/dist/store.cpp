#include "flux/dist/store.h"

#include <charconv>
#include <future>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "dist/local_address.h"
#include "dist/store_handle.h"
#include "flux/base/error.h"
#include "flux/base/out_of_memory.h"

namespace flux::dist {
namespace {

constexpr uint16_t kDefaultPort = 29500;

/// The first line of what LibTorch says, without its trace.
std::string reason_of(const std::exception& problem) {
    const auto* own = dynamic_cast<const c10::Error*>(&problem);
    const std::string text = own != nullptr ? own->what_without_backtrace() : problem.what();
    return text.substr(0, text.find('\n'));
}

using StorePointer = c10::intrusive_ptr<c10d::TCPStore>;

/// LibTorch waits twice its timeout for a port that is closed, and for ever for a program there
/// that says nothing. So another thread connects; one that never comes back is left behind, for
/// the process ends then.
StorePointer connect(const std::string& address, const c10d::TCPStoreOptions& options) {
    std::promise<StorePointer> promise;
    auto result = promise.get_future();
    std::thread([address, options, promise = std::move(promise)]() mutable {
        try {
            promise.set_value(c10::make_intrusive<c10d::TCPStore>(address, options));
        } catch (...) {
            promise.set_exception(std::current_exception());
        }
    }).detach();
    if (result.wait_for(options.timeout) != std::future_status::ready) {
        fail("{}", address_towards(address) ? "no store of a job answers there"
                                            : "no address is known for that name");
    }
    return result.get();
}

/// Each text after its length and a space.
std::string pack(const std::vector<std::string>& texts) {
    std::string packed;
    for (const std::string& text : texts) {
        packed += fmt::format("{} {}", text.size(), text);
    }
    return packed;
}

std::vector<std::string> unpack(std::string_view packed) {
    std::vector<std::string> texts;
    while (!packed.empty()) {
        size_t size = 0;
        const char* const end =
            std::from_chars(packed.data(), packed.data() + packed.size(), size).ptr;
        packed.remove_prefix(static_cast<size_t>(end - packed.data()) + 1);
        texts.emplace_back(packed.substr(0, size));
        packed.remove_prefix(size);
    }
    return texts;
}

template <class Action>
auto reaching(Action action) {
    try {
        return action();
    } catch (const std::exception& problem) {
        if (is_out_of_memory(problem)) {
            throw;  // here, not at a peer
        }
        throw LostPeer(
            fmt::format("the store on the host of rank 0 does not answer: {}", reason_of(problem)));
    }
}

}  // namespace

StoreAddress store_address(const ProcessPlace& place) {
    const auto port = static_cast<uint16_t>(place.master_port.value_or(kDefaultPort));
    if (place.master_address && !place.master_address->empty()) {
        return {*place.master_address, port};
    }
    if (!place.on_one_machine()) {
        fail_config(
            "environment: MASTER_ADDR is not set: the {} processes of this job, started by {}, run "
            "on several machines; set it to the name of the machine of rank 0",
            place.world_size, place.launcher);
    }
    return {"127.0.0.1", port};
}

Store::Store(const ProcessPlace& place, std::chrono::milliseconds timeout) : place_(place) {
    const auto [host, port] = store_address(place);
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = place.is_first() && !place.launcher_hosts_store;
    options.waitWorkers = false;
    options.timeout = timeout;
    try {
        handle_ = std::make_unique<Handle>(Handle{c10::make_intrusive<c10d::PrefixStore>(
            "flux/" + place.store_prefix, connect(host, options))});
    } catch (const std::exception& problem) {
        const std::string reason = reason_of(problem);
        if (options.isServer && reason.find("EADDRINUSE") != std::string::npos) {
            fail("port {} is in use: set MASTER_PORT to a free one, the same on all ranks", port);
        }
        fail(
            "rank 0 cannot be reached at MASTER_ADDR={}, MASTER_PORT={} within {} s "
            "(comm.init_timeout_seconds): {}",
            host, port, std::chrono::duration_cast<std::chrono::seconds>(timeout).count(), reason);
    }
    publish_address(*this, host);
}

Store::Store(ProcessPlace place, std::unique_ptr<Handle> handle)
    : place_(std::move(place)), handle_(std::move(handle)) {}

Store::~Store() = default;

std::unique_ptr<Store> Store::clone() const {
    return reaching([&] {
        return std::unique_ptr<Store>(
            new Store(place_, std::make_unique<Handle>(Handle{handle_->store->clone()})));
    });
}

void Store::set(const std::string& key, std::string_view value) {
    reaching([&] { handle_->store->set(key, std::string(value)); });
}

std::string Store::get(const std::string& key, std::chrono::milliseconds timeout) {
    return reaching([&] {
        handle_->store->wait({key}, timeout);
        return handle_->store->get_to_str(key);
    });
}

int64_t Store::add(const std::string& key, int64_t amount) {
    return reaching([&] { return handle_->store->add(key, amount); });
}

std::optional<std::string> Store::find(const std::string& key) {
    return reaching([&] {
        return handle_->store->check({key}) ? std::optional(handle_->store->get_to_str(key))
                                            : std::nullopt;
    });
}

std::vector<std::string> Store::exchange(const std::string& topic, std::string_view value,
                                         std::chrono::milliseconds timeout) {
    const auto key = [&](int rank) { return fmt::format("{}/{}", topic, rank); };
    if (!place_.is_first()) {
        set(key(place_.rank), value);
        // Rank 0 knows who is missing, so it gives up first.
        return unpack(get(topic + "/all", timeout + std::chrono::seconds(5)));
    }
    // Rank 0 collects, so that the store answers 2 N questions and not N * N.
    std::vector<std::string> values{std::string(value)};
    for (int rank = 1; rank < place_.world_size; ++rank) {
        try {
            values.push_back(get(key(rank), timeout));
        } catch (const LostPeer& problem) {
            throw LostPeer(fmt::format("rank {} has not come to \"{}\" within {} s: {}", rank,
                                       topic, timeout.count() / 1000, problem.what()));
        }
    }
    set(topic + "/all", pack(values));
    return values;
}

}  // namespace flux::dist
