#include "flux/config/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string>

#include "config/options.h"
#include "config/values.h"
#include "flux/base/error.h"
#include "flux/config/run_files.h"

namespace flux::config {
namespace {

constexpr int64_t kPixelsPerToken = 16;  // the autoencoder's factor 8, then 2 x 2 latents a token

void check_batch(const LoadedConfig& loaded) {
    const Training& training = loaded.config.training;
    if (!training.global_batch_size) {
        return;
    }
    const int64_t global = *training.global_batch_size;
    if (global % training.batch_size != 0) {
        fail_config("{}: must be a multiple of training.batch_size = {}",
                    loaded.place("training.global_batch_size"), training.batch_size);
    }
}

void check_picture_sizes(const LoadedConfig& loaded) {
    const JobConfig& config = loaded.config;
    const auto check = [&](int64_t size, const char* name) {
        if (size % kPixelsPerToken != 0) {
            fail_config("{}: must be a multiple of {}; the nearest below is {}", loaded.place(name),
                        kPixelsPerToken, size / kPixelsPerToken * kPixelsPerToken);
        }
    };
    check(config.training.img_size, "training.img_size");
    check(config.inference.img_size.value_or(kPixelsPerToken), "inference.img_size");
}

void check_buckets(const LoadedConfig& loaded) {
    const Training& training = loaded.config.training;
    const int64_t step = training.buckets;
    if (step == 0) {
        return;
    }
    if (step != 16 && step != 64 && step != 128) {
        fail_config("{}: must be 0 (off), 16, 64 or 128", loaded.place("training.buckets"));
    }
    if (training.img_size % step != 0 || training.img_size < 2 * step) {
        fail_config(
            "{}: training.img_size = {} must be a multiple of it, and at least twice as much",
            loaded.place("training.buckets"), training.img_size);
    }
    if (training.shuffle != Shuffle::kGlobal) {
        fail_config(
            "{}: batches of one shape cannot keep the stored order: training.shuffle must be "
            "global",
            loaded.place("training.buckets"));
    }
}

/// Folders of a run lie in job.dump_folder, which is locked, probed and set aside as a whole.
void check_run_folder(const LoadedConfig& loaded, const char* name, const std::string& folder) {
    const std::filesystem::path path = std::filesystem::path(folder).lexically_normal();
    if (path.is_absolute() || path.empty() || *path.begin() == ".." || *path.begin() == ".") {
        fail_config(
            "{}: must name a folder inside of job.dump_folder, such as \"checkpoint\"; choose "
            "where a run is kept with job.dump_folder",
            loaded.place(name));
    }
    const std::string first = path.begin()->string();
    const auto is_first = [&](std::string_view taken) { return first == taken; };
    if (std::any_of(kRunFiles.begin(), kRunFiles.end(), is_first) ||
        std::any_of(kRunMarks.begin(), kRunMarks.end(), is_first)) {
        fail_config("{}: the run writes a file of this name; choose another", loaded.place(name));
    }
    if (first.starts_with(kEarlierRun)) {
        fail_config("{}: earlier runs are kept under such names; choose another",
                    loaded.place(name));
    }
}

bool lies_in(const std::filesystem::path& inner, const std::filesystem::path& outer) {
    const auto [end, rest] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
    return end == outer.end();
}

/// Two folders of a run hold different things, so neither may lie in the other.
void check_apart(const LoadedConfig& loaded, const char* name, const std::string& folder,
                 const char* other_name, const std::string& other_folder) {
    const auto path = std::filesystem::path(folder).lexically_normal();
    const auto other = std::filesystem::path(other_folder).lexically_normal();
    if (lies_in(path, other) || lies_in(other, path)) {
        fail_config("{}: must lie beside {} = \"{}\", not in it or around it", loaded.place(name),
                    other_name, other_folder);
    }
}

void check_run_folders(const LoadedConfig& loaded) {
    const JobConfig& config = loaded.config;
    const std::string& checkpoints = config.checkpoint.folder;
    const std::string& events = config.metrics.save_tb_folder;
    const std::string& pictures = config.eval.save_img_folder;
    check_run_folder(loaded, "checkpoint.folder", checkpoints);
    check_run_folder(loaded, "metrics.save_tb_folder", events);
    check_apart(loaded, "metrics.save_tb_folder", events, "checkpoint.folder", checkpoints);
    if (!pictures.empty()) {
        check_run_folder(loaded, "eval.save_img_folder", pictures);
        check_apart(loaded, "eval.save_img_folder", pictures, "checkpoint.folder", checkpoints);
        check_apart(loaded, "eval.save_img_folder", pictures, "metrics.save_tb_folder", events);
    }
}

/// Where samples come encoded, nothing at run time can supply what only an encoder knows.
void check_encoders(const LoadedConfig& loaded) {
    const Encoder& encoder = loaded.config.encoder;
    if (loaded.config.training.test_mode) {
        return;
    }
    if (encoder.t5_encoder.empty() != encoder.clip_encoder.empty()) {
        const bool t5_missing = encoder.t5_encoder.empty();
        fail_config("{}: must be set where {} is, or both must be empty (encoded data set)",
                    loaded.place(t5_missing ? "encoder.t5_encoder" : "encoder.clip_encoder"),
                    t5_missing ? "encoder.clip_encoder" : "encoder.t5_encoder");
    }
    if (encoder.autoencoder_path.empty()) {
        for (const char* name : {"encoder.autoencoder_shift", "encoder.autoencoder_scale"}) {
            if (!find_option(name)->fetch(loaded.config)) {
                fail_config(
                    "{}: must be a number, because encoder.autoencoder_path is empty (Flux: shift "
                    "0.1159, scale 0.3611)",
                    loaded.place(name));
            }
        }
    }
    if (encoder.t5_encoder.empty() && encoder.empty_encodings_path.empty() &&
        loaded.config.training.classifier_free_guidance_prob > 0) {
        fail_config(
            "{}: needs encoder.empty_encodings_path, because no text encoder is set that could "
            "encode the empty caption",
            loaded.place("training.classifier_free_guidance_prob"));
    }
}

/// What nothing uses would leave a user in the belief to train in FP8. A converter of another name
/// is refused later, for its name.
void check_float8(const LoadedConfig& loaded) {
    const Float8& float8 = loaded.config.float8;
    if (!loaded.config.model.converters.empty()) {
        return;
    }
    // Files for other models name float8.filter_fqns although nothing is converted.
    for (const auto& [key, is_set] : {std::pair("float8.recipe_name", !float8.recipe_name.empty()),
                                      std::pair("float8.emulate", float8.emulate)}) {
        if (is_set) {
            fail_config(
                "{}: does nothing without model.converters = [\"float8\"]: add that, or leave it "
                "out",
                loaded.place(key));
        }
    }
}

template <class T>
bool reads_as(const std::string& text, T& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size();
}

/// Nothing where the text is neither a count nor a share.
std::optional<SelectiveRecompute> read_selective(const std::string& text) {
    SelectiveRecompute result;
    if (reads_as(text, result.every_nth)) {
        return result.every_nth >= 1 ? std::optional(result) : std::nullopt;
    }
    result.every_nth = 0;
    if (reads_as(text, result.fraction) && result.fraction > 0 && result.fraction <= 1) {
        return result;
    }
    return std::nullopt;
}

[[noreturn]] void refuse_selective(const std::string& place, const std::string& text) {
    fail_config("{}: {}", place,
                text == "op" ? "blocks are computed again as a whole, not by operator; give \"2\" "
                               "for every second one or \"0.5\" for half of them"
                             : "must be a whole number n >= 1 (every n-th block) or a share in (0, "
                               "1] such as \"0.5\"");
}

}  // namespace

void validate(const LoadedConfig& loaded) {
    check_batch(loaded);
    check_picture_sizes(loaded);
    check_buckets(loaded);
    check_run_folders(loaded);
    if (const std::string& text = loaded.config.activation_checkpoint.selective_ac_option;
        !read_selective(text)) {
        refuse_selective(loaded.place("activation_checkpoint.selective_ac_option"), text);
    }
    for (const std::string& part : loaded.config.checkpoint.exclude_from_loading) {
        if (part != "optimizer" && part != "lr_scheduler" && part != "dataloader" &&
            part != "ema") {
            fail_config("{}: \"{}\": must be optimizer, lr_scheduler, dataloader or ema",
                        loaded.place("checkpoint.exclude_from_loading"), part);
        }
    }
    if (loaded.config.eval.steps == 0) {
        fail_config("{}: must be -1 (the whole set) or >= 1; an empty eval.dataset turns it off",
                    loaded.place("eval.steps"));
    }
    if (loaded.config.checkpoint.keep_latest_k == 1) {
        fail_config(
            "{}: must be 0 (keep all) or >= 2: while a new checkpoint is written, the one before "
            "it is the only complete one",
            loaded.place("checkpoint.keep_latest_k"));
    }
}

void validate_training(const LoadedConfig& loaded) {
    if (loaded.config.training.steps < 1) {
        fail_config("{}: must be >= 1: say how long to train, in a file or with --training.steps=N",
                    loaded.place("training.steps"));
    }
    check_encoders(loaded);
    check_float8(loaded);
}

void refuse_unbuilt(const LoadedConfig& loaded) {
    const JobConfig defaults;
    for (const Option& option : all_options()) {
        if (option.status.state != State::kNotBuilt) {
            continue;
        }
        std::vector<std::optional<Value>> accepted = option.status.accepted;
        if (accepted.empty()) {
            accepted.push_back(option.fetch(defaults));
        }
        if (std::find(accepted.begin(), accepted.end(), option.fetch(loaded.config)) ==
            accepted.end()) {
            std::vector<std::string> words;
            std::transform(accepted.begin(), accepted.end(), std::back_inserter(words),
                           [](const std::optional<Value>& value) { return to_text(value); });
            fail_config("{}: {} is not built yet; possible so far: {}", loaded.place(option.name()),
                        option.status.note, fmt::join(words, ", "));
        }
    }
}

int64_t global_batch_size(const Training& training, int64_t processes) {
    return training.global_batch_size.value_or(training.batch_size * processes *
                                               training.gradient_accumulation_steps);
}

SelectiveRecompute parse_selective_option(const ActivationCheckpoint& section) {
    const std::optional<SelectiveRecompute> result = read_selective(section.selective_ac_option);
    if (!result) {
        refuse_selective(fmt::format("activation_checkpoint.selective_ac_option = {}",
                                     to_text(Value(section.selective_ac_option))),
                         section.selective_ac_option);
    }
    return *result;
}

}  // namespace flux::config
