// One GET over http or https, through libcurl: a body from any offset on, redirects followed by
// hand so that an access token never reaches another host. Retrying is the caller's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

namespace flux::data {

struct HttpSettings {
    std::string token{};      // sent as bearer token, to the host of `token_url` only
    std::string token_url{};  // "https://huggingface.co"
    double connect_timeout_s = 30;
    double stall_timeout_s = 60;  // without data for so long the connection counts as broken
    std::stop_token stop{};       // breaks the connection
};

struct HttpReply {
    int status = 0;                   // of the last redirect's target; 0: no reply at all
    uint64_t start = 0;               // where in the resource the body begins
    std::optional<uint64_t> total{};  // size of the whole resource, if told
    bool marks_end = false;           // the body tells where it ends: chunks, frames
    std::string validator{};          // strong ETag, else Last-Modified
    double retry_after_s = 0;
    std::string failure{};  // why the body did not come whole; empty: it did

    bool has_body() const { return status == 200 || status == 206; }
};

/// Receives a body piece by piece, with what the headers said. An exception ends the transfer and
/// comes out of get().
using HttpSink = std::function<void(const HttpReply&, std::span<const char>)>;

/// The resource from byte `offset` on, provided it is still the one of `validator` (empty: any);
/// a server may answer with all of it (status 200). Only bodies of status 200 and 206 reach the
/// sink. Throws Error for what no retry can help: a bad URL, an endless redirect.
HttpReply http_get(const std::string& url, uint64_t offset, const std::string& validator,
                   const HttpSettings& settings, const HttpSink& sink);

}  // namespace flux::data
