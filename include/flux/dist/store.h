// The table of keys and values that all processes of a job share: they meet there, compare what
// they are told, and learn who failed. Rank 0 (or torchrun) hosts it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "flux/dist/process_place.h"

namespace flux::dist {

/// The store or a peer cannot be reached (any more): the job cannot go on.
class LostPeer : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Where the processes of a job meet.
struct StoreAddress {
    std::string host;
    uint16_t port = 0;
};

/// MASTER_ADDR and MASTER_PORT; on one machine 127.0.0.1 and 29500 if they are not set. Throws
/// ConfigError without MASTER_ADDR on several.
StoreAddress store_address(const ProcessPlace& place);

class Store {
public:
    /// Connects; rank 0 opens the port. Throws ConfigError as store_address(), Error if the port is
    /// in use or nobody answers within `timeout`.
    Store(const ProcessPlace& place, std::chrono::milliseconds timeout);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    /// A connection of its own for another thread.
    std::unique_ptr<Store> clone() const;

    void set(const std::string& key, std::string_view value);
    /// Waits until the key is set. Throws LostPeer after `timeout`.
    std::string get(const std::string& key, std::chrono::milliseconds timeout);
    /// Adds to a counter, which begins at 0; the new value.
    int64_t add(const std::string& key, int64_t amount);
    /// The value, if the key is set now.
    std::optional<std::string> find(const std::string& key);

    /// Every rank's `value`, in rank order, on all ranks. Each `topic` serves once.
    std::vector<std::string> exchange(const std::string& topic, std::string_view value,
                                      std::chrono::milliseconds timeout);

    const ProcessPlace& place() const { return place_; }

    /// LibTorch's store (a c10d::Store), for process groups.
    struct Handle;
    Handle& handle() { return *handle_; }

private:
    Store(ProcessPlace place, std::unique_ptr<Handle> handle);

    ProcessPlace place_;
    std::unique_ptr<Handle> handle_;
};

}  // namespace flux::dist
