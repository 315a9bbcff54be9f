#include "data/shard_window.h"

#include <algorithm>
#include <utility>

#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux::data {

ShardWindow::ShardWindow(const std::vector<std::string>& names, WebDatasetSettings settings,
                         int ahead, std::function<size_t(int64_t)> shard_at)
    : names_(names), settings_(std::move(settings)), ahead_(ahead), shard_at_(std::move(shard_at)) {
    settings_.index_folder.clear();  // a shard is scanned once for each time that it is fetched
    settings_.index_threads = 1;
    settings_.remote.stop = stop_.get_token();
    settings_.remote.make_room = [this] { return evict_one(); };
    for (int i = 0; i < std::max(settings_.remote.downloads, 1); ++i) {
        threads_.emplace_back([this] { work(); });
    }
}

ShardWindow::~ShardWindow() { stop_.request_stop(); }

void ShardWindow::advance(int64_t ordinal) {
    const std::lock_guard lock(mutex_);
    if (ordinal <= front_) {
        return;
    }
    front_ = ordinal;
    const std::unordered_set<size_t> keep = wanted();
    std::erase_if(places_, [&](const auto& entry) {
        return entry.second->done && !keep.contains(entry.first);
    });
    work_to_do_.notify_all();
}

std::shared_ptr<const OpenShard> ShardWindow::get(size_t shard, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    auto& found = places_[shard];
    if (!found) {
        found = std::make_shared<Place>();
        asked_.push_back(shard);
        work_to_do_.notify_all();
    }
    const std::shared_ptr<Place> place = found;
    if (!opened_.wait(lock, stop, [&] { return place->done; })) {
        throw FetchError(names_[shard] + ": not waited for");
    }
    if (place->failure) {
        std::rethrow_exception(place->failure);
    }
    return place->opened;
}

/// What each thread does until the end.
void ShardWindow::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        std::optional<size_t> shard;
        if (!work_to_do_.wait(lock, stop_.get_token(),
                              [&] { return (shard = next_to_open()).has_value(); })) {
            return;
        }
        const std::shared_ptr<Place> place = places_.at(*shard);
        lock.unlock();
        try {
            place->opened = open(*shard);
        } catch (const std::exception& error) {  // handed to who asks for the shard
            place->failure = std::make_exception_ptr(FetchError(error.what()));
        }
        lock.lock();
        place->done = true;
        opened_.notify_all();
    }
}

/// Under the lock: what was asked for, else what comes next.
std::optional<size_t> ShardWindow::next_to_open() {
    if (!asked_.empty()) {
        const size_t shard = asked_.front();
        asked_.pop_front();
        return shard;
    }
    for (int64_t ordinal = front_; front_ >= 0 && ordinal <= front_ + ahead_; ++ordinal) {
        const size_t shard = shard_at_(ordinal);
        if (!places_.contains(shard)) {
            places_[shard] = std::make_shared<Place>();
            return shard;
        }
    }
    return std::nullopt;
}

/// Throws Error if it cannot be had: what cannot be fetched today may be there tomorrow, and a run
/// is not to depend on that. One that is there and cannot be read is left out.
std::shared_ptr<const OpenShard> ShardWindow::open(size_t shard) const {
    const std::string& name = names_[shard];
    auto opened = std::make_shared<OpenShard>();
    WebDatasetSettings settings = settings_;
    settings.path = name;
    settings.first_row = static_cast<int64_t>(shard) << kShardRowBits;
    if (is_remote(name)) {
        do {  // another process may take the file out of the cache
            settings.path = fetch_shard(name, settings_.remote).string();
            opened->lease.emplace(settings.path);
        } while (!opened->lease->held());
    }
    try {
        opened->rows = std::make_unique<WebDataset>(settings);
    } catch (const Error& error) {
        log::warning("{}: left out: {}", name, error.what());
    }
    return opened;
}

/// Under the lock: what is read or comes soon. Readers may be a little behind.
std::unordered_set<size_t> ShardWindow::wanted() const {
    std::unordered_set<size_t> shards(asked_.begin(), asked_.end());
    for (int64_t ordinal = std::max<int64_t>(front_ - ahead_, 0); ordinal <= front_ + ahead_;
         ++ordinal) {
        shards.insert(shard_at_(ordinal));
    }
    return shards;
}

/// Takes one shard out of the cache and returns its bytes; 0: all that are there come soon.
uint64_t ShardWindow::evict_one() {
    std::vector<size_t> by_next_use;
    {
        const std::lock_guard lock(mutex_);
        std::unordered_set<size_t> seen = wanted();
        for (const auto& [shard, place] : places_) {
            seen.insert(shard);
        }
        const auto count = std::ssize(names_);
        for (int64_t n = 1; n <= 2 * count && std::ssize(seen) < count; ++n) {  // two epochs: all
            const size_t shard = shard_at_(std::max<int64_t>(front_, 0) + ahead_ + n);
            if (seen.insert(shard).second) {
                by_next_use.push_back(shard);
            }
        }
    }
    for (auto shard = by_next_use.rbegin(); shard != by_next_use.rend(); ++shard) {
        const std::string& name = names_[*shard];
        const uint64_t freed =
            is_remote(name) ? evict_cached(cached_path(name, settings_.remote)) : 0;
        if (freed > 0) {
            return freed;
        }
    }
    return 0;
}

}  // namespace flux::data
