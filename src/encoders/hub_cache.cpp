// The Hugging Face cache folder: models--<org>--<name>/refs/main holds the name of a folder below
// snapshots/.
#include "encoders/hub_cache.h"

#include <cstdlib>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/hub_name.h"
#include "flux/encoders/model_files.h"

namespace flux::encoders {
namespace {

/// The value of an environment variable, empty where it is not set.
std::filesystem::path variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
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
    if (!is_hub_name_part(snapshot) ||
        !std::filesystem::is_directory(folder / "snapshots" / snapshot)) {
        fail("{}: names no folder in {}: download {} again", reference.string(),
             (folder / "snapshots").string(), repository);
    }
    return folder / "snapshots" / snapshot;
}

}  // namespace flux::encoders
