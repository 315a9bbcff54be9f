#include "data/cache_space.h"

#include <algorithm>
#include <map>
#include <memory>
#include <system_error>

#include "flux/base/error.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

/// So long what other processes add may go unseen.
constexpr std::chrono::seconds kMeasureEvery{30};

/// Bytes of all files below a folder. Other processes rename and remove meanwhile.
uint64_t folder_bytes(const fs::path& folder) {
    uint64_t total = 0;
    std::error_code gone;
    for (fs::recursive_directory_iterator entry(folder, gone), end; !gone && entry != end;
         entry.increment(gone)) {
        std::error_code renamed;
        const uint64_t size = entry->is_regular_file(renamed) ? entry->file_size(renamed) : 0;
        total += renamed ? 0 : size;
    }
    return total;
}

}  // namespace

CacheSpace& CacheSpace::of(const fs::path& folder) {
    static std::mutex mutex;
    static std::map<fs::path, std::unique_ptr<CacheSpace>> all;
    const std::lock_guard lock(mutex);
    auto& space = all[folder];
    if (!space) {
        space = std::make_unique<CacheSpace>(folder);
    }
    return *space;
}

void CacheSpace::measure() {
    held_ = folder_bytes(folder_);
    measured_ = std::chrono::steady_clock::now();
}

void CacheSpace::take(uint64_t bytes, const RemoteSettings& settings) {
    const std::lock_guard lock(mutex_);
    const uint64_t most = settings.cache_bytes;
    bool fresh = false;
    const auto look = [&] {
        measure();
        fresh = true;
    };
    if (!measured_ || std::chrono::steady_clock::now() - *measured_ > kMeasureEvery) {
        look();
    }
    while (held_ > most || bytes > most - held_) {
        if (!fresh) {
            look();
            continue;
        }
        const uint64_t freed = settings.make_room ? settings.make_room() : 0;
        if (freed == 0) {
            fail(
                "{}: remote shards would take more than {} bytes: allow more with "
                "dataloader.cache_size_gb, name fewer shards, remove there what no run needs, or "
                "put them on a local disk",
                folder_.string(), most);
        }
        held_ -= std::min(freed, held_);
    }
    held_ += bytes;
}

void CacheSpace::give_back(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    held_ -= std::min(bytes, held_);
}

}  // namespace flux::data
