// The files of the COCO validation set: a TSV of the chosen annotations, and tar shards of resized
// pictures. The resize ignores proportions and EXIF orientation and keeps grey pictures grey.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

#include "data/raster_png.h"
#include "data/tar_writer.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/base/parallel_for.h"
#include "flux/base/progress.h"
#include "flux/data/coco.h"
#include "flux/data/image_decode.h"
#include "flux/data/image_resize.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kChunkForEachWorker = 8;

std::string file_stem(int64_t image_id) { return fmt::format("{:012}", image_id); }

/// Quoted only where the text would not stand as one field otherwise.
std::string tsv_field(const std::string& text) {
    if (text.find_first_of("\t\"\n") == std::string::npos) {
        return text;
    }
    std::string quoted = "\"";
    for (const char c : text) {
        quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    }
    return quoted + "\"";
}

std::string tsv_text(std::span<const CocoSample> samples) {
    std::string text = "image_id\tid\tcaption\ttimestep\n";
    for (const CocoSample& sample : samples) {
        text += fmt::format("{}\t{}\t{}\t{}\n", sample.image_id, sample.id,
                            tsv_field(sample.caption), sample.timestep);
    }
    return text;
}

std::string json_text(const CocoSample& sample) {
    nlohmann::ordered_json json;
    json["id"] = std::to_string(sample.image_id);
    json["caption"] = sample.caption;
    json["filename"] = fmt::format("COCO_val2014_{}.png", file_stem(sample.image_id));
    json["timestep"] = sample.timestep;
    return json.dump(2, ' ', true);
}

fs::path picture_path(const CocoSettings& settings, int64_t image_id) {
    return settings.input_images_dir / fmt::format("COCO_val2014_{}.jpg", file_stem(image_id));
}

std::string resized_png(const CocoSettings& settings, int64_t image_id) {
    const fs::path path = picture_path(settings, image_id);
    const MappedFile file(path);
    try {
        const auto* begin = reinterpret_cast<const uint8_t*>(file.bytes().data());
        const Raster picture = decode_image(
            {begin, file.bytes().size()},
            {.max_pixels = kMaxToolPixels, .upright = false, .accept_truncated = false});
        return encode_png(resize(picture, settings.width, settings.height,
                                 {0, 0, settings.width, settings.height}));
    } catch (const Error& error) {
        fail("{}: {}", path.string(), error.what());
    }
}

void check(const CocoSettings& settings) {
    constexpr int kMaxSide = 16384;
    if (settings.num_samples < 1 || settings.samples_per_shard < 1 || settings.width < 1 ||
        settings.height < 1 || settings.width > kMaxSide || settings.height > kMaxSide ||
        settings.num_workers < 1) {
        fail_config(
            "num_samples {}, samples_per_shard {}, width {}, height {}, num_workers {}: all must "
            "be >= 1, width and height <= {}",
            settings.num_samples, settings.samples_per_shard, settings.width, settings.height,
            settings.num_workers, kMaxSide);
    }
}

void refuse_existing(const CocoSettings& settings) {
    constexpr std::string_view kRemedy = "exists already: remove it, or choose another place";
    if (fs::exists(settings.output_tsv_file)) {
        fail("{}: {}", settings.output_tsv_file.string(), kRemedy);
    }
    if (!fs::is_directory(settings.output_dir)) {
        return;
    }
    for (const auto& entry : fs::directory_iterator(settings.output_dir)) {
        if (entry.path().extension() == ".tar") {
            fail("{}: {}", entry.path().string(), kRemedy);
        }
    }
}

/// A folder without a single one of the pictures is the wrong one.
void refuse_wrong_images(const CocoSettings& settings, std::span<const CocoSample> samples) {
    const bool any = std::any_of(samples.begin(), samples.end(), [&](const CocoSample& sample) {
        std::error_code ignored;  // resized_png() says what is wrong
        return fs::exists(picture_path(settings, sample.image_id), ignored);
    });
    if (!any) {
        fail_config(
            "--input-images-dir {}: holds none of the {} chosen pictures, the first of which is "
            "{}: name the folder of COCO's val2014 pictures",
            settings.input_images_dir.string(), samples.size(),
            picture_path(settings, samples.front().image_id).filename().string());
    }
}

/// The folders and shards of this run, which go again unless it is kept.
class Output {
public:
    Output() = default;
    ~Output() {
        std::error_code ignored;  // a folder in which others have written stays
        for (auto path = made_.rbegin(); path != made_.rend(); ++path) {
            fs::remove(*path, ignored);
        }
    }
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;

    void make_folder(const fs::path& folder, std::string_view remedy) {
        std::vector<fs::path> missing;
        std::error_code ignored;  // make_writable_folder() says what is wrong
        for (fs::path path = fs::absolute(folder);
             !fs::exists(path, ignored) && path.has_relative_path(); path = path.parent_path()) {
            missing.push_back(path);
        }
        made_.insert(made_.end(), missing.rbegin(), missing.rend());
        make_writable_folder(folder, remedy);
    }
    void add(const fs::path& file) { made_.push_back(file); }
    void keep() { made_.clear(); }

private:
    std::vector<fs::path> made_;  // what is in a folder after it
};

/// Shards that follow one another, each opened when its first sample comes.
class ShardSeries {
public:
    ShardSeries(const CocoSettings& settings, Output& output)
        : settings_(settings), output_(output) {}

    void add(const CocoSample& sample, const std::string& png) {
        if (!tar_) {
            path_ = settings_.output_dir / fmt::format("shard_{:05}.tar", shards_++);
            tar_ = std::make_unique<TarWriter>(path_);
        }
        const std::string stem = file_stem(sample.image_id);
        tar_->add(stem + ".png", png);
        tar_->add(stem + ".txt", sample.caption);
        tar_->add(stem + ".json", json_text(sample));
        if (++samples_ % settings_.samples_per_shard == 0) {
            finish();
        }
    }
    void finish() {
        if (tar_) {
            tar_->finish();
            tar_.reset();
            output_.add(path_);
        }
    }
    int64_t samples() const { return samples_; }
    int64_t shards() const { return shards_; }

private:
    const CocoSettings& settings_;
    Output& output_;
    std::filesystem::path path_;
    std::unique_ptr<TarWriter> tar_;
    int64_t samples_ = 0;
    int64_t shards_ = 0;
};

void write_shards(const CocoSettings& settings, std::span<const CocoSample> samples,
                  ShardSeries& series) {
    Progress progress({.label = "coco", .unit = "pictures", .total = std::ssize(samples)});
    const int64_t chunk = kChunkForEachWorker * settings.num_workers;
    for (int64_t first = 0; first < std::ssize(samples); first += chunk) {
        const int64_t count = std::min(chunk, std::ssize(samples) - first);
        const auto part = samples.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
        std::vector<std::string> pngs(part.size());
        std::vector<std::string> problems(part.size());
        parallel_for(count, settings.num_workers, [&](int64_t i) {
            const auto place = static_cast<size_t>(i);
            try {
                pngs[place] = resized_png(settings, part[place].image_id);
            } catch (const Error& error) {
                problems[place] = error.what();
            }
        });
        for (size_t i = 0; i < part.size(); ++i) {
            if (problems[i].empty()) {
                series.add(part[i], pngs[i]);
            } else {
                log::warning("left out of the shards: {}", problems[i]);
            }
        }
        progress.update(first + count);
    }
    progress.finish();
}

}  // namespace

CocoResult write_coco(const CocoSettings& settings) {
    check(settings);
    refuse_existing(settings);
    if (!fs::is_directory(settings.input_images_dir)) {
        fail_config("--input-images-dir {}: no such folder", settings.input_images_dir.string());
    }
    const std::vector<CocoSample> samples = select_coco(settings);
    refuse_wrong_images(settings, samples);
    const fs::path tsv_folder = fs::absolute(settings.output_tsv_file).parent_path();
    Output output;
    output.make_folder(settings.output_dir, "choose another with --output-dir");
    output.make_folder(tsv_folder, "choose another with --output-tsv-file");
    AtomicFile tsv(settings.output_tsv_file, Existing::kRefuse);
    tsv.write(tsv_text(samples));
    ShardSeries series(settings, output);
    write_shards(settings, samples, series);
    series.finish();
    if (series.samples() == 0) {
        fail("{}: none of the {} chosen pictures can be read", settings.input_images_dir.string(),
             samples.size());
    }
    tsv.commit();
    output.keep();
    return {std::ssize(samples), series.samples(), series.shards()};
}

}  // namespace flux::data
