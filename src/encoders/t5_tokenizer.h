// T5's tokenizer: SentencePiece unigrams between special tokens, closed by the end token.
#pragma once

#include <filesystem>
#include <memory>

#include "flux/encoders/tokenizer.h"

namespace flux::encoders {

/// From spiece.model where it is there, else from tokenizer.json.
std::unique_ptr<Tokenizer> load_t5_tokenizer(const std::filesystem::path& folder);

}  // namespace flux::encoders
