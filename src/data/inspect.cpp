#include "flux/data/inspect.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/parallel_for.h"
#include "data/shard_index.h"
#include "flux/base/utf8.h"
#include "flux/data/image_transform.h"
#include "flux/data/webdataset.h"

namespace flux::data {
namespace {

constexpr int64_t kMaxImagePixels = 178'956'970;
constexpr size_t kFirstKeys = 5;
constexpr int kColumns = 8;

/// What one sample tells.
struct Finding {
    int width = 0, height = 0;
    std::string mode, caption, problem;
    int64_t timestep = -1;
    Image thumbnail;
};

Image thumbnail_of(const Raster& raster) {
    const ResizePlan plan = plan_resize(raster.width, raster.height, kThumbnailSide);
    return to_square_rgb(raster, kThumbnailSide,
                         {(plan.width - kThumbnailSide) / 2, (plan.height - kThumbnailSide) / 2});
}

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
    Finding finding;
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
        const Raster raster =
            decode_image(read_member<std::vector<uint8_t>>(reader, picture->offset, picture->size,
                                                           kMaxPictureBytes),
                         {.max_pixels = kMaxImagePixels, .accept_truncated = false});
        finding.width = raster.width;
        finding.height = raster.height;
        finding.mode = mode_name(raster.mode);
        if (with_thumbnail) {
            finding.thumbnail = thumbnail_of(raster);
        }
        if (sample.member("txt") == nullptr && finding.caption.empty()) {
            fail("has no caption");
        }
    } catch (const Error& error) {
        finding.problem = error.what();
    }
    return finding;
}

void add(const IndexedSample& sample, Finding& finding, const std::string& shard,
         Inspection& result) {
    if (result.first_keys.size() < kFirstKeys) {
        result.first_keys.push_back(sample.key);
    }
    ++result.samples;
    for (const IndexedMember& member : sample.members) {
        ++result.extensions[member.extension];
    }
    if (!finding.problem.empty()) {
        result.problems.push_back(fmt::format("{}: {}: {}", shard, sample.key, finding.problem));
    }
    if (finding.width > 0) {
        const auto [small, large] = std::minmax(finding.width, finding.height);
        const bool first = result.modes.empty();
        result.smallest_side = first ? small : std::min(result.smallest_side, small);
        result.largest_side = std::max(result.largest_side, large);
        ++result.modes[finding.mode];
    }
    if (!finding.caption.empty()) {
        const size_t size = finding.caption.size();
        result.shortest_caption =
            result.captions++ == 0 ? size : std::min(result.shortest_caption, size);
        result.longest_caption = std::max(result.longest_caption, size);
    }
    if (finding.timestep >= 0) {
        ++result.timesteps[finding.timestep];
    }
    if (finding.thumbnail.width > 0) {
        result.thumbnails.push_back(std::move(finding.thumbnail));
    }
}

template <class Key>
std::string counts_text(const std::map<Key, int64_t>& counts) {
    std::string text;
    for (const auto& [key, count] : counts) {
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, count);
    }
    return text.empty() ? "none" : text;
}

}  // namespace

Inspection inspect_tar(const std::string& path, int threads, size_t thumbnails) {
    Inspection result;
    ShardCache cache{ShardLimits{}};
    for (const std::filesystem::path& file : find_shards(path)) {
        ++result.shards;
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
            add(samples[i], findings[i], file.string(), result);
        }
    }
    return result;
}

std::string inspection_text(const Inspection& inspection) {
    std::string keys;
    for (const std::string& key : inspection.first_keys) {
        keys += (keys.empty() ? "" : ", ") + key;
    }
    std::string text = fmt::format(
        "kind       tar shards\nshards     {}\nsamples    {}\nmembers    {}\nkeys       {}{}\n"
        "pictures   {}; sides of {} to {} pixels\ncaptions   {}; {} to {} bytes\ntimesteps  {}\n"
        "problems   {}\n",
        inspection.shards, inspection.samples, counts_text(inspection.extensions), keys,
        inspection.samples > std::ssize(inspection.first_keys) ? ", ..." : "",
        counts_text(inspection.modes), inspection.smallest_side, inspection.largest_side,
        inspection.captions, inspection.shortest_caption, inspection.longest_caption,
        counts_text(inspection.timesteps), inspection.problems.size());
    for (const std::string& problem : inspection.problems) {
        text += "  " + problem + "\n";
    }
    return text;
}

Image contact_sheet(const std::vector<Image>& pictures) {
    const int count = static_cast<int>(pictures.size());
    const int columns = std::min(count, kColumns);
    const int rows = (count + kColumns - 1) / kColumns;
    Image sheet{columns * kThumbnailSide, rows * kThumbnailSide, {}};
    sheet.rgb.assign(size_t(sheet.width) * sheet.height * 3, 255);
    const size_t row_bytes = size_t{3} * kThumbnailSide;
    for (int i = 0; i < count; ++i) {
        for (int y = 0; y < kThumbnailSide; ++y) {
            const size_t line = size_t(i / kColumns) * kThumbnailSide + y;
            std::copy_n(pictures[static_cast<size_t>(i)].rgb.begin() +
                            static_cast<ptrdiff_t>(row_bytes * y),
                        row_bytes,
                        sheet.rgb.begin() +
                            static_cast<ptrdiff_t>((line * columns + i % kColumns) * row_bytes));
        }
    }
    return sheet;
}

}  // namespace flux::data
