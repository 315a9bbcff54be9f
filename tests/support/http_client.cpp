#include "support/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

namespace flux::test {

HttpClient::HttpClient(int port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        ::close(socket_);
        socket_ = -1;
    }
}

HttpClient::~HttpClient() {
    if (socket_ >= 0) {
        ::close(socket_);
    }
}

void HttpClient::send(std::string_view bytes) const {
    while (!bytes.empty()) {
        const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count <= 0) {
            return;  // the server has closed: receive() shows what it said
        }
        bytes.remove_prefix(static_cast<size_t>(count));
    }
}

std::string HttpClient::receive() const {
    std::string all;
    std::array<char, 65536> piece;
    for (ssize_t count = 0; (count = ::recv(socket_, piece.data(), piece.size(), 0)) > 0;) {
        all.append(piece.data(), static_cast<size_t>(count));
    }
    return all;
}

std::string http_exchange(int port, std::string_view request) {
    const HttpClient client(port);
    if (client.socket() < 0) {
        return "";
    }
    client.send(request);
    return client.receive();
}

std::string http_get(int port, const std::string& path) {
    return http_exchange(port, "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
}

}  // namespace flux::test
