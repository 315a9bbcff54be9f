// Where the files of a pretrained encoder are: a folder as Hugging Face stores it, a single file,
// or the name of a repository in the Hugging Face cache. Nothing is downloaded.
#pragma once

#include <filesystem>
#include <string>

#include "flux/encoders/frozen.h"

namespace flux::encoders {

/// An option of [encoder] and its value, for messages.
struct EncoderOption {
    std::string name;  // "encoder.t5_encoder"
    std::string value;

    /// encoder.t5_encoder = "value"
    std::string place() const;
};

struct ModelFiles {
    std::filesystem::path weights;  // a safetensors file, or the index of its shards
    std::filesystem::path config;   // config.json; empty where there is none for these weights
    std::filesystem::path folder;   // of both
};

/// Throws Error naming the option where nothing is found, with the remedy.
ModelFiles find_model_files(ModelKind kind, const EncoderOption& option);

/// The folder with the tokenizer of a text encoder: the one that `tokenizer` names, or the weights'
/// folder, or its sibling as in repositories of the diffusers library. Throws Error naming the
/// option where there is none.
std::filesystem::path find_tokenizer_folder(ModelKind kind, const ModelFiles& files,
                                            const EncoderOption& tokenizer);

/// The newest snapshot of a repository in the Hugging Face cache; empty where the cache has none.
/// HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME move the cache as they do for its own tools.
std::filesystem::path cached_snapshot(const std::string& repository);

}  // namespace flux::encoders
