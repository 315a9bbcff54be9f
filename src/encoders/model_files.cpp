#include "flux/encoders/model_files.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "encoders/config_file.h"
#include "encoders/hub_cache.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/hub_name.h"

namespace flux::encoders {
namespace {

namespace fs = std::filesystem;

/// How repositories name the parts of one kind.
struct Names {
    std::string_view part;       // folder in a repository of the diffusers library
    std::string_view tokenizer;  // and that of its tokenizer
    std::vector<std::string_view> stems;
};

Names names_of(ModelKind kind) {
    switch (kind) {
        case ModelKind::kT5:
            return {"text_encoder_2", "tokenizer_2", {"model"}};
        case ModelKind::kClip:
            return {"text_encoder", "tokenizer", {"model"}};
        case ModelKind::kAutoencoder:
            break;
    }
    return {"vae", "", {"ae", "diffusion_pytorch_model", "model"}};
}

/// What an option's value names on this machine.
fs::path locate(const EncoderOption& option) {
    std::error_code problem;
    if (!option.value.empty() && fs::exists(option.value, problem)) {
        return option.value;
    }
    if (problem && problem != std::errc::filename_too_long) {
        fail_config("{}: cannot be looked at: {}", option.place(), problem.message());
    }
    if (!is_hub_name(option.value)) {
        fail_config("{}: no such folder or file: scripts/download_encoders.sh fetches the encoders",
                    option.place());
    }
    const fs::path snapshot = cached_snapshot(option.value);
    if (snapshot.empty()) {
        fail_config(
            "{}: no such folder, and not in the Hugging Face cache {}: "
            "scripts/download_encoders.sh fetches the encoders; then name their folder",
            option.place(), hub_cache().string());
    }
    return snapshot;
}

std::vector<fs::path> files_ending_in(const fs::path& folder, std::string_view ending) {
    std::vector<fs::path> found;
    for (const fs::path& entry : list_folder(folder)) {
        if (entry.filename().string().ends_with(ending)) {
            found.push_back(entry);
        }
    }
    return found;
}

/// The weights in a folder: under one of the usual names, else the only set there is.
fs::path find_weights(ModelKind kind, const fs::path& folder, const EncoderOption& option) {
    constexpr std::string_view kFile = ".safetensors";
    constexpr std::string_view kIndex = ".safetensors.index.json";
    for (const std::string_view stem : names_of(kind).stems) {
        for (const std::string_view ending : {kFile, kIndex}) {
            const fs::path path = folder / fmt::format("{}{}", stem, ending);
            if (fs::exists(path)) {
                return path;
            }
        }
    }
    for (const std::string_view ending : {kIndex, kFile}) {
        const std::vector<fs::path> found = files_ending_in(folder, ending);
        if (found.size() == 1) {
            return found.front();
        }
        if (found.size() > 1) {
            fail_config("{}: {} holds {} and {}: name the file", option.place(), folder.string(),
                        found[0].filename().string(), found[1].filename().string());
        }
    }
    const bool pickled = !files_ending_in(folder, ".bin").empty();
    fail_config(
        "{}: {} holds no safetensors file{}: scripts/download_encoders.sh fetches the encoders",
        option.place(), folder.string(),
        pickled ? ", only weights as .bin, which are programs and are not read" : "");
}

/// A config.json beside a single file may belong to something else.
bool describes(ModelKind kind, const fs::path& config_json) {
    const ConfigFile file(config_json);
    switch (kind) {
        case ModelKind::kT5:
            return file.text("model_type", "") == "t5";
        case ModelKind::kClip:
            return file.text("model_type", "").starts_with("clip");
        case ModelKind::kAutoencoder:
            break;
    }
    return file.has("latent_channels");
}

bool holds_tokenizer(const fs::path& folder) {
    constexpr std::array kFiles{"tokenizer.json", "vocab.json", "spiece.model"};
    return std::any_of(kFiles.begin(), kFiles.end(),
                       [&](const char* file) { return fs::exists(folder / file); });
}

/// Weights of both text encoders may lie in one folder with the tokenizer of one of them.
bool holds_tokenizer_of(ModelKind kind, const fs::path& folder) {
    const bool clip = fs::exists(folder / "vocab.json"), t5 = fs::exists(folder / "spiece.model");
    return kind == ModelKind::kClip ? clip || (holds_tokenizer(folder) && !t5)
                                    : t5 || (holds_tokenizer(folder) && !clip);
}

/// "text_encoder_2" -> "tokenizer_2"; else the usual name.
std::string sibling_tokenizer(ModelKind kind, const fs::path& folder) {
    constexpr std::string_view kEncoder = "text_encoder";
    const std::string name = fs::absolute(folder).lexically_normal().filename().string();
    return name.starts_with(kEncoder) ? "tokenizer" + name.substr(kEncoder.size())
                                      : std::string(names_of(kind).tokenizer);
}

}  // namespace

std::string EncoderOption::place() const { return fmt::format("{} = \"{}\"", name, value); }

ModelFiles find_model_files(ModelKind kind, const EncoderOption& option) {
    ModelFiles files;
    const fs::path located = locate(option);
    if (fs::is_directory(located)) {
        // A whole pipeline; Flux's has the autoencoder at its top, too.
        const bool pipeline =
            fs::exists(located / "model_index.json") &&
            !(kind == ModelKind::kAutoencoder && fs::exists(located / "ae.safetensors"));
        files.folder = pipeline ? located / names_of(kind).part : located;
        if (!fs::is_directory(files.folder)) {
            fail_config("{}: {} is missing, where a pipeline has its {}", option.place(),
                        files.folder.string(), name_of(kind));
        }
        files.weights = find_weights(kind, files.folder, option);
    } else {
        files.weights = located;
        files.folder = located.parent_path();
    }
    const fs::path config = files.folder / "config.json";
    if (fs::exists(config) && (fs::is_directory(located) || describes(kind, config))) {
        files.config = config;
    }
    return files;
}

fs::path find_tokenizer_folder(ModelKind kind, const ModelFiles& files,
                               const EncoderOption& tokenizer) {
    if (!tokenizer.value.empty()) {
        const fs::path folder = locate(tokenizer);
        if (!holds_tokenizer(folder)) {
            fail_config(
                "{}: must be a folder with tokenizer.json, with vocab.json and merges.txt (CLIP) "
                "or with spiece.model (T5)",
                tokenizer.place());
        }
        return folder;
    }
    // lexically_normal() first: "x/.." must not go through a link.
    const fs::path folder = fs::absolute(files.folder).lexically_normal();
    const fs::path sibling = (folder.has_filename() ? folder : folder.parent_path()).parent_path() /
                             sibling_tokenizer(kind, files.folder);
    for (const fs::path& candidate : {files.folder, sibling}) {
        if (holds_tokenizer_of(kind, candidate)) {
            return candidate;
        }
    }
    fail_config("{}: holds no tokenizer, nor does {}: name its folder with {}",
                files.folder.string(), sibling.string(), tokenizer.name);
}

}  // namespace flux::encoders
