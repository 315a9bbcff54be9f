// CLIP's tokenizer: cleaning, a pattern that finds words, byte pairs within each word.
#pragma once

#include <filesystem>
#include <memory>

#include "flux/encoders/tokenizer.h"

namespace flux::encoders {

/// From vocab.json and merges.txt where both are there, else from tokenizer.json.
std::unique_ptr<Tokenizer> load_clip_tokenizer(const std::filesystem::path& folder);

}  // namespace flux::encoders
