#include "data/arrow_objects.h"

#include <arrow/buffer.h>
#include <arrow/filesystem/gcsfs.h>
#include <arrow/filesystem/s3fs.h>
#include <arrow/io/interfaces.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>

#include "data/arrow_status.h"
#include "data/retries.h"
#include "data/shard_names.h"
#include "flux/base/error.h"

namespace flux::data {
namespace {

constexpr int64_t kPieceBytes = 8 << 20;
constexpr std::string_view kAnonymous = "anonymous@";
constexpr std::string_view kWildcards = "*?[";

struct Address {
    bool is_s3 = false;
    bool anonymous = false;
    std::string bucket{};
    std::string path{};  // bucket/key
};

Address parse(const std::string& item) {
    Address address{.is_s3 = item.starts_with("s3://")};
    std::string_view rest = std::string_view(item).substr(5);
    if (rest.starts_with(kAnonymous)) {
        address.anonymous = true;
        rest.remove_prefix(kAnonymous.size());
    }
    address.path = rest;
    address.bucket = rest.substr(0, rest.find('/'));
    if (address.bucket.empty() || address.bucket.find_first_of("*?[{@: ") != std::string::npos) {
        fail("{}: names no bucket: write s3://bucket/shard.tar or gs://bucket/shard.tar", item);
    }
    return address;
}

/// The address of another path in the same bucket.
std::string with_path(const Address& address, const std::string& path) {
    return fmt::format("{}://{}{}", address.is_s3 ? "s3" : "gs",
                       address.anonymous ? kAnonymous : "", path);
}

/// Splits "http://host:port"; https where there is no scheme.
void set_endpoint(const std::string& endpoint, std::string& scheme, std::string& host) {
    const size_t colon = endpoint.find("://");
    scheme = colon == std::string::npos ? "https" : endpoint.substr(0, colon);
    host = colon == std::string::npos ? endpoint : endpoint.substr(colon + 3);
    while (host.ends_with('/')) {
        host.pop_back();
    }
}

/// The system's list of certificates: Arrow's library was built on another system.
std::string certificates() {
    if (const char* given = std::getenv("SSL_CERT_FILE"); given != nullptr) {
        return given;
    }
    for (const char* path : {"/etc/ssl/certs/ca-certificates.crt",
                             "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}) {
        std::error_code error;
        if (std::filesystem::exists(path, error)) {
            return path;
        }
    }
    return {};
}

/// The stores that the program has met; one object for the program.
class Stores {
public:
    static Stores& instance() {
        static Stores stores;
        return stores;
    }
    static bool were_used() { return used_; }

    void close() {
        const std::lock_guard lock(mutex_);
        open_.clear();
        check_arrow(arrow::fs::EnsureS3Finalized(), "object stores");
    }
    Stores(const Stores&) = delete;
    Stores& operator=(const Stores&) = delete;

    std::shared_ptr<arrow::fs::FileSystem> open(const std::string& item, const Address& address,
                                                const RemoteSettings& settings) {
        const std::lock_guard lock(mutex_);
        const std::string& endpoint = address.is_s3 ? settings.s3_endpoint : settings.gs_endpoint;
        auto& store = open_[with_path(address, address.bucket) + " " + endpoint];
        if (!store) {
            store =
                address.is_s3 ? open_s3(item, address, settings) : open_gs(item, address, settings);
        }
        return store;
    }

private:
    Stores() {
        arrow::fs::FileSystemGlobalOptions options;
        options.tls_ca_file_path = certificates();
        check_arrow(arrow::fs::Initialize(options), "object stores");
        used_ = true;
    }

    std::shared_ptr<arrow::fs::FileSystem> open_s3(const std::string& item, const Address& address,
                                                   const RemoteSettings& settings) {
        if (!arrow::fs::IsS3Initialized()) {
            arrow::fs::S3GlobalOptions library = arrow::fs::S3GlobalOptions::Defaults();
            library.install_sigpipe_handler = true;
            check_arrow(arrow::fs::InitializeS3(library), item);
        }
        arrow::fs::S3Options options = address.anonymous ? arrow::fs::S3Options::Anonymous()
                                                         : arrow::fs::S3Options::Defaults();
        options.connect_timeout = settings.stall_timeout_s;
        options.request_timeout = settings.stall_timeout_s;
        if (!settings.s3_endpoint.empty()) {
            set_endpoint(settings.s3_endpoint, options.scheme, options.endpoint_override);
        } else if (options.region.empty()) {
            options.region = take_arrow(arrow::fs::ResolveS3BucketRegion(address.bucket), item);
        }
        return take_arrow(arrow::fs::S3FileSystem::Make(options), item);
    }

    static std::shared_ptr<arrow::fs::FileSystem> open_gs(const std::string& item,
                                                          const Address& address,
                                                          const RemoteSettings& settings) {
        // An emulator knows no credentials.
        arrow::fs::GcsOptions options = address.anonymous || !settings.gs_endpoint.empty()
                                            ? arrow::fs::GcsOptions::Anonymous()
                                            : arrow::fs::GcsOptions::Defaults();
        options.retry_limit_seconds = settings.stall_timeout_s;
        if (!settings.gs_endpoint.empty()) {
            set_endpoint(settings.gs_endpoint, options.scheme, options.endpoint_override);
        }
        return take_arrow(arrow::fs::GcsFileSystem::Make(options), item);
    }

    std::mutex mutex_;
    std::map<std::string, std::shared_ptr<arrow::fs::FileSystem>> open_;
    inline static std::atomic<bool> used_{false};
};

/// What the user can do about a failure; empty: nothing, it may get better.
std::string remedy_for(const std::string& problem, bool is_s3) {
    constexpr std::array<std::string_view, 14> kRefused = {"ACCESS_DENIED",
                                                           "INVALID_ACCESS_KEY_ID",
                                                           "SIGNATURE_DOES_NOT_MATCH",
                                                           "EXPIRED_TOKEN",
                                                           "INVALID_CLIENT_TOKEN",
                                                           "UNRECOGNIZED_CLIENT",
                                                           "MISSING_AUTHENTICATION",
                                                           "AccessDenied",
                                                           "HTTP status 401",
                                                           "HTTP status 403",
                                                           "PERMISSION_DENIED",
                                                           "UNAUTHENTICATED",
                                                           "Permission denied",
                                                           "Could not create a OAuth2"};
    constexpr std::array<std::string_view, 4> kAbsent = {"NO_SUCH_BUCKET", "NoSuchBucket",
                                                         "Bucket not found", "NOT_FOUND"};
    const auto any = [&](const auto& words) {
        return std::any_of(words.begin(), words.end(), [&](std::string_view word) {
            return problem.find(word) != std::string::npos;
        });
    };
    if (any(kRefused)) {
        return is_s3
                   ? ": access is refused: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and "
                     "AWS_SESSION_TOKEN) or AWS_PROFILE, AWS_ENDPOINT_URL for a store that is not "
                     "Amazon's, or write s3://anonymous@bucket/... for a public bucket"
                   : ": access is refused: set GOOGLE_APPLICATION_CREDENTIALS, or write "
                     "gs://anonymous@bucket/... for a public bucket";
    }
    return any(kAbsent) ? ": there is no such bucket or object; check the address" : std::string();
}

/// Throws Error, with the remedy where one is known.
template <class T>
T take_object(arrow::Result<T>&& result, const std::string& item, bool is_s3) {
    if (!result.ok()) {
        const std::string problem = result.status().message();
        fail("{}: {}{}", item, problem, remedy_for(problem, is_s3));
    }
    return std::move(result).ValueUnsafe();
}

/// What is still the same object: its size, and when it was written.
std::string validator_of(const arrow::fs::FileInfo& info) {
    return fmt::format("{} {}", info.size(), info.mtime().time_since_epoch().count());
}

[[noreturn]] void fail_absent(const std::string& item) {
    fail("{}: there is no such object; check the address", item);
}

/// Appends what is missing. A status that is not OK: the connection has failed.
arrow::Status copy_rest(arrow::fs::FileSystem& store, const std::string& item,
                        const std::string& path, CacheFile& file, const Retries& retries) {
    ARROW_ASSIGN_OR_RAISE(const arrow::fs::FileInfo info, store.GetFileInfo(path));
    if (!info.IsFile()) {
        fail_absent(item);
    }
    const std::string validator = validator_of(info);
    const auto size = static_cast<uint64_t>(info.size());
    if (file.validator() != validator || file.size() > size) {
        file.restart(validator);
    }
    ARROW_ASSIGN_OR_RAISE(const auto input, store.OpenInputFile(info));
    while (file.size() < size) {
        retries.check_stop();
        const auto rest = static_cast<int64_t>(size - file.size());
        ARROW_ASSIGN_OR_RAISE(const auto piece, input->ReadAt(static_cast<int64_t>(file.size()),
                                                              std::min(kPieceBytes, rest)));
        if (piece->size() == 0) {
            return arrow::Status::IOError("the object ends at byte ", file.size(), " of ", size);
        }
        file.append({piece->data_as<char>(), static_cast<size_t>(piece->size())});
    }
    // The pieces were asked for one by one: they are one object only if it is still the same.
    ARROW_ASSIGN_OR_RAISE(const arrow::fs::FileInfo after, store.GetFileInfo(path));
    if (!after.IsFile() || validator_of(after) != validator) {
        file.restart({});
        return arrow::Status::IOError("the object has changed while it was fetched");
    }
    return arrow::Status::OK();
}

}  // namespace

void close_object_stores() {
    if (Stores::were_used()) {
        Stores::instance().close();
    }
}

bool is_object(std::string_view item) {
    return item.starts_with("s3://") || item.starts_with("gs://");
}

std::string object_identity(const std::string& item, const RemoteSettings& settings) {
    return item + " " + (item.starts_with("s3://") ? settings.s3_endpoint : settings.gs_endpoint);
}

std::vector<std::string> find_objects(const std::string& item, const RemoteSettings& settings) {
    const Address address = parse(item);
    const size_t wildcard = address.path.find_first_of(kWildcards);
    if (wildcard == std::string::npos && is_shard_name(address.path)) {
        return {item};
    }
    arrow::fs::FileSelector selector;
    if (wildcard == std::string::npos) {
        selector.base_dir = address.path.substr(0, address.path.find_last_not_of('/') + 1);
    } else {
        selector.base_dir = address.path.substr(0, address.path.rfind('/', wildcard));
        selector.recursive = address.path.find('/', wildcard) != std::string::npos;
    }
    selector.allow_not_found = true;
    const auto store = Stores::instance().open(item, address, settings);
    std::vector<std::string> found;
    for (const auto& info : take_object(store->GetFileInfo(selector), item, address.is_s3)) {
        const bool wanted =
            wildcard == std::string::npos
                ? is_shard_name(info.path())
                : ::fnmatch(address.path.c_str(), info.path().c_str(), FNM_PATHNAME) == 0;
        if (info.IsFile() && wanted) {
            found.push_back(with_path(address, info.path()));
        }
    }
    if (found.empty()) {
        fail(
            "{}: names no object: give a shard's name, a pattern (*.tar), a range in braces or a "
            "folder that holds tar shards",
            item);
    }
    std::sort(found.begin(), found.end());
    return found;
}

void copy_object(const std::string& item, CacheFile& file, const RemoteSettings& settings) {
    const Address address = parse(item);
    const auto store = Stores::instance().open(item, address, settings);
    Retries retries(item, file, settings);
    for (;;) {
        retries.begin();
        const arrow::Status status = copy_rest(*store, item, address.path, file, retries);
        if (status.ok()) {
            return;
        }
        if (const std::string remedy = remedy_for(status.message(), address.is_s3);
            !remedy.empty()) {
            fail("{}: {}{}", item, status.message(), remedy);
        }
        retries.after_failure(status.message());
    }
}

}  // namespace flux::data
