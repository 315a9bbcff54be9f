#include "data/download.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "data/http_client.h"
#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux::data {
namespace {

bool may_get_better(int status) {
    return status == 0 || status == 408 || status == 429 || status == 416 ||
           (status >= 500 && status != 501 && status != 505);
}

std::string remedy_for(int status) {
    switch (status) {
        case 401:
        case 403:
            return ": access is refused; set HF_TOKEN for a repository that needs it";
        case 404:
            return ": there is no such file; check the URL";
        default:
            return {};
    }
}

/// Takes the body of one reply into the file.
class BodyWriter {
public:
    explicit BodyWriter(CacheFile& file) : file_(file) {}

    void take(const HttpReply& reply, std::span<const char> bytes) {
        if (!begun_) {
            begun_ = true;
            fits_ = begin(reply);
        }
        if (fits_) {
            file_.append(bytes);
        }
    }
    /// The body continues what the file holds.
    bool fits() const { return fits_; }

private:
    bool begin(const HttpReply& reply) {
        if (reply.status == 200) {
            file_.restart(reply.validator);
            return true;
        }
        if (reply.start == 0 && file_.size() == 0) {
            file_.restart(reply.validator);
            return true;
        }
        if (reply.start == file_.size() && reply.validator == file_.validator()) {
            return true;
        }
        file_.restart({});
        return false;
    }

    CacheFile& file_;
    bool begun_ = false;
    bool fits_ = true;
};

/// Why the file is not whole yet; empty: it is.
std::string what_is_missing(const HttpReply& reply, const BodyWriter& body, CacheFile& file) {
    if (!reply.has_body()) {
        return reply.status == 0 ? reply.failure : fmt::format("HTTP status {}", reply.status);
    }
    if (!body.fits()) {
        return "the file has changed on the server";
    }
    if (!reply.failure.empty()) {
        return reply.failure;
    }
    if (!reply.total) {
        return reply.chunked ? "" : "the server tells no size, so that nothing shows a cut file";
    }
    if (file.size() > *reply.total) {
        file.restart({});
        return "more bytes have come than the file has";
    }
    return file.size() == *reply.total
               ? ""
               : fmt::format("{} of {} bytes have come", file.size(), *reply.total);
}

double delay_before(int idle, double asked_s, const RemoteSettings& settings) {
    const double doubled = settings.first_delay_s * std::pow(2.0, std::min(idle, 20));
    return std::min(std::max(doubled, asked_s), settings.most_delay_s);
}

}  // namespace

void download(const std::string& url, CacheFile& file, const RemoteSettings& settings) {
    const HttpSettings http{.token = settings.token,
                            .token_url = settings.endpoint,
                            .stall_timeout_s = settings.stall_timeout_s};
    int idle = 0;
    std::string problem;
    for (int attempt = 0; attempt < settings.most_attempts; ++attempt) {
        BodyWriter body(file);
        const uint64_t before = file.size();
        const HttpReply reply = http_get(
            url, before, file.validator(), http,
            [&](const HttpReply& head, std::span<const char> bytes) { body.take(head, bytes); });
        problem = what_is_missing(reply, body, file);
        if (problem.empty()) {
            return file.commit();
        }
        if (!reply.has_body() && !may_get_better(reply.status)) {
            fail("{}: {}{}", url, problem, remedy_for(reply.status));
        }
        if (reply.status == 416) {  // the file here is no beginning of that on the server
            file.restart({});
        }
        idle = file.size() > before ? 0 : idle + 1;
        if (idle == settings.attempts) {
            break;
        }
        const double delay_s = delay_before(idle, reply.retry_after_s, settings);
        log::warning("{}: {}; going on at byte {} in {:.1f} s", url, problem, file.size(), delay_s);
        std::this_thread::sleep_for(std::chrono::duration<double>(delay_s));
    }
    fail("{}: given up after {} attempts that brought nothing: {}; start again to go on at byte {}",
         url, idle, problem, file.size());
}

}  // namespace flux::data
