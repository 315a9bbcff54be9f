#include "data/download.h"

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

/// Takes the body of one reply into the file. `total`: of the resource that the file begins, as far
/// as it is known.
class BodyWriter {
public:
    BodyWriter(CacheFile& file, std::optional<uint64_t>& total) : file_(file), total_(total) {}

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
        if (reply.status == 200 || (reply.start == 0 && file_.size() == 0)) {
            file_.restart(reply.validator);
            total_ = reply.total;
            return true;
        }
        const bool same_size = !total_ || !reply.total || *total_ == *reply.total;
        if (reply.start == file_.size() && reply.validator == file_.validator() && same_size) {
            return true;
        }
        file_.restart({});
        total_.reset();
        return false;
    }

    CacheFile& file_;
    std::optional<uint64_t>& total_;
    bool begun_ = false;
    bool fits_ = true;
};

}  // namespace

std::string what_is_missing(const HttpReply& reply, uint64_t size) {
    if (!reply.has_body()) {
        return reply.status == 0 ? reply.failure : fmt::format("HTTP status {}", reply.status);
    }
    if (!reply.failure.empty()) {
        return reply.failure;
    }
    if (!reply.total) {
        return reply.marks_end && reply.status == 200
                   ? ""
                   : "the server tells no size, so that nothing shows a cut file";
    }
    return size == *reply.total ? "" : fmt::format("{} of {} bytes have come", size, *reply.total);
}

void download(const std::string& url, CacheFile& file, const RemoteSettings& settings) {
    const HttpSettings http{.token = settings.token,
                            .token_url = settings.endpoint,
                            .stall_timeout_s = settings.stall_timeout_s,
                            .stop = settings.stop};
    Retries retries(url, file, settings);
    std::optional<uint64_t> total;
    for (;;) {
        retries.begin();
        BodyWriter body(file, total);
        const HttpReply reply = http_get(
            url, file.size(), file.validator(), http,
            [&](const HttpReply& head, std::span<const char> bytes) { body.take(head, bytes); });
        if (reply.has_body()) {
            body.take(reply, {});  // an empty body replaces what was there, too
        }
        const std::string problem = body.fits() ? what_is_missing(reply, file.size())
                                                : "the file has changed on the server";
        if (problem.empty()) {
            return;
        }
        if (!reply.has_body() && !may_get_better(reply.status)) {
            fail("{}: {}{}", url, problem, remedy_for(reply.status));
        }
        if (reply.status == 416 || (reply.total && file.size() > *reply.total)) {
            file.restart({});  // it is no beginning of the one on the server
        }
        retries.after_failure(problem, reply.retry_after_s);
    }
}

}  // namespace flux::data
