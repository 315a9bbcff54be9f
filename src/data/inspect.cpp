#include "flux/data/inspect.h"

#include <algorithm>
#include <filesystem>

#include "data/brace_expand.h"
#include "data/inspect_finding.h"
#include "data/path_list.h"
#include "data/shard_names.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/data/image_decode.h"
#include "flux/data/image_transform.h"
#include "flux/data/object_store.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr size_t kFirstKeys = 5;
constexpr int kColumns = 8;

Image thumbnail_of(const Raster& raster) {
    const ResizePlan plan = plan_resize(raster.width, raster.height, kThumbnailSide);
    return to_cropped_rgb(raster, kThumbnailSide,
                          {(plan.width - kThumbnailSide) / 2, (plan.height - kThumbnailSide) / 2});
}

template <class Key>
std::string counts_text(const std::map<Key, int64_t>& counts) {
    std::string text;
    for (const auto& [key, count] : counts) {
        text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, count);
    }
    return text.empty() ? "none" : text;
}

std::string encodings_text(const Inspection& inspection) {
    const EncodingShape& shape = *inspection.encodings;
    const auto figures = [](const ValueStats& stats) {
        return fmt::format("mean {:.4f}, deviation {:.4f}, {:.4g} to {:.4g}", stats.mean,
                           stats.deviation, stats.smallest, stats.largest);
    };
    return fmt::format(
        "t5         [{}, {}]\nclip       [{}]\nlatents    [{}, {}, {}]; {}\nlogvar     {}\n",
        shape.text_tokens, shape.text_width, shape.pooled_width, shape.channels, shape.height,
        shape.width, figures(inspection.latents), figures(inspection.logvar));
}

bool is_table_name(const fs::path& path) {
    return path.extension() == ".arrow" || path.extension() == ".parquet";
}

bool has_table(const fs::path& folder) {
    const auto is_saved = [](const fs::path& path) {
        return is_existing_path(path / "state.json");
    };
    const std::vector<fs::path> entries = list_folder(folder);
    return is_saved(folder) || std::any_of(entries.begin(), entries.end(), [&](const auto& entry) {
               std::error_code broken_link;
               return is_table_name(entry) ||
                      (fs::is_directory(entry, broken_link) && is_saved(entry));
           });
}

bool has_shards(const fs::path& folder) {
    const std::vector<fs::path> entries = list_folder(folder);
    return std::any_of(entries.begin(), entries.end(),
                       [](const auto& entry) { return is_shard_name(entry.filename().string()); });
}

std::string pictures_text(const Inspection& inspection) {
    if (inspection.modes.empty()) {
        return "pictures   none\n";
    }
    return fmt::format("pictures   {}; sides of {} to {} pixels\n", counts_text(inspection.modes),
                       inspection.smallest_side, inspection.largest_side);
}

std::string captions_text(const Inspection& inspection) {
    if (inspection.captions == 0) {
        return "captions   none\n";
    }
    const std::string blank = inspection.blank_captions == 0
                                  ? ""
                                  : fmt::format("; {} empty or blank, the first that of {}",
                                                inspection.blank_captions, inspection.first_blank);
    return fmt::format("captions   {}; {} to {} bytes{}\n", inspection.captions,
                       inspection.shortest_caption, inspection.longest_caption, blank);
}

void add_caption(const Finding& finding, Inspection& result) {
    const std::string& caption = *finding.caption;
    result.shortest_caption =
        result.captions++ == 0 ? caption.size() : std::min(result.shortest_caption, caption.size());
    result.longest_caption = std::max(result.longest_caption, caption.size());
    if (caption.find_first_not_of(" \t\r\n\v\f") == std::string::npos &&
        result.blank_captions++ == 0) {
        result.first_blank = finding.key;
    }
}

/// One of the items, or all.
bool names_remote(const std::string& path) {
    const std::vector<std::string> items = split_list(path);
    return std::any_of(items.begin(), items.end(), is_remote);
}

}  // namespace

void look_at_picture(std::span<const uint8_t> file, bool with_thumbnail, Finding& finding) {
    const Raster raster = decode_image(file, kMaxImagePixels);  // as sample_picture() does
    finding.width = raster.width;
    finding.height = raster.height;
    finding.mode = mode_name(raster.mode);
    if (with_thumbnail) {
        finding.thumbnail = thumbnail_of(raster);
    }
}

void add_finding(Finding& finding, Inspection& result) {
    if (result.first_keys.size() < kFirstKeys) {
        result.first_keys.push_back(finding.key);
    }
    ++result.samples;
    if (finding.problem.empty()) {
        ++result.usable;
    } else {
        result.problems.push_back(finding.problem);
    }
    if (finding.width > 0) {
        const auto [small, large] = std::minmax(finding.width, finding.height);
        const bool first = result.modes.empty();
        result.smallest_side = first ? small : std::min(result.smallest_side, small);
        result.largest_side = std::max(result.largest_side, large);
        ++result.modes[finding.mode];
    }
    if (finding.caption) {
        add_caption(finding, result);
    }
    if (finding.timestep >= 0) {
        ++result.timesteps[finding.timestep];
    }
    if (finding.thumbnail.width > 0) {
        result.thumbnails.push_back(std::move(finding.thumbnail));
    }
}

Inspection inspect(const std::string& path, int threads, size_t thumbnails,
                   const RemoteSettings& remote) {
    if (names_remote(path)) {
        return inspect_tar(path, threads, thumbnails, remote);
    }
    const fs::path first = expand_path_list(path,
                                            "give tar shards, a save_to_disk folder, Parquet files "
                                            "or a folder of pictures")
                               .front();
    if (fs::is_directory(first) ? has_table(first) : is_table_name(first)) {
        return inspect_table(path, threads, thumbnails);
    }
    if (fs::is_directory(first) && !has_shards(first)) {
        return inspect_image_folder(path, threads, thumbnails);
    }
    return inspect_tar(path, threads, thumbnails, remote);
}

std::string inspection_text(const Inspection& inspection) {
    const Inspection& i = inspection;
    std::string keys;
    for (const std::string& key : i.first_keys) {
        keys += (keys.empty() ? "" : ", ") + key;
    }
    std::string text = fmt::format("kind       {}\nfiles      {}\nsamples    {}\nusable     {}\n",
                                   i.kind, i.files, i.samples, i.usable);
    if (!i.extensions.empty()) {
        text += fmt::format("members    {}\n", counts_text(i.extensions));
    }
    text += fmt::format("keys       {}{}\n", keys.empty() ? "none" : keys,
                        i.samples > std::ssize(i.first_keys) ? ", ..." : "");
    text += i.encodings ? encodings_text(i) : pictures_text(i) + captions_text(i);
    text +=
        fmt::format("timesteps  {}\nproblems   {}\n", counts_text(i.timesteps), i.problems.size());
    for (const std::string& problem : i.problems) {
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
