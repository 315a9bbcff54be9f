// A client that sends any bytes to a server on this machine.
#pragma once

#include <string>
#include <string_view>

namespace flux::test {

/// A connection to 127.0.0.1; `socket()` is -1 if nobody listens.
class HttpClient {
public:
    explicit HttpClient(int port);
    ~HttpClient();
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;

    int socket() const { return socket_; }
    void send(std::string_view bytes) const;
    /// All that comes until the server closes.
    std::string receive() const;

private:
    int socket_;
};

/// The response to these bytes; "" if nobody listens.
std::string http_exchange(int port, std::string_view request);

/// The response to GET.
std::string http_get(int port, const std::string& path);

}  // namespace flux::test
