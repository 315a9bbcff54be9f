// What lies in a data set of any kind, for people who are about to train on it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "flux/data/object_store.h"
#include "flux/data/sample.h"

namespace flux::data {

/// Of all values of an array, over all samples.
struct ValueStats {
    double mean = 0, deviation = 0;
    float smallest = 0, largest = 0;
};

struct Inspection {
    std::string kind{};  // "tar shards"
    int64_t files = 0;
    int64_t samples = 0;
    int64_t usable = 0;                           // training takes these, the others it replaces
    std::map<std::string, int64_t> extensions{};  // of tar members -> samples that have one
    std::map<std::string, int64_t> modes{};       // "RGB" -> pictures
    std::map<int64_t, int64_t> timesteps{};       // -> samples
    int smallest_side = 0, largest_side = 0;      // over all readable pictures
    size_t shortest_caption = 0, longest_caption = 0;  // in bytes
    int64_t captions = 0;
    int64_t blank_captions = 0;                // of these; training takes them
    std::string first_blank{};                 // the key of one
    std::optional<EncodingShape> encodings{};  // of a set that holds no pictures, like the next
    ValueStats latents{}, logvar{};
    std::vector<std::string> problems{};  // one line for each bad sample or shard
    std::vector<std::string> first_keys{};
    std::vector<Image> thumbnails{};  // of the first pictures, as many as asked for
};

/// Reads every sample of what `path` names: tar shards, save_to_disk folders or Parquet files of
/// pictures or encodings, or folders of pictures. Bad ones are listed, not refused. `remote`: for
/// tar shards that are not local.
Inspection inspect(const std::string& path, int threads, size_t thumbnails,
                   const RemoteSettings& remote = {});

/// The lines that `data inspect` prints.
std::string inspection_text(const Inspection& inspection);

inline constexpr int kThumbnailSide = 128;

/// Square pictures of kThumbnailSide, eight in a row.
Image contact_sheet(const std::vector<Image>& pictures);

}  // namespace flux::data
