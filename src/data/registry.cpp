#include "flux/data/registry.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "data/path_list.h"
#include "flux/base/error.h"
#include "flux/base/hub_name.h"
#include "flux/base/log.h"
#include "flux/base/nearest.h"
#include "flux/data/encoding_dataset.h"
#include "flux/data/image_folder.h"
#include "flux/data/picture_table.h"
#include "flux/data/shapes.h"
#include "flux/data/shard_stream.h"
#include "flux/data/webdataset.h"

namespace flux::data {
namespace {

// Of a bucket: substitutes for a damaged picture come from its own, also where a batch is one.
constexpr int64_t kFewestBucketRows = 8;

enum class Storage { kShapes, kTar, kRemoteTar, kImageFolder, kPictureTable, kEncodings };

struct Entry {
    std::string name;
    std::string default_path;  // empty: none
    Storage storage;
};

const std::vector<Entry>& entries() {
    static const std::vector<Entry> all = {
        {"shapes", "", Storage::kShapes},
        {"webdataset", "", Storage::kTar},
        {"image_folder", "", Storage::kImageFolder},
        {"picture_table", "", Storage::kPictureTable},
        {"preprocessed", "", Storage::kEncodings},
        {"cc12m-test", "/dataset/cc12m-test", Storage::kTar},
        {"cc12m-wds", "hf://pixparse/cc12m-wds", Storage::kRemoteTar},
        {"cc12m_disk", "/dataset/cc12m_disk", Storage::kPictureTable},
        {"cc12m_preprocessed", "/dataset/cc12m_preprocessed", Storage::kEncodings},
        {"coco", "/dataset/coco", Storage::kTar},
        {"coco-validation", "/dataset/coco", Storage::kTar},  // another name of coco
        {"coco_preprocessed", "/dataset/coco_preprocessed", Storage::kEncodings},
        {"dummy", "", Storage::kShapes},  // another name of shapes
    };
    return all;
}

const Entry& find_entry(const DatasetSettings& settings) {
    const std::vector<Entry>& all = entries();
    const auto found = std::find_if(
        all.begin(), all.end(), [&](const Entry& entry) { return entry.name == settings.name; });
    if (found != all.end()) {
        return *found;
    }
    std::vector<std::string> names;
    for (const Entry& entry : all) {
        names.push_back(entry.name);
    }
    fail_config("{} = \"{}\": unknown data set{}; known are {}", settings.option, settings.name,
                did_you_mean(settings.name, names), fmt::join(names, ", "));
}

void check_settings(const DatasetSettings& settings) {
    if (settings.img_size < 1 || settings.subset_size < 0 || settings.max_image_pixels < 1) {
        fail_config(
            "{} = \"{}\": img_size {}, subset_size {} and max_image_pixels {}: must be "
            "at least 1, 0 and 1",
            settings.option, settings.name, settings.img_size, settings.subset_size,
            settings.max_image_pixels);
    }
    if (settings.buckets.step > 0 && settings.validation) {
        fail_config("{} = \"{}\": buckets are for training, a validation set has squares",
                    settings.option, settings.name);
    }
}

/// Buckets need pictures of several sizes, which are known before they are decoded.
void check_buckets(const Entry& entry, const DatasetSettings& settings) {
    if (settings.buckets.step == 0) {
        return;
    }
    if (entry.storage == Storage::kShapes) {
        fail_config("training.buckets = {}: data set \"{}\" is drawn in squares: leave it out",
                    settings.buckets.step, settings.name);
    }
    if (entry.storage == Storage::kEncodings) {
        fail_config(
            "training.buckets = {}: data set \"{}\" is encoded already, all in one size: leave it "
            "out, or train on the pictures",
            settings.buckets.step, settings.name);
    }
}

/// "owner/name", as the reference names repositories, and no folder here.
bool is_repository(const std::string& path) { return is_hub_name(path) && !is_existing_path(path); }

/// A stream of shards is never known as a whole.
void check_by_shards(const Entry& entry, const DatasetSettings& settings) {
    if (!settings.by_shards) {
        return;
    }
    if (entry.storage != Storage::kTar && entry.storage != Storage::kRemoteTar) {
        fail_config(
            "training.shuffle = shards: data set \"{}\" is not made of tar shards: use global",
            settings.name);
    }
    if (settings.subset_size > 0) {
        fail_config(
            "training.subset_size = {}: training.shuffle = shards reads whole shards: name fewer "
            "shards in {}_path, or use global",
            settings.subset_size, settings.option);
    }
    if (settings.buckets.step > 0) {
        fail_config("training.buckets = {}: needs all sizes: training.shuffle must be global",
                    settings.buckets.step);
    }
}

int scan_threads() {
    return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 16u));
}

/// What the user is asked for where there is no default path.
std::string_view wanted_path(Storage storage) {
    switch (storage) {
        case Storage::kImageFolder:
            return "the folder of the pictures, with a .txt beside each";
        case Storage::kPictureTable:
            return "the save_to_disk folder or the Parquet files";
        case Storage::kEncodings:
            return "the folder that `flux_train preprocess` wrote";
        default:
            return "the folder of its tar shards";
    }
}

/// Throws ConfigError if the path names nothing.
std::unique_ptr<Dataset> open_stored(Storage storage, const DatasetSettings& settings,
                                     const std::string& path) {
    if (storage == Storage::kEncodings) {
        return std::make_unique<EncodingDataset>(
            EncodingDatasetSettings{.path = path,
                                    .subset_size = settings.subset_size,
                                    .needs_timesteps = settings.needs_timesteps});
    }
    if (storage == Storage::kPictureTable) {
        return std::make_unique<PictureTable>(
            PictureTableSettings{.path = path,
                                 .img_size = settings.img_size,
                                 .seed = settings.seed,
                                 .subset_size = settings.subset_size,
                                 .skip_low_resolution = !settings.validation,
                                 .buckets = settings.buckets,
                                 .read_timesteps = settings.validation,
                                 .needs_timesteps = settings.needs_timesteps,
                                 .max_image_pixels = settings.max_image_pixels});
    }
    if (storage == Storage::kImageFolder) {
        return std::make_unique<ImageFolder>(
            ImageFolderSettings{.path = path,
                                .img_size = settings.img_size,
                                .seed = settings.seed,
                                .subset_size = settings.subset_size,
                                .skip_low_resolution = !settings.validation,
                                .buckets = settings.buckets,
                                .max_image_pixels = settings.max_image_pixels,
                                .scan_threads = scan_threads()});
    }
    const WebDatasetSettings shards{.path = path,
                                    .img_size = settings.img_size,
                                    .seed = settings.seed,
                                    .subset_size = settings.subset_size,
                                    .skip_low_resolution = !settings.validation,
                                    .buckets = settings.buckets,
                                    .read_timesteps = settings.validation,
                                    .max_image_pixels = settings.max_image_pixels,
                                    .index_threads = scan_threads(),
                                    .index_folder = settings.index_folder,
                                    .remote = settings.remote};
    if (settings.by_shards) {
        return std::make_unique<ShardStream>(ShardStreamSettings{.shards = shards});
    }
    return std::make_unique<WebDataset>(shards);
}

}  // namespace

void check_dataset_name(const DatasetSettings& settings) { find_entry(settings); }

std::unique_ptr<Dataset> make_dataset(const DatasetSettings& wanted) {
    DatasetSettings settings = wanted;
    settings.buckets.least_rows = std::max(settings.buckets.least_rows, kFewestBucketRows);
    const Entry& entry = find_entry(settings);
    check_settings(settings);
    check_buckets(entry, settings);
    check_by_shards(entry, settings);
    const std::string& path = settings.path.empty() ? entry.default_path : settings.path;
    switch (entry.storage) {
        case Storage::kShapes:
            if (!settings.path.empty()) {
                log::warning(
                    "{}_path = \"{}\": data set \"{}\" is drawn, not read: the path is not used",
                    settings.option, settings.path, settings.name);
            }
            return std::make_unique<ShapesDataset>(
                ShapesDataset::Settings{.img_size = settings.img_size,
                                        .seed = settings.seed,
                                        .validation = settings.validation,
                                        .subset_size = settings.subset_size});
        case Storage::kImageFolder:
        case Storage::kPictureTable:
        case Storage::kEncodings:
        case Storage::kRemoteTar:
        case Storage::kTar:
            break;
    }
    if (path.empty()) {
        fail_config("{} = \"{}\": has no default path: set {}_path to {}", settings.option,
                    settings.name, settings.option, wanted_path(entry.storage));
    }
    try {
        return open_stored(
            entry.storage, settings,
            entry.storage == Storage::kRemoteTar && is_repository(path) ? "hf://" + path : path);
    } catch (const ConfigError& problem) {
        fail_config("{}_path = \"{}\": {}", settings.option, path, problem.what());
    }
}

bool is_validation_set(std::string_view name) { return name.starts_with("coco"); }

}  // namespace flux::data
