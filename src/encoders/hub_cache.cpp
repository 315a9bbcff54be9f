// The Hugging Face cache folder: models--<org>--<name>/refs/main holds the name of a folder below
// snapshots/.
#include "encoders/hub_cache.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/encoders/model_files.h"

namespace flux::encoders {
namespace {

/// The value of an environment variable, empty where it is not set.
std::filesystem::path variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

bool is_name(std::string_view text) {
    const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               c == '-' || c == '_' || c == '.';
    });
    return plain && !text.empty() && text.front() != '.' && text.front() != '-' &&
           text.find("..") == text.npos;
}

}  // namespace

std::filesystem::path hub_cache() {
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
        if (const auto folder = variable(name); !folder.empty()) {
            return folder;
        }
    }
    if (const auto home = variable("HF_HOME"); !home.empty()) {
        return home / "hub";
    }
    const auto cache = variable("XDG_CACHE_HOME");
    return (cache.empty() ? variable("HOME") / ".cache" : cache) / "huggingface" / "hub";
}

bool is_repository(std::string_view value) {
    const size_t slash = value.find('/');
    return slash != value.npos && is_name(value.substr(0, slash)) &&
           is_name(value.substr(slash + 1));
}

std::filesystem::path cached_snapshot(const std::string& repository) {
    std::string name = repository;
    name.replace(name.find('/'), 1, "--");
    const std::filesystem::path folder = hub_cache() / ("models--" + name);
    const std::filesystem::path reference = folder / "refs" / "main";
    if (!std::filesystem::exists(reference)) {
        return {};
    }
    std::string snapshot = read_text(reference);
    while (!snapshot.empty() && (snapshot.back() == '\n' || snapshot.back() == '\r')) {
        snapshot.pop_back();
    }
    if (!is_name(snapshot) || !std::filesystem::is_directory(folder / "snapshots" / snapshot)) {
        fail("{}: names no folder in {}: download {} again", reference.string(),
             (folder / "snapshots").string(), repository);
    }
    return folder / "snapshots" / snapshot;
}

}  // namespace flux::encoders
