#include "data/shard_index.h"

#include "data/parallel_for.h"

namespace flux::data {
namespace {

IndexedShard index_shard(const std::filesystem::path& path, ShardCache& cache) {
    IndexedShard result;
    try {
        result.shard.emplace(path);
    } catch (const Error& error) {
        result.error = error.what();
        return result;
    }
    cache.check_fits(*result.shard);  // if not, the user can help: the run must not begin without
    try {
        result.index = index_tar(*cache.open(*result.shard));
    } catch (const Error& error) {
        result.error = error.what();
    }
    return result;
}

}  // namespace

std::vector<IndexedShard> index_shards(std::span<const std::filesystem::path> paths,
                                       ShardCache& cache, int threads) {
    std::vector<IndexedShard> results(paths.size());
    parallel_for(std::ssize(paths), threads, [&](int64_t i) {
        results[static_cast<size_t>(i)] = index_shard(paths[static_cast<size_t>(i)], cache);
    });
    return results;
}

}  // namespace flux::data
