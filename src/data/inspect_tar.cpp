// The part of `data inspect` for tar shards.
#include <algorithm>
#include <atomic>

#include "data/inspect_finding.h"
#include "data/shard_index.h"
#include "flux/base/error.h"
#include "flux/base/parallel_for.h"
#include "flux/base/progress.h"
#include "flux/data/tar_sample.h"
#include "flux/data/webdataset.h"

namespace flux::data {
namespace {

Finding look_at(const IndexedSample& sample, const ShardReader& reader, bool with_thumbnail) {
    Finding finding{.key = sample.key};
    try {
        const TarSample parts = parts_of(sample);
        const std::string problem = problem_of(sample);
        if (problem.empty()) {
            finding.caption = read_caption(parts, reader);
            finding.timestep = read_timestep(parts, reader);
        }
        if (sample.problem.empty() && parts.picture.present()) {  // shown without caption, too
            look_at_picture(read_picture(parts, reader), with_thumbnail, finding);
        }
        if (!problem.empty()) {
            fail("{}", problem);
        }
    } catch (const Error& error) {
        finding.problem =
            fmt::format("{}: {}: {}", reader.shard().path().string(), sample.key, error.what());
    }
    return finding;
}

}  // namespace

Inspection inspect_tar(const std::string& path, int threads, size_t thumbnails,
                       const RemoteSettings& remote) {
    Inspection result{.kind = "tar shards"};
    ShardCache cache{ShardLimits{}};
    const std::vector<std::filesystem::path> files = find_shards(path, remote);
    Progress progress({.label = "inspect", .unit = "shards", .total = std::ssize(files)});
    std::atomic<int64_t> pictures{0};
    for (const std::filesystem::path& file : files) {
        progress.update(result.files++);
        IndexedShard shard = index_shards({&file, 1}, cache, 1).front();
        if (!shard.error.empty()) {
            result.problems.push_back(shard.error);
            continue;
        }
        const std::vector<IndexedSample>& samples = shard.index.samples;
        const size_t missing = thumbnails - std::min(thumbnails, result.thumbnails.size());
        std::vector<Finding> findings(samples.size());
        const auto reader = cache.open(*shard.shard);
        parallel_for(std::ssize(samples), threads, [&](int64_t i) {
            const auto place = static_cast<size_t>(i);
            findings[place] = look_at(samples[place], *reader, place < missing);
            progress.update(result.files - 1, fmt::format("{} pictures", ++pictures));
        });
        for (size_t i = 0; i < samples.size(); ++i) {
            for (const IndexedMember& member : samples[i].members) {
                ++result.extensions[member.extension];
            }
            add_finding(findings[i], result);
        }
    }
    progress.update(result.files);
    return result;
}

}  // namespace flux::data
