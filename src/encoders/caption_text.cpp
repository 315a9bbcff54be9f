#include "encoders/caption_text.h"

#include <unicode/locid.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "flux/base/error.h"
#include "flux/base/utf8.h"

namespace flux::encoders {
namespace {

constexpr uint8_t kUnicodeVersion = 14;
constexpr UChar32 kReplacement = 0xFFFD;
constexpr UChar32 kIotaBelow = 0x345;
constexpr std::string_view kReplacementBytes = "\xEF\xBF\xBD";

bool is_break(UChar32 c) { return c == '\t' || c == '\n' || c == '\r'; }

bool is_assigned(UChar32 c) {
    UVersionInfo age;
    u_charAge(c, age);
    return age[0] != 0 && age[0] <= kUnicodeVersion;
}

bool is_dropped(UChar32 c) {
    return c == 0 || c == kReplacement ||
           (!is_break(c) && ((U_GET_GC_MASK(c) & U_GC_C_MASK) != 0 || !is_assigned(c)));
}

/// The ideograph blocks that the reference parts into single words (no kana, no hangul).
bool is_ideograph(UChar32 c) {
    struct Range {
        UChar32 first;
        UChar32 last;
    };
    constexpr Range kRanges[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                 {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F},
                                 {0x2B820, 0x2CEAF}, {0x2F800, 0x2FA1F}};
    return std::any_of(std::begin(kRanges), std::end(kRanges),
                       [c](const Range& range) { return c >= range.first && c <= range.last; });
}

/// White space of Python's str.strip.
bool is_stripped(UChar32 c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 ||
           (U_GET_GC_MASK(c) & U_GC_Z_MASK) != 0;
}

std::string_view without_leading_space(std::string_view text) {
    int32_t i = 0;
    const auto size = static_cast<int32_t>(text.size());
    while (i < size) {
        const int32_t begin = i;
        UChar32 c;
        U8_NEXT(text.data(), i, size, c);
        if (!is_stripped(c)) {
            return text.substr(begin);
        }
    }
    return {};
}

std::string_view without_trailing_space(std::string_view text) {
    auto i = static_cast<int32_t>(text.size());
    while (i > 0) {
        const int32_t end = i;
        UChar32 c;
        U8_PREV(text.data(), 0, i, c);
        if (!is_stripped(c)) {
            return text.substr(0, end);
        }
    }
    return {};
}

bool is_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

void clean_ascii(std::string_view text, std::string& out) {
    for (const char c : text) {
        if (c >= 'A' && c <= 'Z') {
            out += static_cast<char>(c + ('a' - 'A'));
        } else if (c >= ' ' && c < 0x7F) {
            out += c;
        } else if (is_break(c)) {
            out += ' ';
        }
    }
}

const icu::Normalizer2& nfc() {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* normalizer = icu::Normalizer2::getNFCInstance(status);
    if (U_FAILURE(status)) {
        fail("ICU: the tables for NFC cannot be loaded ({}): reinstall libicu",
             u_errorName(status));
    }
    return *normalizer;
}

}  // namespace

std::string_view valid_utf8(std::string_view caption, std::string& storage) {
    auto bad = first_invalid_utf8(caption);
    if (!bad) {
        return caption;
    }
    storage.clear();
    while (bad) {
        storage.append(caption.substr(0, *bad)).append(kReplacementBytes);
        caption.remove_prefix(*bad + 1);
        bad = first_invalid_utf8(caption);
    }
    return storage.append(caption);
}

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens) {
    for (const AddedToken& token : tokens) {
        std::erase_if(tokens_, [&](const AddedToken& old) { return old.text == token.text; });
        tokens_.push_back(token);
        begins_[static_cast<unsigned char>(token.text.front())] = true;
    }
    std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
        return a.text.size() > b.text.size();
    });
}

int64_t AddedTokens::max_id() const {
    int64_t id = -1;
    for (const AddedToken& token : tokens_) {
        id = std::max(id, token.id);
    }
    return id;
}

const AddedToken* AddedTokens::match(std::string_view text) const {
    if (!begins_[static_cast<unsigned char>(text.front())]) {
        return nullptr;
    }
    const auto found = std::find_if(tokens_.begin(), tokens_.end(), [&](const AddedToken& token) {
        return text.starts_with(token.text);
    });
    return found != tokens_.end() ? &*found : nullptr;
}

std::vector<CaptionPart> AddedTokens::split(std::string_view caption) const {
    std::vector<CaptionPart> parts;
    size_t begin = 0;
    bool strip = false;
    const auto add_text = [&](size_t end, bool strip_end) {
        std::string_view text = caption.substr(begin, end - begin);
        text = strip ? without_leading_space(text) : text;
        text = strip_end ? without_trailing_space(text) : text;
        if (!text.empty()) {
            parts.push_back({text, -1});
        }
    };
    for (size_t i = 0; i < caption.size();) {
        const AddedToken* token = match(caption.substr(i));
        if (token == nullptr) {
            ++i;
            continue;
        }
        add_text(i, token->strips_left);
        parts.push_back({caption.substr(i, token->text.size()), token->id});
        i += token->text.size();
        begin = i;
        strip = token->strips_right;
    }
    add_text(caption.size(), false);
    return parts;
}

void clean_for_clip(std::string_view text, std::string& out) {
    out.clear();
    if (is_ascii(text)) {
        clean_ascii(text, out);
        return;
    }
    icu::UnicodeString kept;
    const auto size = static_cast<int32_t>(text.size());
    for (int32_t i = 0; i < size;) {
        UChar32 c;
        U8_NEXT_OR_FFFD(text.data(), i, size, c);
        if (is_dropped(c)) {
            continue;
        }
        const bool ideograph = is_ideograph(c);
        if (ideograph) {
            kept.append(UChar{' '});
        }
        const bool space = is_break(c) || u_charType(c) == U_SPACE_SEPARATOR;
        kept.append(space ? UChar32{' '} : c);
        if (ideograph) {
            kept.append(UChar{' '});
        }
    }
    UErrorCode status = U_ZERO_ERROR;
    icu::UnicodeString composed = nfc().normalize(kept, status);
    if (U_FAILURE(status)) {
        fail("a caption of {} bytes cannot be normalised to NFC: {}", text.size(),
             u_errorName(status));
    }
    composed.toLower(icu::Locale::getRoot()).toUTF8String(out);
}

CharClass class_of(int32_t character) {
    if (character < 0x80) {
        const auto c = static_cast<char>(character);
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        return letter                   ? CharClass::kLetter
               : (c >= '0' && c <= '9') ? CharClass::kNumber
               : c == ' '               ? CharClass::kSpace
                                        : CharClass::kOther;
    }
    const uint32_t category = U_GET_GC_MASK(character);
    if (character == kIotaBelow) {
        return CharClass::kNothing;
    }
    return (category & U_GC_L_MASK) != 0   ? CharClass::kLetter
           : (category & U_GC_N_MASK) != 0 ? CharClass::kNumber
           : (category & U_GC_Z_MASK) != 0 ? CharClass::kSpace
                                           : CharClass::kOther;
}

}  // namespace flux::encoders
