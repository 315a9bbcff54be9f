// `preprocess`: a data set of pictures and captions through the encoders, once, into a folder of
// stored encodings that training reads instead.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <random>

#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/base/npy.h"
#include "flux/base/numbered_locks.h"
#include "flux/base/progress.h"
#include "flux/config/print.h"
#include "flux/config/validate.h"
#include "flux/data/loader.h"
#include "flux/data/saved_folder.h"
#include "flux/data/stored_encodings.h"
#include "flux/dist/process_place.h"
#include "flux/encoders/conditioning.h"
#include "flux/encoders/empty_encodings.h"
#include "flux/encoders/payload_check.h"
#include "flux/encoders/pretrained.h"
#include "flux/train/device.h"
#include "flux/train/job.h"

namespace flux::commands {
namespace {

namespace fs = std::filesystem;

/// Of the crops. That of work already begun, if none is given.
uint64_t crop_seed(const config::JobConfig& config, const fs::path& folder) {
    if (config.training.seed) {
        return *config.training.seed;
    }
    if (const auto begun = data::SavedFolder::fact(folder, "training.seed")) {
        uint64_t seed = 0;
        const char* const end = begun->data() + begun->size();
        if (std::from_chars(begun->data(), end, seed).ptr != end || begun->empty()) {
            fail(
                "{}: its plan has training.seed = \"{}\", which is no number: remove the folder "
                "and "
                "begin anew",
                folder.string(), *begun);
        }
        return seed;
    }
    std::random_device entropy;
    return entropy();
}

/// The options that fix what is written: all of [encoder], and what changes pictures or the choice
/// of them.
std::map<std::string, std::string> facts_of(const config::JobConfig& config, uint64_t seed,
                                            uint64_t fingerprint) {
    std::map<std::string, std::string> facts = config::section_values(config, "encoder");
    facts.erase("encoder.offload");  // where weights wait changes no value
    facts["training.dataset"] = config.training.dataset;
    facts["training.img_size"] = std::to_string(config.training.img_size);
    facts["training.max_image_pixels"] = std::to_string(config.training.max_image_pixels);
    facts["training.seed"] = std::to_string(seed);
    facts["training.test_mode"] = config.training.test_mode ? "true" : "false";
    facts["input_fingerprint"] = fmt::format("{:016x}", fingerprint);
    facts["weights"] =
        config.training.test_mode ? "built in" : encoders::encoders_identity(config.encoder);
    return facts;
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
        std::optional<int32_t> timestep;
        if (batch.timesteps[i] >= 0) {
            timestep = static_cast<int32_t>(batch.timesteps[i]);
        }
        data::add_row(writer, {batch.keys[i], t5[i], clip[i], mean[i], logvar[i], timestep});
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
    NumberedLocks& locks;
    dist::ProcessPlace place;
    mutable int64_t left_out = 0;  // by this process, in all files

    /// Rows that may be left out of the whole.
    int64_t allowed() const {
        return static_cast<int64_t>(config.training.max_bad_fraction *
                                    static_cast<double>(dataset.size()));
    }
};

// Numbers of the locks: a process holds that of what it does.
constexpr int64_t kPlanLock = 0;
constexpr int64_t kFinishLock = 1;
constexpr int64_t kFirstFileLock = 2;

/// `done`: samples that the progress counted before.
void write_file(const Work& work, int64_t file, Progress& progress, int64_t done) {
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
        const int64_t at = std::min(end, batch->first_sample + config.training.batch_size);
        progress.update(done + at - first);
    }
    // A loader judges its own rows only, and a file has few of them.
    work.left_out += loader.bad_samples();
    if (work.left_out > work.allowed()) {
        fail(
            "{} samples were bad so far, more than training.max_bad_fraction = {} of {} allows; "
            "the "
            "log names them: repair or remove these files and begin in a new folder, or raise "
            "training.max_bad_fraction",
            work.left_out, config.training.max_bad_fraction, work.dataset.size());
    }
    writer->commit();
}

enum class Busy { kLeave, kWaitFor };  // files that another process is at

/// Writes those of the files that nobody has written.
void write_files(const Work& work, const std::vector<int64_t>& files, Busy busy,
                 std::string_view what) {
    const auto rows_in = [&](int64_t file) {
        const auto [first, end] = work.folder.rows_of(file);
        return end - first;
    };
    int64_t done = 0, total = 0;
    std::vector<int64_t> left;
    for (const int64_t file : files) {
        total += rows_in(file);
        if (work.folder.is_written(file)) {
            done += rows_in(file);
        } else {
            left.push_back(file);
        }
    }
    if (left.empty()) {
        return;
    }
    std::string label(what);
    if (work.place.world_size > 1) {
        label =
            fmt::format("process {} of {}: {}", work.place.rank + 1, work.place.world_size, what);
    }
    log::info("{}: {} of {} samples are done, {} of {} files in {}", label, done, total,
              files.size() - left.size(), files.size(),
              work.config.preprocessing.output_dataset_path);
    Progress progress({.label = label,
                       .unit = "samples",
                       .total = total,
                       .done = done,
                       .style = work.place.world_size > 1 ? ProgressSettings::Style::kLines
                                                          : ProgressSettings::Style::kAuto});
    for (const int64_t file : left) {
        const int64_t number = kFirstFileLock + file;
        const auto held = busy == Busy::kWaitFor ? std::optional(work.locks.lock(number))
                                                 : work.locks.try_lock(number);
        if (held && !work.folder.is_written(file)) {
            write_file(work, file, progress, done);
        }
        done += rows_in(file);
        progress.update(done);
    }
    progress.finish();
}

/// Every N-th file is this process's own. Then it helps the others, from the end, which they reach
/// last; at the end it waits for them, and takes over what a killed one was at.
void write_all(const Work& work) {
    std::vector<int64_t> own, others, all;
    for (int64_t file = 0; file < work.folder.files(); ++file) {
        (file % work.place.world_size == work.place.rank ? own : others).push_back(file);
        all.push_back(file);
    }
    std::reverse(others.begin(), others.end());
    write_files(work, own, Busy::kLeave, "preprocess");
    write_files(work, others, Busy::kLeave, "preprocess, files of others");
    write_files(work, all, Busy::kWaitFor, "preprocess, last files");
}

struct Input {
    std::unique_ptr<data::Dataset> dataset;
    std::unique_ptr<data::SavedFolder> folder;
    bool validation = false;
};

/// Opens the data set and the folder. The first process draws the seed, looks through the data set
/// and writes the plan; the others wait for it, and find the indexes that it left.
Input open_input(const config::LoadedConfig& loaded, const encoders::Conditioning& conditioning,
                 const encoders::TextWidths& widths, NumberedLocks& locks) {
    const config::JobConfig& config = loaded.config;
    if (config.training.buckets != 0) {
        fail_config("{}: encodings are stored in one size; leave it out",
                    loaded.place("training.buckets"));
    }
    const fs::path out = config.preprocessing.output_dataset_path;
    NumberedLocks::Held planning = locks.lock(kPlanLock);
    if (data::SavedFolder::is_begun(out)) {
        planning.release();
    }
    const uint64_t seed = crop_seed(config, out);
    data::DatasetSettings settings = train::dataset_settings(config, seed, /*validation=*/false);
    settings.by_shards = false;  // all rows, in the stored order
    settings.validation = data::is_validation_set(settings.name);
    Input input{data::make_dataset(settings), nullptr, settings.validation};
    const data::PayloadShape payload = input.dataset->payload();
    if (std::holds_alternative<data::EncodingShape>(payload)) {
        fail_config("{}: is encoded already; name a data set of pictures",
                    loaded.place("training.dataset"));
    }
    encoders::check_payload(payload, conditioning,
                            {.dataset = loaded.place("training.dataset"),
                             .widths = widths,
                             .img_size = config.training.img_size});
    const int64_t file_bytes = config.preprocessing.file_size_mb * 1'000'000;
    input.folder = std::make_unique<data::SavedFolder>(
        out, data::SavedFolderPlan{
                 .columns = data::stored_columns(),
                 .input_rows = input.dataset->size(),
                 .rows_per_file = std::max<int64_t>(
                     file_bytes / row_bytes(conditioning, config.training.img_size), 1),
                 .compression = config.preprocessing.compression == "zstd"
                                    ? data::SavedCompression::kZstd
                                    : data::SavedCompression::kNone,
                 .facts = facts_of(config, seed, input.dataset->fingerprint()),
                 .option = "preprocessing.output_dataset_path"});
    return input;
}

/// What makes a data set of the files. All processes come here when all files are written; the
/// first one does it.
void finish(const Work& work, bool validation) {
    const auto finishing = work.locks.lock(kFinishLock);
    if (work.folder.is_finished()) {
        return;
    }
    const fs::path out = work.config.preprocessing.output_dataset_path;
    fs::create_directories(out / "empty_encodings");
    encoders::write_empty_encodings(out / "empty_encodings", work.conditioning.empty_text(1));
    const int64_t rows = work.folder.finish(work.dataset.size() - work.allowed());
    log::info(
        "{} samples in {} files in {}; train with --training.dataset={} "
        "--training.dataset_path={} --encoder.empty_encodings_path={}",
        rows, work.folder.files(), out.string(),
        validation ? "coco_preprocessed" : "cc12m_preprocessed", out.string(),
        (out / "empty_encodings").string());
    if (rows < work.dataset.size()) {
        log::warning("{} of {} samples were bad and left out", work.dataset.size() - rows,
                     work.dataset.size());
    }
}

void preprocess(const config::LoadedConfig& loaded, const dist::ProcessPlace& place) {
    const config::JobConfig& config = loaded.config;
    if (!config.encoder.empty_encodings_path.empty()) {
        fail_config(
            "{}: is for training from stored encodings; `preprocess` encodes the empty "
            "caption itself, with the encoders of the others: leave it out",
            loaded.place("encoder.empty_encodings_path"));
    }
    const fs::path out = config.preprocessing.output_dataset_path;
    const c10::Device device = train::prepare_device(config, place.local_rank);
    const model::FluxConfig model = train::model_dimensions(config);
    const encoders::TextWidths widths{model.context_in_dim, model.vec_in_dim};
    const encoders::Conditioning conditioning(config.encoder, config.training.test_mode, widths,
                                              device);
    make_writable_folder(out, "choose another with --preprocessing.output_dataset_path");
    NumberedLocks locks(out / ".lock", /*alone=*/place.world_size == 1);
    const Input input = open_input(loaded, conditioning, widths, locks);
    if (input.folder->is_finished()) {
        log::info("{}: is complete already", out.string());
        return;
    }
    log::configure({.rank = 0,  // all speak now
                    .origin = place.origin(),
                    .color = !config.metrics.disable_color_printing});
    const Work work{config, conditioning, *input.dataset, *input.folder, locks, place};
    write_all(work);
    finish(work, input.validation);
}

}  // namespace

int preprocess(const Words& words) {
    const config::CommandLine command_line = config::parse_command_line(words);
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train preprocess --preprocessing.output_dataset_path=DIR "
            "--training.dataset=NAME [--training.dataset_path=PATH] [--encoder.KEY=VALUE ...]\n\n"
            "Encodes a data set once. Run again after a kill, it goes on with the file it was "
            "at.\nSeveral processes share the work: NGPU=N ./scripts/run_preprocessing.sh, "
            "torchrun, mpirun.\nOptions are those of training; `flux_train --help` lists them.\n");
        return 0;
    }
    const config::LoadedConfig loaded = config::load_config(command_line);
    const dist::ProcessPlace place = dist::process_place();
    log::configure({.rank = place.rank,
                    .origin = place.origin(),
                    .color = !loaded.config.metrics.disable_color_printing});
    if (place.rank == 0) {
        show_notices(loaded);
    }
    if (command_line.print_config) {
        fmt::print("{}", config::to_toml(loaded.config));
        return 0;
    }
    config::validate(loaded);
    config::refuse_unbuilt(loaded);
    config::with_places(loaded, [&] { preprocess(loaded, place); });
    return 0;
}

}  // namespace flux::commands
