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

}  // namespace flux::test
