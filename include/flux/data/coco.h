// The COCO validation set as tar shards with fixed timesteps: which captions, in which order and
// which pixels follow the reference's script, so that its official set of 29,696 samples comes out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace flux::data {

struct CocoSettings {
    std::filesystem::path input_images_dir{};     // holds COCO_val2014_<12 digits>.jpg
    std::filesystem::path input_captions_file{};  // COCO's JSON: "annotations" with image_id, id,
                                                  // caption
    std::filesystem::path output_dir{};           // of shard_00000.tar, ...
    std::filesystem::path output_tsv_file{};      // the chosen annotations
    int64_t num_samples = 29'696;
    int64_t samples_per_shard = 1000;
    uint32_t seed = 2023;
    int width = 256;
    int height = 256;
    int num_workers = 8;
    bool allow_duplicate_images = false;
};

/// One chosen annotation.
struct CocoSample {
    int64_t image_id = 0;
    int64_t id = 0;
    std::string caption;
    int64_t timestep = 0;
};

struct CocoResult {
    int64_t samples = 0;  // chosen, all in the TSV file
    int64_t written = 0;  // in the shards: those whose picture could be read
    int64_t shards = 0;
};

/// The chosen annotations in the order of the shards: shuffled, the first of each image, the first
/// num_samples, sorted by id, timestep = position % 8. Throws Error if their number is no multiple
/// of 8.
std::vector<CocoSample> select_coco(const CocoSettings& settings);

/// Writes TSV file and shards. A picture that cannot be read is named in a warning and left out of
/// the shards. Throws Error before anything is written if the output exists or the input is wrong,
/// and leaves nothing behind whenever it throws.
CocoResult write_coco(const CocoSettings& settings);

}  // namespace flux::data
