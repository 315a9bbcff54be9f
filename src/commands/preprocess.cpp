// `preprocess`: a data set of pictures and captions through the encoders, once, into a folder of
// stored encodings that training reads instead.
#include <fmt/core.h>

#include <random>

#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/folder_lock.h"
#include "flux/base/log.h"
#include "flux/base/npy.h"
#include "flux/base/progress.h"
#include "flux/config/print.h"
#include "flux/config/validate.h"
#include "flux/data/loader.h"
#include "flux/data/saved_folder.h"
#include "flux/encoders/conditioning.h"
#include "flux/encoders/empty_encodings.h"
#include "flux/encoders/payload_check.h"
#include "flux/train/device.h"
#include "flux/train/job.h"

namespace flux::commands {
namespace {

namespace fs = std::filesystem;

const std::vector<data::SavedColumn>& columns() {
    using data::SavedKind;
    static const std::vector<data::SavedColumn> all = {
        {"__key__", SavedKind::kText},         {"t5_encodings", SavedKind::kBytes},
        {"clip_encodings", SavedKind::kBytes}, {"mean", SavedKind::kBytes},
        {"logvar", SavedKind::kBytes},         {"timestep", SavedKind::kInt32}};
    return all;
}

/// Of the crops. That of work already begun, if none is given.
uint64_t crop_seed(const config::JobConfig& config, const fs::path& folder) {
    if (config.training.seed) {
        return *config.training.seed;
    }
    if (const auto begun = data::SavedFolder::fact(folder, "training.seed")) {
        return std::stoull(*begun);
    }
    std::random_device entropy;
    return entropy();
}

/// The options that fix what is written.
std::map<std::string, std::string> facts_of(const config::JobConfig& config, uint64_t seed,
                                            uint64_t fingerprint) {
    const config::Encoder& encoder = config.encoder;
    return {{"training.dataset", config.training.dataset},
            {"training.img_size", std::to_string(config.training.img_size)},
            {"training.seed", std::to_string(seed)},
            {"training.test_mode", config.training.test_mode ? "true" : "false"},
            {"encoder.t5_encoder", encoder.t5_encoder},
            {"encoder.clip_encoder", encoder.clip_encoder},
            {"encoder.autoencoder_path", encoder.autoencoder_path},
            {"encoder.max_t5_encoding_len", std::to_string(encoder.max_t5_encoding_len)},
            {"input_fingerprint", fmt::format("{:016x}", fingerprint)}};
}

/// Encodings of the rows of a batch as cells: .npy bytes of bfloat16.
std::vector<std::string> to_cells(const at::Tensor& rows) {
    const at::Tensor stored = rows.to(at::kBFloat16).cpu().contiguous();
    std::vector<std::string> cells;
    for (int64_t i = 0; i < stored.size(0); ++i) {
        cells.push_back(npy_bytes(stored[i]));
    }
    return cells;
}

void write_batch(data::ArrowWriter& writer, const encoders::Conditioning& conditioning,
                 const data::Batch& batch) {
    const data::PictureBatch& pictures = batch.payload.pictures;
    const encoders::Posterior posterior = conditioning.encode_posterior(pictures.images);
    const encoders::TextConditioning text = conditioning.encode_text(pictures.captions);
    const auto t5 = to_cells(text.tokens);
    const auto clip = to_cells(text.pooled);
    const auto mean = to_cells(posterior.mean);
    const auto logvar = to_cells(posterior.logvar);
    for (size_t i = 0; i < batch.keys.size(); ++i) {
        data::SavedCell timestep;  // null
        if (batch.timesteps[i] >= 0) {
            timestep = static_cast<int32_t>(batch.timesteps[i]);
        }
        const auto cell = [&](const std::string& bytes) { return std::string_view(bytes); };
        writer.add({cell(batch.keys[i]), cell(t5[i]), cell(clip[i]), cell(mean[i]), cell(logvar[i]),
                    timestep});
    }
}

/// Bytes of one row, as far as the sizes tell; the key adds little.
int64_t row_bytes(const encoders::Conditioning& conditioning, int64_t img_size) {
    const encoders::TextConditioning text = conditioning.empty_text(1);
    const int64_t side = img_size / encoders::kLatentFactor;
    return 2 * (text.tokens.numel() + text.pooled.numel() +
                2 * encoders::kLatentChannels * side * side);
}

/// Everything that the work needs, opened.
struct Work {
    const config::JobConfig& config;
    const encoders::Conditioning& conditioning;
    const data::Dataset& dataset;
    const data::SavedFolder& folder;
};

void write_file(const Work& work, int64_t file, Progress& progress) {
    const config::JobConfig& config = work.config;
    const auto [first, end] = work.folder.rows_of(file);
    data::Loader loader(work.dataset,
                        {.batch_size = config.training.batch_size,
                         .first_sample = first,
                         .end = end,
                         .shuffle = config::Shuffle::kNone,
                         .substitute = false,
                         .num_workers = static_cast<int>(config.dataloader.num_workers),
                         .prefetch_factor = static_cast<int>(config.dataloader.prefetch_factor),
                         .max_bad_fraction = config.training.max_bad_fraction,
                         .pinned = work.conditioning.device().is_cuda()});
    const auto writer = work.folder.writer(file);
    while (const auto batch = loader.next()) {
        write_batch(*writer, work.conditioning, *batch);
        progress.update(std::min(end, batch->first_sample + config.training.batch_size));
    }
    writer->commit();
    progress.update(end);
}

void write_all(const Work& work) {
    int64_t written = 0;
    while (written < work.folder.files() && work.folder.is_written(written)) {
        ++written;
    }
    const int64_t rows = work.dataset.size();
    const int64_t done = written == 0 ? 0 : work.folder.rows_of(written - 1).second;
    if (done > 0) {
        log::info("going on after {} files with {} of {} samples", written, done, rows);
    }
    Progress progress({.label = "preprocess", .unit = "samples", .total = rows, .done = done});
    for (int64_t file = written; file < work.folder.files(); ++file) {
        if (!work.folder.is_written(file)) {
            write_file(work, file, progress);
        }
    }
    progress.finish();
}

void preprocess(const config::LoadedConfig& loaded) {
    const config::JobConfig& config = loaded.config;
    const fs::path out = config.preprocessing.output_dataset_path;
    const c10::Device device = train::prepare_device(config.training);
    const model::FluxConfig model = train::model_dimensions(config);
    const encoders::TextWidths widths{model.context_in_dim, model.vec_in_dim};
    const encoders::Conditioning conditioning(config.encoder, config.training.test_mode, widths,
                                              device);
    const uint64_t seed = crop_seed(config, out);
    data::DatasetSettings settings = train::dataset_settings(config, seed, /*validation=*/false);
    settings.validation = data::is_validation_set(settings.name);
    const auto dataset = data::make_dataset(settings);
    if (std::holds_alternative<data::EncodingShape>(dataset->payload())) {
        fail_config("{}: is encoded already; name a data set of pictures",
                    loaded.place("training.dataset"));
    }
    encoders::check_payload(dataset->payload(), conditioning,
                            {.dataset = loaded.place("training.dataset"),
                             .widths = widths,
                             .img_size = config.training.img_size});
    make_writable_folder(out, "choose another with --preprocessing.output_dataset_path");
    const FolderLock lock(out);
    const int64_t file_bytes = config.preprocessing.file_size_mb * 1'000'000;
    const data::SavedFolder folder(
        out,
        {.columns = columns(),
         .input_rows = dataset->size(),
         .rows_per_file =
             std::max<int64_t>(file_bytes / row_bytes(conditioning, config.training.img_size), 1),
         .compression = config.preprocessing.compression == "zstd" ? data::SavedCompression::kZstd
                                                                   : data::SavedCompression::kNone,
         .facts = facts_of(config, seed, dataset->fingerprint())});
    if (folder.is_finished()) {
        log::info("{}: is complete already", out.string());
        return;
    }
    fs::create_directories(out / "empty_encodings");
    encoders::write_empty_encodings(out / "empty_encodings", conditioning.empty_text(1));
    write_all({config, conditioning, *dataset, folder});
    const int64_t rows = folder.finish();
    log::info(
        "{} samples in {} files in {}; train with --training.dataset={} "
        "--training.dataset_path={} --encoder.empty_encodings_path={}",
        rows, folder.files(), out.string(),
        settings.validation ? "coco_preprocessed" : "cc12m_preprocessed", out.string(),
        (out / "empty_encodings").string());
    if (rows < dataset->size()) {
        log::warning("{} of {} samples were bad and left out", dataset->size() - rows,
                     dataset->size());
    }
}

}  // namespace

int preprocess(const Words& words) {
    const config::CommandLine command_line = config::parse_command_line(words);
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train preprocess --preprocessing.output_dataset_path=DIR "
            "--training.dataset=NAME [--training.dataset_path=PATH] [--encoder.KEY=VALUE ...]\n\n"
            "Encodes a data set once. Run again after a kill, it goes on with the file it was "
            "at.\nOptions are those of training; `flux_train --help` lists them.\n");
        return 0;
    }
    const config::LoadedConfig loaded = config::load_config(command_line);
    log::configure({.rank = 0, .color = !loaded.config.metrics.disable_color_printing});
    show_notices(loaded);
    if (command_line.print_config) {
        fmt::print("{}", config::to_toml(loaded.config));
        return 0;
    }
    config::validate(loaded);
    config::refuse_unbuilt(loaded);
    config::with_places(loaded, [&] { preprocess(loaded); });
    return 0;
}

}  // namespace flux::commands
