#include "http_server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "flux/base/error.h"

namespace flux::metrics {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMostConnections = 16;
constexpr std::chrono::seconds kReadTime{5};    // for the whole request
constexpr std::chrono::seconds kWriteTime{60};  // for the whole response
constexpr std::chrono::seconds kCloseTime{2};   // for the client to take the end of it
constexpr std::chrono::seconds kPause{1};       // before connections are accepted after a failure

class Descriptor {
public:
    explicit Descriptor(int number = -1) : number_(number) {}
    ~Descriptor() {
        if (number_ >= 0) {
            ::close(number_);
        }
    }
    Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    int get() const { return number_; }

private:
    int number_;
};

struct Connection {
    enum class Phase { kReading, kWriting, kClosing, kDone };

    Descriptor socket;
    Clock::time_point deadline;
    Phase phase = Phase::kReading;
    std::string request = {};
    std::string response = {};
    size_t sent = 0;
};

/// Holds none where that fails; errno says why.
Descriptor listen_at(const addrinfo& place) {
    Descriptor socket(::socket(place.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;  // the port of a run that has just ended is free again
    if (socket.get() < 0 ||
        ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        ::bind(socket.get(), place.ai_addr, place.ai_addrlen) != 0 ||
        ::listen(socket.get(), kMostConnections) != 0) {
        const int problem = errno;
        socket = Descriptor();
        errno = problem;
    }
    return socket;
}

Descriptor listen_at(const HttpAddress& address) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV | AI_PASSIVE;
    addrinfo* list = nullptr;
    const int code =
        ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
    if (code != 0) {
        fail_config("metrics.http_host = \"{}\": {}: give a name or an address of this machine",
                    address.host, ::gai_strerror(code));
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, ::freeaddrinfo);
    int problem = 0;
    for (const addrinfo* place = list; place != nullptr && problem != EADDRINUSE;
         place = place->ai_next) {
        Descriptor socket = listen_at(*place);
        if (socket.get() >= 0) {
            return socket;
        }
        problem = errno;
    }
    if (problem == EADDRNOTAVAIL) {
        fail_config("metrics.http_host = \"{}\": is no address of this machine", address.host);
    }
    fail_config(
        "metrics.http_port = {}: cannot listen on {}: {}: choose another port, or 0 for none",
        address.port, address.host, std::strerror(problem));
}

sockaddr_storage place_of(const Descriptor& listener) {
    sockaddr_storage place{};
    socklen_t size = sizeof place;
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&place), &size);
    return place;
}

/// Whether nobody outside of this machine reaches it.
bool is_loopback(const Descriptor& listener) {
    constexpr uint8_t kLoopbackNet = 127;
    const sockaddr_storage place = place_of(listener);
    if (place.ss_family == AF_INET6) {
        const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(&place)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(&address) ||
               (IN6_IS_ADDR_V4MAPPED(&address) && address.s6_addr[12] == kLoopbackNet);
    }
    const uint32_t address = ntohl(reinterpret_cast<const sockaddr_in*>(&place)->sin_addr.s_addr);
    return address >> 24 == kLoopbackNet;
}

std::vector<std::string> loopback_names(const std::string& host) {
    return {"localhost", "127.0.0.1", "[::1]", host_in_url(host)};
}

void receive(Connection& client) {
    std::array<char, 4096> piece;
    const ssize_t count = ::recv(client.socket.get(), piece.data(), piece.size(), 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (count <= 0) {
        client.phase = Connection::Phase::kDone;
        return;
    }
    if (client.phase == Connection::Phase::kReading) {  // later, what comes is not looked at
        client.request.append(piece.data(), static_cast<size_t>(count));
    }
}

void send_more(Connection& client) {
    const ssize_t count = ::send(client.socket.get(), client.response.data() + client.sent,
                                 client.response.size() - client.sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN && errno != EINTR) {
        client.phase = Connection::Phase::kDone;
        return;
    }
    client.sent += static_cast<size_t>(std::max<ssize_t>(count, 0));
    if (client.sent == client.response.size()) {
        // Closed at once, the connection would be reset by what the client still sends, and the
        // response might be lost.
        ::shutdown(client.socket.get(), SHUT_WR);
        client.phase = Connection::Phase::kClosing;
        client.deadline = Clock::now() + kCloseTime;
    }
}

void begin_response(Connection& client, std::string response) {
    client.response = std::move(response);
    client.phase = Connection::Phase::kWriting;
    client.deadline = Clock::now() + kWriteTime;
    send_more(client);
}

}  // namespace

struct HttpServer::State {
    State(const HttpAddress& address, HttpSite served)
        : listener(listen_at(address)),
          hosts(is_loopback(listener) ? loopback_names(address.host) : std::vector<std::string>()),
          wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
          site(std::move(served)) {
        if (wake.get() < 0) {
            fail("eventfd: {}", std::strerror(errno));
        }
    }

    void run();
    bool wait();
    void accept_clients();
    void serve(Connection& client, short events);
    std::string answer(const std::string& request) const;

    Descriptor listener;
    std::vector<std::string> hosts;  // that requests may be for; empty: all
    Descriptor wake;
    HttpSite site;
    std::vector<Connection> clients;
    std::vector<pollfd> polled;
    Clock::time_point accept_from{};
    std::thread thread;
};

/// False when the server is to end.
bool HttpServer::State::wait() {
    const auto now = Clock::now();
    auto next = now + std::chrono::hours(1);
    polled = {{wake.get(), POLLIN, 0},
              {now < accept_from ? -1 : listener.get(), POLLIN, 0}};  // -1: is passed over
    if (now < accept_from) {
        next = accept_from;
    }
    for (const Connection& client : clients) {
        const bool writing = client.phase == Connection::Phase::kWriting;
        polled.push_back({client.socket.get(), static_cast<short>(writing ? POLLOUT : POLLIN), 0});
        next = std::min(next, client.deadline);
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now).count();
    if (::poll(polled.data(), polled.size(), static_cast<int>(std::max<int64_t>(left, 0))) < 0) {
        polled.assign(polled.size(), {-1, 0, 0});
    }
    return polled[0].revents == 0;
}

void HttpServer::State::accept_clients() {
    for (size_t i = 0; i < kMostConnections; ++i) {  // others are to be served in between
        Descriptor socket(
            ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (socket.get() < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                accept_from = Clock::now() + kPause;  // no descriptors left: do not spin
            }
            return;
        }
        if (clients.size() == kMostConnections) {  // who has not asked yet makes room before others
            clients.erase(std::min_element(
                clients.begin(), clients.end(), [](const Connection& a, const Connection& b) {
                    return std::tie(a.phase, a.deadline) < std::tie(b.phase, b.deadline);
                }));
        }
        clients.push_back({.socket = std::move(socket), .deadline = Clock::now() + kReadTime});
    }
}

std::string HttpServer::State::answer(const std::string& request) const {
    try {
        return http_response(request, site, hosts);
    } catch (const std::exception&) {  // the page of a run, not the run
        return http_refusal(500, request);
    }
}

void HttpServer::State::serve(Connection& client, short events) {
    using Phase = Connection::Phase;
    if (events != 0 && client.phase == Phase::kWriting) {
        send_more(client);
    } else if (events != 0) {
        receive(client);
    }
    if (client.phase == Phase::kReading && is_whole_request(client.request)) {
        begin_response(client, answer(client.request));
    } else if (client.phase == Phase::kReading && client.request.size() > kMostRequestBytes) {
        begin_response(client, http_refusal(431, client.request));
    }
    if (Clock::now() >= client.deadline) {
        if (client.phase == Phase::kReading) {
            begin_response(client, http_refusal(408, client.request));
        } else {
            client.phase = Phase::kDone;
        }
    }
}

void HttpServer::State::run() {
    constexpr int kLowestPriority = 19;
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowestPriority);
    while (wait()) {
        for (size_t i = 0; i < clients.size(); ++i) {
            serve(clients[i], polled[i + 2].revents);
        }
        std::erase_if(clients, [](const Connection& client) {
            return client.phase == Connection::Phase::kDone;
        });
        if (polled[1].revents != 0) {
            accept_clients();
        }
    }
}

HttpServer::HttpServer(const HttpAddress& address, HttpSite site)
    : state_(std::make_unique<State>(address, std::move(site))) {
    // Signals are for the thread that trains.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    state_->thread = std::thread([state = state_.get()] { state->run(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

HttpServer::~HttpServer() {
    const uint64_t one = 1;
    (void)!::write(state_->wake.get(), &one, sizeof one);
    state_->thread.join();
}

int HttpServer::port() const {
    const sockaddr_storage place = place_of(state_->listener);
    return ntohs(place.ss_family == AF_INET6
                     ? reinterpret_cast<const sockaddr_in6*>(&place)->sin6_port
                     : reinterpret_cast<const sockaddr_in*>(&place)->sin_port);
}

}  // namespace flux::metrics
