// Captions to token ids, as the pretrained text encoders were trained on them.
//
// Two kinds: CLIP's byte pairs and T5's SentencePiece unigrams. Both give the ids of the "slow"
// Hugging Face tokenizers (CLIP without ftfy), which the published encoders are run with; the
// "fast" ones differ in rare places (special ids inside a caption, combining sequences).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

namespace flux::encoders {

enum class TokenizerKind { kClip, kT5 };

/// Constant once loaded: several threads may encode with one tokenizer.
class Tokenizer {
public:
    virtual ~Tokenizer() = default;

    /// Ids of the caption, cut to and padded to `length`, special tokens included. Bytes that are
    /// not UTF-8 count as U+FFFD.
    virtual std::vector<int64_t> encode(std::string_view caption, int64_t length) const = 0;

    /// Number of ids the tokenizer can produce: every id is below it.
    virtual int64_t vocabulary_size() const = 0;

    virtual TokenizerKind kind() const = 0;
};

/// The kind is decided by the files of the folder, not by its name: vocab.json with merges.txt is
/// CLIP, spiece.model is T5; else tokenizer.json tells by its model type, BPE (CLIP) or Unigram
/// (T5). A missing or damaged file is an error that names it.
TokenizerKind tokenizer_kind(const std::filesystem::path& folder);
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

}  // namespace flux::encoders
