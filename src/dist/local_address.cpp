#include "dist/local_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>

namespace flux::dist {
namespace {

std::string address_key(int rank) { return fmt::format("address/{}", rank); }

/// A datagram socket that is connected has looked up its way, without a packet sent.
std::optional<std::string> source_towards(const addrinfo& target) {
    const int socket = ::socket(target.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0) {
        return std::nullopt;
    }
    sockaddr_storage own{};
    auto* const address = reinterpret_cast<sockaddr*>(&own);
    socklen_t size = sizeof(own);
    const bool found = ::connect(socket, target.ai_addr, target.ai_addrlen) == 0 &&
                       ::getsockname(socket, address, &size) == 0;
    ::close(socket);
    std::array<char, NI_MAXHOST> text{};
    if (!found ||
        ::getnameinfo(address, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0) {
        return std::nullopt;
    }
    return std::string(text.data());
}

}  // namespace

std::optional<std::string> address_towards(const std::string& host) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* list = nullptr;
    if (::getaddrinfo(host.c_str(), "9", &hints, &list) != 0) {  // any port serves
        return std::nullopt;
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, ::freeaddrinfo);
    for (const addrinfo* target = list; target != nullptr; target = target->ai_next) {
        if (auto source = source_towards(*target)) {
            return source;
        }
    }
    return std::nullopt;
}

bool is_loopback(const std::string& address) {
    return address.starts_with("127.") || address == "::1";
}

void publish_address(Store& store, const std::string& master_address) {
    store.set(address_key(store.place().rank), address_towards(master_address).value_or(""));
}

std::optional<std::string> listening_address(Store& store, std::chrono::milliseconds timeout) {
    const std::string own = store.get(address_key(store.place().rank), timeout);
    if (own.empty()) {
        return std::nullopt;
    }
    if (!is_loopback(own)) {
        return own;
    }
    // On the machine of rank 0 its name may stand for loopback, which others cannot reach. They
    // know their own addresses, and the way to one of them goes out of the right card.
    for (int rank = 0; rank < store.place().world_size; ++rank) {
        const std::string other = store.get(address_key(rank), timeout);
        if (!other.empty() && !is_loopback(other)) {
            return address_towards(other);
        }
    }
    return own;
}

}  // namespace flux::dist
