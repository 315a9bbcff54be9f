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

}  // namespace

bool is_whole_request(std::string_view received) {
    return received.find("\r\n\r\n") != received.npos || received.find("\n\n") != received.npos;
}

std::string http_response(std::string_view request, const HttpSite& site) {
    std::string_view line = request.substr(0, request.find('\n'));
    line.remove_suffix(line.ends_with('\r') ? 1 : 0);
    const auto parsed = parse_line(line);
    if (!parsed) {
        return http_refusal(400);
    }
    const bool head = parsed->method == "HEAD";
    if (parsed->method != "GET" && !head) {
        return http_refusal(405);
    }
    const auto content = site(parsed->target.substr(0, parsed->target.find('?')));
    return content ? render(*content, !head) : http_refusal(404, !head);
}

std::string http_refusal(int status, bool with_body) {
    return render({.status = status,
                   .type = "text/plain; charset=utf-8",
                   .body = fmt::format("{} {}\n", status, reason_of(status))},
                  with_body);
}

}  // namespace flux::metrics
