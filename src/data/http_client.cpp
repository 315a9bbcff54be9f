#include "data/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <exception>
#include <memory>
#include <string_view>

#include "flux/base/error.h"

namespace flux::data {
namespace {

constexpr int kMaxRedirects = 10;

struct CurlLibrary {
    CurlLibrary() { curl_global_init(CURL_GLOBAL_DEFAULT); }
};

using Url = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string part_of(const Url& url, CURLUPart part) {
    char* text = nullptr;
    if (curl_url_get(url.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) {
        return {};
    }
    const std::unique_ptr<char, decltype(&curl_free)> guard(text, curl_free);
    return text;
}

/// "https://host:443", in lower case.
std::string origin_of(const std::string& text) {
    const Url url(curl_url(), curl_url_cleanup);
    if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
        fail("{}: not a valid URL", text);
    }
    std::string origin = part_of(url, CURLUPART_SCHEME) + "://" + part_of(url, CURLUPART_HOST) +
                         ":" + part_of(url, CURLUPART_PORT);
    std::transform(origin.begin(), origin.end(), origin.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return origin;
}

std::optional<uint64_t> number(std::string_view text) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(value)
                                                                    : std::nullopt;
}

std::string_view trimmed(std::string_view text) {
    const size_t first = text.find_first_not_of(" \t\r\n");
    return first == std::string_view::npos
               ? std::string_view()
               : text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
}

/// One exchange with one host.
class Transfer {
public:
    Transfer(const HttpSettings& settings, const HttpSink& sink)
        : settings_(settings), sink_(sink), curl_(curl_easy_init(), curl_easy_cleanup) {
        if (!curl_) {
            fail("libcurl cannot start: out of memory");
        }
    }

    /// Returns where it is redirected to; empty: nowhere.
    std::string run(const std::string& url, uint64_t offset, const std::string& validator) {
        CURL* curl = curl_.get();
        curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(curl, CURLOPT_USERAGENT, "flux_train");
        curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                         static_cast<long>(settings_.connect_timeout_s * 1000));
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME,
                         std::max(1L, static_cast<long>(settings_.stall_timeout_s)));
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_);
        curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, this);
        add_headers(url, offset, validator);
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers_.get());
        const CURLcode code = curl_easy_perform(curl);
        if (exception_) {
            std::rethrow_exception(exception_);
        }
        if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
            fail("{}: {}", url, curl_easy_strerror(code));
        }
        if (code != CURLE_OK) {
            reply_.failure = error_[0] != '\0' ? error_ : curl_easy_strerror(code);
        }
        long version = CURL_HTTP_VERSION_NONE;
        curl_easy_getinfo(curl, CURLINFO_HTTP_VERSION, &version);
        reply_.marks_end = reply_.marks_end || version >= CURL_HTTP_VERSION_2_0;
        char* target = nullptr;
        curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &target);
        return target == nullptr ? std::string() : std::string(target);
    }

    HttpReply& reply() { return reply_; }

private:
    void add_header(const std::string& line) {
        curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
        if (longer == nullptr) {
            fail("no memory for a request");
        }
        headers_.release();
        headers_.reset(longer);
    }

    void add_headers(const std::string& url, uint64_t offset, const std::string& validator) {
        add_header("Accept-Encoding: identity");
        // Also from byte 0: the reply then tells the whole size twice, and a short body shows.
        add_header(fmt::format("Range: bytes={}-", offset));
        if (offset > 0 && !validator.empty()) {
            add_header("If-Range: " + validator);
        }
        if (!settings_.token.empty() && origin_of(url) == origin_of(settings_.token_url)) {
            add_header("Authorization: Bearer " + settings_.token);
        }
    }

    void read_header(std::string_view line) {
        if (line.starts_with("HTTP/")) {
            reply_ = HttpReply{};
            const size_t blank = std::min(line.find(' '), line.size());
            const auto status = number(trimmed(line.substr(blank)).substr(0, 3));
            reply_.status = static_cast<int>(status.value_or(0));
            return;
        }
        const size_t colon = line.find(':');
        if (colon == std::string_view::npos) {
            return;
        }
        std::string name(line.substr(0, colon));
        std::transform(name.begin(), name.end(), name.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        read_field(name, trimmed(line.substr(colon + 1)));
    }

    void read_field(const std::string& name, std::string_view value) {
        if (name == "content-length" && reply_.status == 200) {
            reply_.total = number(value);
        } else if (name == "content-range" && value.starts_with("bytes ")) {
            const size_t slash = std::min(value.find('/'), value.size());
            const size_t dash = std::min(value.find('-'), slash);
            reply_.start = number(value.substr(6, dash - 6)).value_or(~uint64_t{0});
            reply_.total = slash < value.size() ? number(value.substr(slash + 1)) : std::nullopt;
        } else if (name == "transfer-encoding") {
            reply_.marks_end = value.find("chunked") != std::string_view::npos;
        } else if (name == "etag" && !value.starts_with("W/")) {
            reply_.validator = value;
        } else if (name == "last-modified" && reply_.validator.empty()) {
            reply_.validator = value;
        } else if (name == "retry-after") {
            reply_.retry_after_s = static_cast<double>(number(value).value_or(0));
        }
    }

    /// Called at least once a second; anything but 0 breaks the connection.
    static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
        return static_cast<Transfer*>(self)->settings_.stop.stop_requested() ? 1 : 0;
    }

    static size_t on_header(char* text, size_t, size_t size, void* self) {
        static_cast<Transfer*>(self)->read_header({text, size});
        return size;
    }

    static size_t on_body(char* bytes, size_t, size_t size, void* self) {
        auto* transfer = static_cast<Transfer*>(self);
        if (!transfer->reply_.has_body()) {
            return size;
        }
        try {
            transfer->sink_(transfer->reply_, {bytes, size});
            return size;
        } catch (...) {  // must not pass through the C library
            transfer->exception_ = std::current_exception();
            return CURL_WRITEFUNC_ERROR;
        }
    }

    const HttpSettings& settings_;
    const HttpSink& sink_;
    std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_;
    std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers_{nullptr,
                                                                         curl_slist_free_all};
    char error_[CURL_ERROR_SIZE] = {};
    HttpReply reply_;
    std::exception_ptr exception_;
};

}  // namespace

HttpReply http_get(const std::string& url, uint64_t offset, const std::string& validator,
                   const HttpSettings& settings, const HttpSink& sink) {
    static const CurlLibrary library;
    std::string target = url;
    for (int redirects = 0; redirects <= kMaxRedirects; ++redirects) {
        Transfer transfer(settings, sink);
        std::string next = transfer.run(target, offset, validator);
        if (next.empty() || !transfer.reply().failure.empty()) {
            return std::move(transfer.reply());
        }
        if (target.starts_with("https:") && !next.starts_with("https:")) {
            fail("{}: redirected from https to {}: refused", url, next);
        }
        target = std::move(next);
    }
    fail("{}: more than {} redirects", url, kMaxRedirects);
}

}  // namespace flux::data
