// Data sets by name: the reference's names with their default paths under /dataset; one name for
// each kind of storage (webdataset, image_folder, picture_table, preprocessed), which takes any
// path; and the built-in `shapes`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "flux/data/dataset.h"
#include "flux/data/object_store.h"

namespace flux::data {

struct DatasetSettings {
    std::string option = "training.dataset";  // what `name` was given by, for messages
    std::string name{};                       // one that make_dataset() knows
    std::string path{};  // folder, file, glob, range in braces, URL or comma list of these; empty:
                         // the default of the name
    int img_size = 256;
    uint64_t seed = 0;             // of the crops, and of the drawn shapes
    int64_t subset_size = 0;       // > 0: only so many samples from the start of the data set
    bool by_shards = false;        // training.shuffle = shards: for tar shards only
    BucketSettings buckets{};      // for data sets that know the sizes of their pictures
    bool validation = false;       // small pictures are enlarged, not left out; timesteps are read
    bool needs_timesteps = false;  // tables without one in each row are refused
    RemoteSettings remote{};       // where shards that are not local are kept
    std::filesystem::path index_folder{};  // see shard_index.h; empty: shards are always scanned
    int64_t max_image_pixels = kMaxImagePixels;  // larger ones are refused before memory is taken
};

/// Opens a data set. Throws ConfigError for an unknown name (offers the nearest) or a path that
/// names nothing, Error for a data set without a usable sample, or storage that cannot be read.
std::unique_ptr<Dataset> make_dataset(const DatasetSettings& settings);

/// Throws ConfigError naming option and value if make_dataset() knows no set of this name; opens
/// nothing.
void check_dataset_name(const DatasetSettings& settings);

/// Whether a name is that of a validation set, whatever it is opened for: its samples have
/// timesteps, and small pictures are enlarged.
bool is_validation_set(std::string_view name);

}  // namespace flux::data
