// Captions as characters: repair of bytes that are not UTF-8, splitting at special tokens, and the
// cleaning that comes before CLIP's byte pairs. Character classes are those of Unicode 14, the
// version of the reference: later characters count as unassigned.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "encoders/tokenizer_files.h"

namespace flux::encoders {

/// The caption, with U+FFFD for every byte that begins no valid character. `storage` is used only
/// where something had to be replaced.
std::string_view valid_utf8(std::string_view caption, std::string& storage);

/// A stretch of the caption: a special token, or the text between two of them.
struct CaptionPart {
    std::string_view text;
    int64_t id = -1;  // >= 0 for a special token
};

/// Cuts captions at special tokens: the leftmost one, the longest where several begin.
class AddedTokens {
public:
    /// Later entries replace earlier ones with the same text.
    explicit AddedTokens(const std::vector<AddedToken>& tokens);

    /// Parts without text are left out. The views point into `caption`.
    std::vector<CaptionPart> split(std::string_view caption) const;

    /// The largest id, -1 without tokens.
    int64_t max_id() const;

private:
    const AddedToken* match(std::string_view text) const;

    std::vector<AddedToken> tokens_;  // longest first
    bool begins_[256] = {};           // by first byte
};

/// What CLIP's byte pairs are made from: control characters and U+FFFD dropped, spaces round CJK
/// ideographs, NFC, lower case; words are parted by white space.
void clean_for_clip(std::string_view text, std::string& out);

enum class CharClass : uint8_t { kSpace, kLetter, kNumber, kOther, kNothing };

/// The class that the word pattern sees. U+0345 is in none: without regard to case it is the letter
/// iota, yet no letter itself.
CharClass class_of(int32_t character);

}  // namespace flux::encoders
