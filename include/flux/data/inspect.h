// What lies in a set of tar shards, for people who are about to train on it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "flux/data/sample.h"

namespace flux::data {

struct Inspection {
    int64_t shards = 0;
    int64_t samples = 0;
    std::map<std::string, int64_t> extensions;         // of members -> samples that have one
    std::map<std::string, int64_t> modes;              // "RGB" -> pictures
    std::map<int64_t, int64_t> timesteps;              // -> samples
    int smallest_side = 0, largest_side = 0;           // over all readable pictures
    size_t shortest_caption = 0, longest_caption = 0;  // in bytes
    int64_t captions = 0;
    std::vector<std::string> problems;  // one line for each bad sample or shard
    std::vector<std::string> first_keys;
    std::vector<Image> thumbnails;  // of the first pictures, as many as asked for
};

/// Reads every sample of the tar shards that `path` names. Bad ones are listed, not refused.
Inspection inspect_tar(const std::string& path, int threads, size_t thumbnails);

/// The lines that `data inspect` prints.
std::string inspection_text(const Inspection& inspection);

inline constexpr int kThumbnailSide = 128;

/// Square pictures of kThumbnailSide, eight in a row.
Image contact_sheet(const std::vector<Image>& pictures);

}  // namespace flux::data
