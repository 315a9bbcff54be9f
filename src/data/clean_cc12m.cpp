#include "flux/data/clean_cc12m.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "data/limits.h"
#include "data/raster_png.h"
#include "data/shard_index.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/parallel_for.h"
#include "flux/base/progress.h"
#include "flux/data/image_decode.h"
#include "flux/data/image_resize.h"
#include "flux/data/image_transform.h"
#include "flux/data/webdataset.h"

namespace flux::data {
namespace {

constexpr std::string_view kRemedy =
    "list the row in the filter file (`flux_train data find-problematic` finds such rows)";

struct Walk {
    std::string label;  // of the progress
    const std::string& input_dir;
    const RemoteSettings& remote;
    int threads = 1;
};

/// Fetches and indexes a folder's shards in name order, some at a time, until visit() returns
/// false: an index of all of CC12M would take gigabytes.
void each_shard(const Walk& walk, ShardCache& cache,
                const std::function<bool(IndexedShard&, const std::string&)>& visit) {
    const std::vector<std::string> names = name_shards(walk.input_dir, walk.remote);
    const size_t chunk = 4 * static_cast<size_t>(std::max(walk.threads, 1));
    Progress progress({.label = walk.label, .unit = "shards", .total = std::ssize(names)});
    for (size_t first = 0; first < names.size(); first += chunk) {
        const auto part = std::span(names).subspan(first, std::min(chunk, names.size() - first));
        std::vector<IndexedShard> indexed =
            index_shards(bring_shards(part, walk.remote), cache, walk.threads);
        for (size_t i = 0; i < indexed.size(); ++i) {
            if (!indexed[i].error.empty()) {  // row numbers would shift without it
                fail("{}; repair or remove the shard", indexed[i].error);
            }
            if (!visit(indexed[i], part[i])) {
                return;
            }
            progress.update(static_cast<int64_t>(first + i + 1));
        }
    }
    progress.finish();
}

/// The picture of a row as the reference reads it: upright, and whole.
Raster decode_strictly(std::span<const uint8_t> file) {
    return decode_image(file, {.max_pixels = kMaxToolPixels, .accept_truncated = false});
}

std::vector<uint8_t> read_picture(const IndexedSample& sample, const ShardReader& reader) {
    const IndexedMember* member = sample.picture_member();
    if (!sample.problem.empty() || member == nullptr) {
        fail("{}", sample.problem.empty() ? "has no picture" : sample.problem);
    }
    return read_member<std::vector<uint8_t>>(reader, member->offset, member->size,
                                             kMaxPictureBytes);
}

std::string read_text(const IndexedSample& sample, std::string_view extension,
                      const ShardReader& reader) {
    const IndexedMember* member = sample.member(extension);
    return member == nullptr
               ? std::string()
               : read_member<std::string>(reader, member->offset, member->size, kMaxTextBytes);
}

/// Shorter side to `side`, the longer rounded down; then the middle, where a half offset rounds to
/// the even number.
Raster square_of(const Raster& picture, int side) {
    const auto longer = [&](int longer_size, int shorter_size) {
        return static_cast<int>(int64_t{side} * longer_size / shorter_size);
    };
    const bool wide = picture.width >= picture.height;
    const int width = wide ? longer(picture.width, picture.height) : side;
    const int height = wide ? side : longer(picture.height, picture.width);
    const auto middle = [&](int size) {
        return static_cast<int>(std::nearbyint((size - side) / 2.0));
    };
    Raster square = resize(picture, width, height, {middle(width), middle(height), side, side});
    if (square.mode != Mode::kCmyk) {
        return square;
    }
    return {side, side, Mode::kRgb, to_rgb(std::move(square)).rgb, {}};  // PNG has no CMYK
}

}  // namespace

CleanCc12m::CleanCc12m(const CleanSettings& settings) : settings_(settings), cache_(ShardLimits{}) {
    if (settings_.output_size < 1 || settings_.subset_size < 1 || settings_.num_workers < 1) {
        fail_config("output_size {}, subset_size {}, num_workers {}: all must be >= 1",
                    settings_.output_size, settings_.subset_size, settings_.num_workers);
    }
    std::sort(settings_.left_out.begin(), settings_.left_out.end());
    each_shard({"index", settings_.input_dir, settings_.remote, settings_.num_workers}, cache_,
               [&](IndexedShard& shard, const std::string& name) {
                   shards_.push_back(std::move(*shard.shard));
                   names_.push_back(name);
                   for (const IndexedSample& sample : shard.index.samples) {
                       choose(sample, shards_.size() - 1);
                   }
                   return size() < settings_.subset_size;
               });
    if (size() < settings_.subset_size) {
        fail("{}: {} of {} rows remain, fewer than --subset_size {}", settings_.input_dir, size(),
             seen_, settings_.subset_size);
    }
}

void CleanCc12m::choose(const IndexedSample& sample, size_t shard) {
    const int64_t index = seen_++;
    if (size() == settings_.subset_size ||
        std::binary_search(settings_.left_out.begin(), settings_.left_out.end(), index)) {
        return;
    }
    Row row{index, shard, sample};
    if (!sample.problem.empty() || !sample.picture) {
        fail("{}: {}: {}", describe(row),
             sample.problem.empty() ? "has no readable picture" : sample.problem, kRemedy);
    }
    if (std::min(sample.picture->width, sample.picture->height) >= settings_.output_size) {
        rows_.push_back(std::move(row));
    }
}

std::string CleanCc12m::describe(const Row& row) const {
    return fmt::format("{}: {} (row {})", names_[row.shard], row.sample.key, row.index);
}

CleanRow CleanCc12m::read(int64_t row_number) const {
    const Row& row = rows_.at(static_cast<size_t>(row_number));
    try {
        CleanRow clean;
        clean.key = row.sample.key;
        clean.url = names_[row.shard];
        {
            const auto reader = cache_.open(shards_[row.shard]);
            clean.jpg = read_picture(row.sample, *reader);
            clean.json = read_text(row.sample, "json", *reader);
            clean.txt = read_text(row.sample, "txt", *reader);
        }
        clean.png = encode_png(square_of(decode_strictly(clean.jpg), settings_.output_size));
        return clean;
    } catch (const Error& error) {
        fail("{}: {}: {}", describe(row), error.what(), kRemedy);
    }
}

std::vector<int64_t> read_row_numbers(const std::filesystem::path& path) {
    const std::string text = flux::read_text(path);
    std::vector<int64_t> numbers;
    int64_t line_number = 0;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        std::string_view line = std::string_view(text).substr(begin, end - begin);
        begin = end + 1;
        ++line_number;
        const size_t first = line.find_first_not_of(" \t\r");
        if (first == std::string_view::npos) {
            continue;
        }
        line = line.substr(first, line.find_last_not_of(" \t\r") + 1 - first);
        int64_t number = -1;
        const auto [after, problem] =
            std::from_chars(line.data(), line.data() + line.size(), number);
        if (problem != std::errc() || after != line.data() + line.size() || number < 0) {
            fail("{}:{}: \"{}\": must be a row number from 0 on", path.string(), line_number, line);
        }
        numbers.push_back(number);
    }
    return numbers;
}

std::vector<ProblematicRow> find_problematic(const std::string& input_dir, int num_workers,
                                             const RemoteSettings& remote) {
    ShardCache cache{ShardLimits{}};
    std::vector<ProblematicRow> found;
    int64_t first_row = 0;
    const auto look_through = [&](IndexedShard& shard, const std::string& name) {
        const std::vector<IndexedSample>& samples = shard.index.samples;
        std::vector<std::string> problems(samples.size());
        const auto reader = cache.open(*shard.shard);
        parallel_for(std::ssize(samples), num_workers, [&](int64_t i) {
            const auto place = static_cast<size_t>(i);
            try {
                decode_strictly(read_picture(samples[place], *reader));
            } catch (const Error& error) {
                problems[place] = error.what();
            }
        });
        for (size_t i = 0; i < problems.size(); ++i) {
            if (!problems[i].empty()) {
                found.push_back({first_row + static_cast<int64_t>(i),
                                 fmt::format("{}: {}: {}", name, samples[i].key, problems[i])});
            }
        }
        first_row += std::ssize(samples);
        return true;
    };
    each_shard({"decode", input_dir, remote, num_workers}, cache, look_through);
    return found;
}

}  // namespace flux::data
