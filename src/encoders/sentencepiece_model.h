// T5's vocabulary as the bytes of a SentencePiece model, from spiece.model or made from
// tokenizer.json. The library trusts the tables inside; here they are checked before it sees them.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "encoders/tokenizer_files.h"

namespace flux::encoders {

/// Throws Error naming `path` if the model's fields do not fit its size, or its table of character
/// replacements points outside itself.
void check_sentencepiece_model(std::string_view model, const std::filesystem::path& path);

/// The model in tokenizer.json: pieces, scores and character replacements. Pieces that are added
/// tokens are never found in a text.
std::string sentencepiece_model(const nlohmann::json& tokenizer,
                                const std::vector<AddedToken>& added,
                                const std::filesystem::path& path);

}  // namespace flux::encoders
