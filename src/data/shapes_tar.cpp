// The built-in pictures as tar shards on disk.
#include <nlohmann/json.hpp>

#include "data/tar_writer.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/progress.h"
#include "flux/data/shapes.h"

namespace flux::data {
namespace {

std::string json_text(const Sample& sample) {
    nlohmann::ordered_json json;
    json["key"] = sample.key;
    json["caption"] = sample.caption;
    if (sample.timestep >= 0) {
        json["timestep"] = sample.timestep;
    }
    return json.dump(2);
}

void check(const ShapesTarSettings& settings, int64_t available) {
    if (settings.samples < 1 || settings.samples > available) {
        fail_config("samples = {}: must be 1 to {}", settings.samples, available);
    }
    if (settings.samples_per_shard < 1) {
        fail_config("samples_per_shard = {}: must be >= 1", settings.samples_per_shard);
    }
    if (settings.img_size < 16) {
        fail_config("img_size = {}: must be >= 16", settings.img_size);
    }
}

/// Shards that were there before would be read as a part of this data set.
void refuse_other_shards(const std::filesystem::path& folder) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().extension() == ".tar") {
            fail(
                "{}: is there already, and would be read with the new shards: choose an empty "
                "folder",
                entry.path().string());
        }
    }
}

}  // namespace

int64_t write_shapes_tar(const ShapesTarSettings& settings) {
    const ShapesDataset dataset(
        {.img_size = settings.img_size, .seed = settings.seed, .validation = settings.validation});
    check(settings, dataset.size());
    make_writable_folder(settings.out_dir);
    refuse_other_shards(settings.out_dir);
    Progress progress({.label = "shapes", .unit = "samples", .total = settings.samples});
    int64_t shards = 0;
    for (int64_t first = 0; first < settings.samples; first += settings.samples_per_shard) {
        const int64_t end = std::min(first + settings.samples_per_shard, settings.samples);
        TarWriter tar(settings.out_dir / fmt::format("shapes-{:05}.tar", shards++));
        for (int64_t row = first; row < end; ++row) {
            const Sample sample = dataset.read(row, 0);
            tar.add(sample.key + ".png", encode_png(sample.image.view()));
            tar.add(sample.key + ".txt", sample.caption);
            tar.add(sample.key + ".json", json_text(sample));
            progress.update(row + 1);
        }
        tar.finish();
    }
    progress.finish();
    return shards;
}

}  // namespace flux::data
