// Serves a site on a thread of its own, of lowest priority: what clients do, or do not do, never
// holds up the rest of the program. Requests, connections and the time each may take are bounded.
#pragma once

#include <memory>
#include <string>

#include "http.h"

namespace flux::metrics {

struct HttpAddress {
    std::string host;  // metrics.http_host: a name or an address of this machine
    int port = 0;      // metrics.http_port; 0: any that is free
};

class HttpServer {
public:
    /// Throws ConfigError naming the option when it cannot listen there. `site` is called on the
    /// server's thread.
    HttpServer(const HttpAddress& address, HttpSite site);
    /// Ends at once, whatever clients are doing.
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    int port() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace flux::metrics
