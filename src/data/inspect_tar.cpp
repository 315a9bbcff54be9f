// The part of `data inspect` for tar shards.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/inspect_finding.h"
#include "data/limits.h"
#include "data/parallel_for.h"
#include "data/shard_index.h"
#include "flux/base/utf8.h"
#include "flux/data/webdataset.h"

namespace flux::data {
namespace {

void read_json(const std::string& text, Finding& finding) {
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object()) {
        fail("the .json member is not valid");
    }
    if (json.contains("timestep") && json.at("timestep").is_number_integer()) {
        finding.timestep = json.at("timestep").get<int64_t>();
    }
    if (finding.caption.empty() && json.contains("caption") && json.at("caption").is_string()) {
        finding.caption = json.at("caption").get<std::string>();
    }
}

Finding look_at(const IndexedSample& sample, const ShardReader& reader, bool with_thumbnail) {
    Finding finding{.key = sample.key};
    try {
        if (!sample.problem.empty()) {
            fail("{}", sample.problem);
        }
        const auto text_of = [&](const char* extension) {
            const IndexedMember* member = sample.member(extension);
            return member == nullptr ? std::string()
                                     : read_member<std::string>(reader, member->offset,
                                                                member->size, kMaxTextBytes);
        };
        finding.caption = text_of("txt");
        if (first_invalid_utf8(finding.caption)) {
            fail("the .txt member is not UTF-8");
        }
        if (sample.member("json") != nullptr) {
            read_json(text_of("json"), finding);
        }
        const IndexedMember* picture = sample.picture_member();
        if (picture == nullptr) {
            fail("has no picture");
        }
        look_at_picture(read_member<std::vector<uint8_t>>(reader, picture->offset, picture->size,
                                                          kMaxPictureBytes),
                        with_thumbnail, finding);
        if (sample.member("txt") == nullptr && finding.caption.empty()) {
            fail("has no caption");
        }
    } catch (const Error& error) {
        finding.problem =
            fmt::format("{}: {}: {}", reader.shard().path().string(), sample.key, error.what());
    }
    return finding;
}

}  // namespace

Inspection inspect_tar(const std::string& path, int threads, size_t thumbnails) {
    Inspection result{.kind = "tar shards"};
    ShardCache cache{ShardLimits{}};
    for (const std::filesystem::path& file : find_shards(path)) {
        ++result.files;
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
        });
        for (size_t i = 0; i < samples.size(); ++i) {
            for (const IndexedMember& member : samples[i].members) {
                ++result.extensions[member.extension];
            }
            add_finding(findings[i], result);
        }
    }
    return result;
}

}  // namespace flux::data
