#include "data/download.h"

#include "data/http_client.h"
#include "data/retries.h"
#include "flux/base/error.h"

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

}  // namespace

void download(const std::string& url, CacheFile& file, const RemoteSettings& settings) {
    const HttpSettings http{.token = settings.token,
                            .token_url = settings.endpoint,
                            .stall_timeout_s = settings.stall_timeout_s,
                            .stop = settings.stop};
    Retries retries(url, file, settings);
    for (;;) {
        retries.begin();
        BodyWriter body(file);
        const HttpReply reply = http_get(
            url, file.size(), file.validator(), http,
            [&](const HttpReply& head, std::span<const char> bytes) { body.take(head, bytes); });
        const std::string problem = what_is_missing(reply, body, file);
        if (problem.empty()) {
            return file.commit();
        }
        if (!reply.has_body() && !may_get_better(reply.status)) {
            fail("{}: {}{}", url, problem, remedy_for(reply.status));
        }
        if (reply.status == 416) {  // the file here is no beginning of that on the server
            file.restart({});
        }
        retries.after_failure(problem, reply.retry_after_s);
    }
}

}  // namespace flux::data
