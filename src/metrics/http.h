// As much HTTP/1.1 as a page to look at needs: one request a connection, GET and HEAD.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flux::metrics {

inline constexpr size_t kMostRequestBytes = 8192;

struct HttpContent {
    int status = 200;
    std::string type;  // "text/html; charset=utf-8"
    std::string body;
};

/// What lies at a path ("/metrics", without a query); nothing: there is no such thing.
using HttpSite = std::function<std::optional<HttpContent>(std::string_view path)>;

/// Whether the head of a request has come whole.
bool is_whole_request(std::string_view received);

/// All bytes to send for what a client sent, whatever that is. A request that says it is for
/// another host than `hosts` ("localhost", "[::1]"; any port) is refused; where there are none, it
/// may name any. Throws what `site` throws.
std::string http_response(std::string_view request, const HttpSite& site,
                          const std::vector<std::string>& hosts);

/// The same for a request, of which this much is known, that cannot be read or served, or that is
/// too long or too slow.
std::string http_refusal(int status, std::string_view request);

/// A host's name or address as it stands in addresses of pages: that of IPv6 in brackets.
std::string host_in_url(const std::string& host);

}  // namespace flux::metrics
