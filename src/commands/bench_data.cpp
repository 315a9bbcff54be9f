// `bench data`: the data path on files of the user's, stage by stage. Each figure is the median of
// several repeats of one thread's CPU time, except that of the loader with several threads.
// scripts/bench_data.py measures the same stages in Python on the same files.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>

#include "commands/bench_tools.h"
#include "commands/scratch_folder.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/npy.h"
#include "flux/data/encoding_dataset.h"
#include "flux/data/image_decode.h"
#include "flux/data/image_transform.h"
#include "flux/data/loader.h"
#include "flux/data/payload.h"
#include "flux/data/saved_folder.h"
#include "flux/data/stored_encodings.h"
#include "flux/data/tar_sample.h"
#include "flux/data/webdataset.h"
#include "flux/encoders/tokenizer.h"

namespace flux::commands {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBatch = 16;

struct Options {
    std::string tar, cache_dir, clip, t5, json;
    int64_t repeats = 5;
    int64_t samples = 256;
    int64_t img_size = 256;
    int64_t rows = 64;
    int64_t workers = static_cast<int64_t>(std::max(1u, std::thread::hardware_concurrency()));
};

/// Files and captions of a data set, in memory.
struct Samples {
    std::vector<std::vector<uint8_t>> files;
    std::vector<data::Raster> decoded;
    std::vector<std::string> captions;
};

/// Pictures that training would take, with the text beside them.
void add_shard(const fs::path& path, const Options& options, Samples& samples) {
    const data::ShardReader reader{data::Shard(path, data::kUnpackedShardBytes)};
    for (const data::IndexedSample& sample : data::index_tar(reader).samples) {
        if (!data::problem_of(sample).empty() ||
            static_cast<int64_t>(samples.files.size()) == options.samples) {
            continue;
        }
        try {
            const data::TarSample parts = data::parts_of(sample);
            std::string caption = data::read_caption(parts, reader);
            std::vector<uint8_t> file = data::read_picture(parts, reader);
            data::Raster decoded = data::decode_image(file, data::kMaxImagePixels);
            if (std::min(decoded.width, decoded.height) < options.img_size) {
                continue;
            }
            samples.decoded.push_back(std::move(decoded));
            samples.files.push_back(std::move(file));
            samples.captions.push_back(std::move(caption));
        } catch (const Error&) {  // training would leave it out, too
        }
    }
}

Samples load_samples(const Options& options) {
    Samples samples;
    const data::RemoteSettings remote = remote_settings(options.cache_dir);
    for (const std::string& name : data::name_shards(options.tar, remote)) {
        if (static_cast<int64_t>(samples.files.size()) == options.samples) {
            break;
        }
        add_shard(data::is_remote(name) ? data::fetch_shard(name, remote) : fs::path(name), options,
                  samples);
    }
    if (samples.files.empty()) {
        fail("{}: no picture of at least {} x {} pixels can be read", options.tar, options.img_size,
             options.img_size);
    }
    return samples;
}

/// What a batch goes through before the autoencoder takes it.
void normalise(const at::Tensor& pictures, const at::Tensor& out) {
    out.copy_(pictures).div_(127.5).sub_(1.0);
}

class PictureBench {
public:
    PictureBench(const Options& options, const Samples& samples)
        : samples_(samples),
          side_(static_cast<int>(options.img_size)),
          repeats_(options.repeats),
          batch_(data::make_payload(data::PictureShape{side_}, kBatch, false)),
          normalised_(at::empty(batch_.pictures.images.sizes(), at::kFloat)) {}

    std::vector<Figure> run() {
        const auto count = static_cast<double>(samples_.files.size());
        const auto figure = [&](const char* name, const std::function<void()>& pass) {
            return measure({name, "pictures/s"}, count, repeats_, pass);
        };
        return {figure("decode",
                       [&] {
                           for (const auto& file : samples_.files) {
                               data::decode_image(file, data::kMaxImagePixels);
                           }
                       }),
                figure("resize_crop_normalise",
                       [&] {
                           for (size_t i = 0; i < samples_.decoded.size(); ++i) {
                               transform(samples_.decoded[i], i);
                           }
                       }),
                figure("image_total", [&] {
                    for (size_t i = 0; i < samples_.files.size(); ++i) {
                        transform(data::decode_image(samples_.files[i], data::kMaxImagePixels), i);
                    }
                })};
    }

private:
    void transform(const data::Raster& raster, size_t number) {
        const auto place = static_cast<int64_t>(number) % kBatch;
        const data::ResizePlan plan = data::plan_resize(raster.width, raster.height, side_);
        const Draw draw{0, Purpose::kCrop, number, ++epoch_};
        data::Sample sample;
        sample.image = data::to_cropped_rgb(raster, side_, data::draw_crop(plan, side_, draw));
        data::store_sample(batch_, place, sample);
        normalise(batch_.pictures.images[place], normalised_[place]);
    }

    const Samples& samples_;
    const int side_;
    const int64_t repeats_;
    data::Payload batch_;
    const at::Tensor normalised_;
    uint32_t epoch_ = 0;
};

Figure bench_tokenizer(const std::string& name, const std::string& folder, int64_t length,
                       const Options& options, const Samples& samples) {
    const auto tokenizer = encoders::load_tokenizer(folder);
    return measure({name, "captions/s"}, static_cast<double>(samples.captions.size()),
                   options.repeats, [&] {
                       for (const std::string& caption : samples.captions) {
                           tokenizer->encode(caption, length);
                       }
                   });
}

/// Rows as large as those of the published model at 256 pixels.
void write_rows(const fs::path& folder, int64_t rows) {
    const auto cell = [](at::IntArrayRef shape) {
        return npy_bytes(at::full(shape, 0.5, at::TensorOptions().dtype(at::kBFloat16)));
    };
    const std::string t5 = cell({256, 4096}), clip = cell({768}), latent = cell({16, 32, 32});
    const data::SavedFolder saved(folder, {.columns = data::stored_columns(),
                                           .input_rows = rows,
                                           .rows_per_file = rows,
                                           .facts = {}});
    const auto writer = saved.writer(0);
    for (int64_t row = 0; row < rows; ++row) {
        const std::string key = std::to_string(row);
        data::add_row(*writer,
                      {.key = key, .t5 = t5, .clip = clip, .mean = latent, .logvar = latent});
    }
    writer->commit();
    saved.finish();
}

std::array<const data::StoredEncodings::Cell*, 4> cells_of(const data::Sample& sample) {
    const data::StoredEncodings& stored = sample.encodings;
    return {&stored.t5, &stored.clip, &stored.mean, &stored.logvar};
}

/// Rows from the page cache into batches, and what copying their bytes alone takes.
std::vector<Figure> bench_rows(const Options& options) {
    const ScratchFolder scratch(fs::temp_directory_path());
    const int64_t rows = options.rows / kBatch * kBatch;
    write_rows(scratch.path(), rows);
    const data::EncodingDataset dataset({.path = scratch.path().string()});
    std::vector<data::Sample> samples;
    size_t row_bytes = 0;
    for (int64_t row = 0; row < rows; ++row) {
        samples.push_back(dataset.read(row, 0));
    }
    for (const auto* cell : cells_of(samples.front())) {
        row_bytes += cell->data.size();
    }
    std::vector<std::byte> buffer(row_bytes * kBatch);
    const double gigabytes = 1e-9 * static_cast<double>(row_bytes) * static_cast<double>(rows);
    Figure copy = measure({"memcpy", "GB/s"}, gigabytes, options.repeats, [&] {
        for (size_t row = 0; row < samples.size(); ++row) {
            std::byte* to = &buffer[row % kBatch * row_bytes];
            for (const auto* cell : cells_of(samples[row])) {
                std::memcpy(to, cell->data.data(), cell->data.size());
                to += cell->data.size();
            }
        }
    });
    data::Loader loader(dataset, {.batch_size = kBatch, .num_workers = 0});
    Figure load = measure({"stored_rows", "GB/s"}, gigabytes, options.repeats, [&] {
        for (int64_t batch = 0; batch < rows / kBatch; ++batch) {
            loader.next();
        }
    });
    return {std::move(copy), std::move(load)};
}

/// Whole samples by the loader: on the caller's thread, normalised too, and with 1, 2, 4 ..
/// threads.
std::vector<Figure> bench_loader(const Options& options) {
    constexpr int kBatches = 8;
    const data::WebDataset dataset({.path = options.tar,
                                    .img_size = static_cast<int>(options.img_size),
                                    .subset_size = options.samples,
                                    .max_image_pixels = data::kMaxImagePixels,
                                    .remote = remote_settings(options.cache_dir)});
    const auto run = [&](int64_t workers, const std::function<void(const at::Tensor&)>& take) {
        data::Loader loader(dataset,
                            {.batch_size = kBatch, .num_workers = static_cast<int>(workers)});
        return measure({fmt::format("loader_{}", workers), "pictures/s",
                        workers == 0 ? Clock::kThreadCpu : Clock::kWall},
                       double{kBatch} * kBatches, options.repeats, [&] {
                           for (int batch = 0; batch < kBatches; ++batch) {
                               take(loader.next()->payload.pictures.images);
                           }
                       });
    };
    std::vector<Figure> figures;
    const at::Tensor out = at::empty({kBatch, 3, options.img_size, options.img_size}, at::kFloat);
    figures.push_back(run(0, [&](const at::Tensor& pictures) { normalise(pictures, out); }));
    for (int64_t workers = 1;; workers = std::min(2 * workers, options.workers)) {
        figures.push_back(run(workers, [](const at::Tensor&) {}));
        if (workers == options.workers) {
            return figures;
        }
    }
}

void check(const Options& options) {
    const auto between = [](const char* flag, int64_t value, int64_t low, int64_t high) {
        check_between("bench data", flag, value, low, high);
    };
    between("--repeats", options.repeats, 1, 1000);
    between("--samples", options.samples, 1, 100'000);
    between("--img_size", options.img_size, 16, 16384);
    between("--workers", options.workers, 0, 1024);
    if (options.rows != 0) {
        between("--rows", options.rows, kBatch, 100'000);
    }
    if (options.tar.empty() && options.rows == 0) {
        fail_config("command line: bench data: nothing to measure: give --tar, or --rows");
    }
    if (options.tar.empty() && !(options.clip.empty() && options.t5.empty())) {
        fail_config("command line: bench data: --clip and --t5 take the captions of --tar");
    }
    check_free(options.json);
    check_alone("bench data");
}

void add(std::vector<Figure>& all, std::vector<Figure> more) {
    std::move(more.begin(), more.end(), std::back_inserter(all));
}

}  // namespace

int bench_data(const Words& words) {
    Options options;
    const std::vector<config::Flag> flags{
        {"tar", "PATH", "tar shards with pictures and captions", &options.tar},
        cache_flag(options.cache_dir),
        {"clip", "DIR", "CLIP's tokenizer", &options.clip},
        {"t5", "DIR", "T5's tokenizer", &options.t5},
        {"repeats", "N", "of each stage; the median is shown (default 5)", &options.repeats},
        {"samples", "N", "most pictures from the shards (default 256)", &options.samples},
        {"img_size", "N", "side of the pictures in pixels (default 256)", &options.img_size},
        {"rows", "N", "stored encodings of 2.2 MB to write and read (default 64; 0: none)",
         &options.rows},
        {"workers", "N", "most loader threads (default: the processors; 0: leave the loader out)",
         &options.workers},
        {"json", "FILE", "also writes the figures there", &options.json}};
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train bench data [--tar PATH [--clip DIR] [--t5 DIR]]\n\n"
            "Stored encodings alone without --tar.\n\n{}",
            config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "bench data");
    check(options);
    at::set_num_threads(1);
    std::vector<Figure> figures;
    if (!options.tar.empty()) {
        const Samples samples = load_samples(options);
        add(figures, PictureBench(options, samples).run());
        if (!options.clip.empty()) {
            figures.push_back(bench_tokenizer("clip", options.clip, 77, options, samples));
        }
        if (!options.t5.empty()) {
            figures.push_back(bench_tokenizer("t5", options.t5, 256, options, samples));
        }
    }
    if (options.rows > 0) {
        add(figures, bench_rows(options));
    }
    if (!options.tar.empty() && options.workers > 0) {
        add(figures, bench_loader(options));
    }
    print_figures(figures);
    if (!options.json.empty()) {
        write_figures(options.json, figures);
    }
    return 0;
}

}  // namespace flux::commands
