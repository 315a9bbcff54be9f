#include "http.h"

#include <fmt/format.h>

#include <algorithm>

namespace flux::metrics {
namespace {

std::string_view reason_of(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 400:
            return "Bad Request";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 421:
            return "Misdirected Request";
        case 431:
            return "Request Header Fields Too Large";
        case 503:
            return "Service Unavailable";
        default:
            return "Internal Server Error";
    }
}

/// Nothing a page holds may fetch from elsewhere or run what did not come with it.
std::string render(const HttpContent& content, bool with_body) {
    std::string response = fmt::format(
        "HTTP/1.1 {} {}\r\nServer: flux_train\r\nContent-Type: {}\r\nContent-Length: {}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; img-src data:; connect-src 'self'\r\n{}"
        "Connection: close\r\n\r\n",
        content.status, reason_of(content.status), content.type, content.body.size(),
        content.status == 405 ? "Allow: GET, HEAD\r\n" : "");
    return with_body ? response + content.body : response;
}

bool wants_body(std::string_view request) { return !request.starts_with("HEAD "); }

struct RequestLine {
    std::string_view method;
    std::string_view target;
};

std::optional<RequestLine> parse_line(std::string_view line) {
    const size_t first = line.find(' ');
    const size_t second = first == line.npos ? line.npos : line.find(' ', first + 1);
    if (second == line.npos) {
        return std::nullopt;
    }
    const RequestLine parsed{line.substr(0, first), line.substr(first + 1, second - first - 1)};
    const std::string_view version = line.substr(second + 1);
    const bool is_method = !parsed.method.empty() &&
                           std::all_of(parsed.method.begin(), parsed.method.end(),
                                       [](char c) { return (c >= 'A' && c <= 'Z') || c == '-'; });
    const bool is_target =
        !parsed.target.empty() && std::all_of(parsed.target.begin(), parsed.target.end(),
                                              [](char c) { return c > ' ' && c < 0x7f; });
    const bool is_version = version == "HTTP/1.1" || version == "HTTP/1.0";
    return is_method && is_target && is_version ? std::optional(parsed) : std::nullopt;
}

/// The next line without its end; `text` begins after it.
std::string_view take_line(std::string_view& text) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line.remove_suffix(line.ends_with('\r') ? 1 : 0);
    return line;
}

bool equal_but_for_case(std::string_view a, std::string_view b) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [&](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
    const size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
    return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

/// "Host: [::1]:8080" is for "[::1]".
bool is_for(std::string_view place, const std::string& host) {
    if (!equal_but_for_case(place.substr(0, host.size()), host)) {
        return false;
    }
    const std::string_view port = place.substr(host.size());
    return port.empty() ||
           (port.front() == ':' && port.find_first_not_of("0123456789", 1) == port.npos);
}

bool is_for_any(std::string_view place, const std::vector<std::string>& hosts) {
    return std::any_of(hosts.begin(), hosts.end(),
                       [&](const std::string& host) { return is_for(place, host); });
}

/// A page of another site can have its own name lead here, but the browser still says that name.
bool names_only(std::string_view headers, const std::vector<std::string>& hosts) {
    while (!headers.empty()) {
        const std::string_view line = take_line(headers);
        const size_t colon = std::min(line.find(':'), line.size());
        if (equal_but_for_case(line.substr(0, colon), "Host")) {
            const std::string_view place = trimmed(line.substr(std::min(colon + 1, line.size())));
            if (!is_for_any(place, hosts)) {
                return false;
            }
        }
    }
    return true;
}

struct Target {
    std::optional<std::string_view> place;  // of a whole URL, as one asks through a proxy
    std::string_view path;
};

Target split_target(std::string_view target) {
    constexpr std::string_view kScheme = "http://";
    Target split{.place = {}, .path = target};
    if (equal_but_for_case(target.substr(0, kScheme.size()), kScheme)) {
        const std::string_view rest = target.substr(kScheme.size());
        const size_t end = std::min(rest.find_first_of("/?"), rest.size());
        split.place = rest.substr(0, end);
        split.path = rest.substr(end);
    }
    split.path = split.path.substr(0, split.path.find('?'));
    if (split.path.empty()) {
        split.path = "/";
    }
    return split;
}

}  // namespace

bool is_whole_request(std::string_view received) {
    return received.find("\r\n\r\n") != received.npos || received.find("\n\n") != received.npos;
}

std::string http_response(std::string_view request, const HttpSite& site,
                          const std::vector<std::string>& hosts) {
    std::string_view headers = request;
    const auto parsed = parse_line(take_line(headers));
    if (!parsed) {
        return http_refusal(400, request);
    }
    if (parsed->method != "GET" && parsed->method != "HEAD") {
        return http_refusal(405, request);
    }
    const Target target = split_target(parsed->target);
    const bool is_for_this =
        names_only(headers, hosts) && (!target.place || is_for_any(*target.place, hosts));
    if (!hosts.empty() && !is_for_this) {
        return http_refusal(421, request);
    }
    const auto content = site(target.path);
    return content ? render(*content, wants_body(request)) : http_refusal(404, request);
}

std::string http_refusal(int status, std::string_view request) {
    return render({.status = status,
                   .type = "text/plain; charset=utf-8",
                   .body = fmt::format("{} {}\n", status, reason_of(status))},
                  wants_body(request));
}

std::string host_in_url(const std::string& host) {
    return host.find(':') == host.npos ? host : "[" + host + "]";
}

}  // namespace flux::metrics
