#include "data/shard_index.h"

#include <atomic>

#include "data/index_file.h"
#include "flux/base/file.h"
#include "flux/base/hash.h"
#include "flux/base/log.h"
#include "flux/base/parallel_for.h"
#include "flux/base/progress.h"
#include "flux/base/storage_error.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr size_t kWorthKeeping = 128;  // samples: fewer are scanned within milliseconds

IndexedShard scan(const fs::path& path, ShardCache& cache) {
    IndexedShard result;
    try {
        result.shard.emplace(path, cache.limits().unpacked_bytes);
    } catch (const Error& error) {
        result.error = error.what();
        return result;
    }
    try {
        result.index = index_tar(*cache.open(*result.shard));
    } catch (const StorageError& error) {
        fail_storage("{}; start again when the storage answers, or take the shard out of the path",
                     error.what());
    } catch (const Error& error) {
        result.error = error.what();
    }
    return result;
}

/// Where the indexes of earlier starts lie.
class IndexStore {
public:
    explicit IndexStore(fs::path folder) : folder_(std::move(folder)) {}

    std::optional<IndexedShard> find(const fs::path& shard, const FileStamp& stamp) const {
        for (const fs::path& file : {beside(shard), in_folder(shard)}) {
            if (auto stored = read_index_file(file, shard, stamp)) {
                return IndexedShard{std::move(stored->shard), std::move(stored->index), {}};
            }
        }
        return std::nullopt;
    }

    void keep(const IndexedShard& indexed, const FileStamp& stamp) {
        const fs::path& shard = indexed.shard->path();
        try {
            write_index_file(beside(shard), *indexed.shard, indexed.index, stamp);
            return;
        } catch (const Error&) {  // a folder that is only read from
        }
        try {
            make_writable_folder(folder_, "choose another with --job.dump_folder");
            write_index_file(in_folder(shard), *indexed.shard, indexed.index, stamp);
        } catch (const Error& error) {
            if (!warned_.exchange(true)) {
                log::warning("{}; shards are scanned again at the next start", error.what());
            }
        }
    }

private:
    static fs::path beside(const fs::path& shard) {
        return shard.parent_path() / fmt::format(".{}.index", shard.filename().string());
    }
    fs::path in_folder(const fs::path& shard) const {
        const std::string place = fs::absolute(shard).string();
        return folder_ / fmt::format("{:016x}.{}.index", fnv1a(place), shard.filename().string());
    }

    fs::path folder_;
    std::atomic<bool> warned_{false};
};

IndexedShard find_or_scan(const fs::path& path, ShardCache& cache, IndexStore& store) {
    FileStamp stamp;
    try {
        stamp = stamp_of(path);  // before the scan: what changes under way is scanned again
    } catch (const Error& error) {
        return {std::nullopt, {}, error.what()};
    }
    if (auto found = store.find(path, stamp)) {
        try {
            cache.check_fits(*found->shard);
        } catch (const Error& error) {
            return {std::nullopt, {}, error.what()};
        }
        return std::move(*found);
    }
    IndexedShard scanned = scan(path, cache);
    if (scanned.error.empty() && scanned.index.samples.size() >= kWorthKeeping) {
        store.keep(scanned, stamp);
    }
    return scanned;
}

}  // namespace

std::vector<IndexedShard> index_shards(std::span<const fs::path> paths, ShardCache& cache,
                                       int threads, const fs::path& index_folder) {
    std::vector<IndexedShard> results(paths.size());
    if (index_folder.empty()) {
        parallel_for(std::ssize(paths), threads, [&](int64_t i) {
            const auto place = static_cast<size_t>(i);
            results[place] = scan(paths[place], cache);
        });
        return results;
    }
    IndexStore store(index_folder);
    Progress progress({.label = "index", .unit = "shards", .total = std::ssize(paths)});
    std::atomic<int64_t> done{0};
    parallel_for(std::ssize(paths), threads, [&](int64_t i) {
        const auto place = static_cast<size_t>(i);
        results[place] = find_or_scan(paths[place], cache, store);
        progress.update(++done);
    });
    progress.finish();
    return results;
}

}  // namespace flux::data
