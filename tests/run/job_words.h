// Command lines of the program, put together from parts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace flux::test {

using Words = std::vector<std::string>;

inline Words operator+(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

/// Trains on what `preprocess` wrote to `folder`, without any encoder.
inline Words stored_encodings(const std::filesystem::path& folder) {
    return {"--training.dataset=cc12m_preprocessed",
            "--training.dataset_path=" + folder.string(),
            "--encoder.empty_encodings_path=" + (folder / "empty_encodings").string(),
            "--encoder.t5_encoder=",
            "--encoder.clip_encoder=",
            "--encoder.autoencoder_path="};
}

/// A configuration file: the smallest model, on drawn shapes. `model`: further lines of [model].
inline std::string tiny_config(const std::string& model = {}) {
    return R"([metrics]
mlperf_logging = false
[model]
flavor = "flux-tiny"
hidden_size = 32
num_heads = 2
axes_dim = [4, 6, 6]
depth = 1
depth_single_blocks = 1
)" + model +
           R"([encoder]
t5_encoder = "words"
clip_encoder = "words"
autoencoder_path = "dct"
context_in_dim = 16
max_t5_encoding_len = 3
[training]
dataset = "shapes"
img_size = 32
batch_size = 2
steps = 3
[eval]
dataset = ""
)";
}

}  // namespace flux::test
