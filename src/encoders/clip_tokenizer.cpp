#include "encoders/clip_tokenizer.h"

#include <unicode/utf8.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "encoders/byte_pairs.h"
#include "encoders/caption_text.h"
#include "encoders/tokenizer_files.h"
#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::encoders {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// The reference reads no more merges than CLIP's own vocabulary has.
constexpr size_t kMostMerges = 49152 - 256 - 2;
constexpr std::string_view kStart = "<|startoftext|>";
constexpr std::string_view kEnd = "<|endoftext|>";
constexpr std::string_view kWholeTokens[] = {kStart, kEnd};
constexpr std::string_view kContractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
constexpr std::string_view kLongS = "\xC5\xBF";  // the same letter as s without regard to case

/// Bytes of `text` that `pattern` (lower case) matches at its beginning, 0 for none.
size_t match_length(std::string_view text, std::string_view pattern) {
    size_t at = 0;
    for (const char c : pattern) {
        const std::string_view rest = text.substr(at);
        if (rest.starts_with(c)) {
            at += 1;
        } else if (c == 's' && rest.starts_with(kLongS)) {
            at += kLongS.size();
        } else {
            return 0;
        }
    }
    return at;
}

template <size_t kCount>
size_t match_any(std::string_view text, const std::string_view (&patterns)[kCount]) {
    for (const std::string_view pattern : patterns) {
        if (const size_t length = match_length(text, pattern)) {
            return length;
        }
    }
    return 0;
}

CharClass next_class(std::string_view text, int32_t& at) {
    UChar32 c;
    U8_NEXT_OR_FFFD(text.data(), at, static_cast<int32_t>(text.size()), c);
    return class_of(c);
}

/// Bytes of the word at the beginning of `text`; `is_word` is false for what lies between words.
size_t word_length(std::string_view text, bool& is_word) {
    is_word = true;
    if (text.front() == '<') {
        if (const size_t length = match_any(text, kWholeTokens)) {
            return length;
        }
    } else if (text.front() == '\'') {
        if (const size_t length = match_any(text, kContractions)) {
            return length;
        }
    }
    int32_t at = 0;
    const CharClass kind = next_class(text, at);
    if (kind == CharClass::kLetter || kind == CharClass::kOther) {
        const auto size = static_cast<int32_t>(text.size());
        for (int32_t next = at; next < size; at = next) {
            if (next_class(text, next) != kind) {
                break;
            }
        }
        return at;
    }
    is_word = kind == CharClass::kNumber;
    return at;
}

struct ClipFiles {
    Vocabulary vocabulary;
    std::vector<Merge> merges;
    fs::path vocabulary_path;
    fs::path merges_path;
    std::vector<AddedToken> added_tokens;
};

void read_vocabulary(const Json& entries, ClipFiles& files) {
    if (!entries.is_object() || entries.empty()) {
        fail("{}: the vocabulary must be an object of tokens and ids",
             files.vocabulary_path.string());
    }
    files.vocabulary.reserve(entries.size());
    for (const auto& [token, id] : entries.items()) {
        files.vocabulary.emplace(token, json_id(id, token, files.vocabulary_path));
    }
}

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// "left right", parted by white space.
Merge parse_merge(std::string_view line, size_t number, const fs::path& path) {
    std::vector<std::string> words;
    for (size_t i = 0; i < line.size();) {
        const auto* end = std::find_if(line.begin() + i, line.end(), is_blank);
        const size_t length = end - (line.begin() + i);
        if (length > 0) {
            words.emplace_back(line.substr(i, length));
        }
        i += length + 1;
    }
    if (words.size() != 2) {
        fail("{}:{}: a merge is two tokens parted by a space, here are {}", path.string(), number,
             words.size());
    }
    return {words[0], words[1]};
}

/// The first line is the version and is not read.
void read_merges_text(ClipFiles& files) {
    const std::string text = read_text(files.merges_path);
    std::string_view rest = text;
    while (!rest.empty() && is_blank(rest.back())) {
        rest.remove_suffix(1);
    }
    for (size_t number = 1; !rest.empty() && files.merges.size() < kMostMerges; ++number) {
        const size_t end = std::min(rest.find('\n'), rest.size());
        if (number > 1) {
            files.merges.push_back(parse_merge(rest.substr(0, end), number, files.merges_path));
        }
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    if (files.merges.empty()) {
        fail("{}: holds no merges", files.merges_path.string());
    }
}

void read_merges_json(const Json& list, ClipFiles& files) {
    const fs::path& path = files.merges_path;
    if (!list.is_array()) {
        fail("{}: \"merges\" must be a list", path.string());
    }
    for (size_t i = 0; i < list.size(); ++i) {
        const Json& merge = list[i];
        if (merge.is_array() && merge.size() == 2) {
            files.merges.push_back(
                {json_string(merge[0], "a merge", path), json_string(merge[1], "a merge", path)});
        } else {
            files.merges.push_back(parse_merge(json_string(merge, "a merge", path), i + 1, path));
        }
    }
}

ClipFiles read_tokenizer_json(const fs::path& path) {
    ClipFiles files;
    files.vocabulary_path = files.merges_path = path;
    const Json json = read_json_object(path);
    const Json& model = json_member(json, "model", path);
    const Json& suffix = json_member(model, "end_of_word_suffix", path);
    if (!suffix.is_string() || suffix.get<std::string>() != "</w>") {
        fail("{}: end_of_word_suffix is {}: byte pairs of CLIP mark the end of a word with </w>",
             path.string(), suffix.dump(-1, ' ', true, Json::error_handler_t::replace));
    }
    read_vocabulary(json_member(model, "vocab", path), files);
    read_merges_json(json_member(model, "merges", path), files);
    files.added_tokens = added_tokens_of(json, path);
    return files;
}

ClipFiles read_files(const fs::path& folder) {
    const fs::path vocabulary = folder / "vocab.json", merges = folder / "merges.txt";
    if (!fs::exists(vocabulary) || !fs::exists(merges)) {
        return read_tokenizer_json(folder / "tokenizer.json");
    }
    ClipFiles files;
    files.vocabulary_path = vocabulary;
    files.merges_path = merges;
    read_vocabulary(read_json_object(vocabulary), files);
    read_merges_text(files);
    return files;
}

struct Specials {
    int64_t start;
    int64_t end;
    int64_t pad;
    int64_t unknown;
    std::vector<AddedToken> tokens;
};

Specials find_specials(ClipFiles& files, const TokenizerSettings& settings) {
    Specials specials{};
    specials.tokens = files.added_tokens;
    if (const auto& listed = settings.added_tokens()) {
        specials.tokens.insert(specials.tokens.end(), listed->begin(), listed->end());
    }
    for (const AddedToken& token : specials.tokens) {
        files.vocabulary.emplace(token.text, token.id);
    }
    const auto special = [&](std::string_view name, std::string_view otherwise) {
        const std::string text = settings.special_token(name, otherwise);
        const auto found = files.vocabulary.find(text);
        if (found == files.vocabulary.end()) {
            fail("{}: {} \"{}\" is not in the vocabulary", files.vocabulary_path.string(), name,
                 text);
        }
        if (!text.empty()) {
            specials.tokens.push_back({text, found->second});
        }
        return found->second;
    };
    specials.start = special("bos_token", kStart);
    specials.end = special("eos_token", kEnd);
    specials.pad = special("pad_token", kEnd);
    specials.unknown = special("unk_token", kEnd);
    return specials;
}

class ClipTokenizer final : public Tokenizer {
public:
    ClipTokenizer(const ClipFiles& files, const Specials& specials)
        : start_(specials.start),
          end_(specials.end),
          pad_(specials.pad),
          added_(specials.tokens),
          pairs_(files.vocabulary, files.merges, specials.unknown, files.merges_path) {
        for (const std::string_view token : kWholeTokens) {
            const auto found = files.vocabulary.find(std::string(token));
            whole_ids_.push_back(found != files.vocabulary.end() ? found->second
                                                                 : specials.unknown);
        }
        for (const auto& [token, id] : files.vocabulary) {
            vocabulary_size_ = std::max(vocabulary_size_, id + 1);
        }
    }

    std::vector<int64_t> encode(std::string_view caption, int64_t length) const override {
        if (length < 2) {
            fail("CLIP tokens: length {}: must be >= 2 (start and end)", length);
        }
        std::string storage, cleaned;
        std::vector<int64_t> ids{start_};
        const size_t room = size_t(length) - 1;  // the end follows
        for (const CaptionPart& part : added_.split(valid_utf8(caption, storage))) {
            if (ids.size() >= room) {
                break;
            }
            if (part.id >= 0) {
                ids.push_back(part.id);
            } else {
                clean_for_clip(part.text, cleaned);
                encode_words(cleaned, room, ids);
            }
        }
        ids.resize(std::min(ids.size(), room));
        ids.push_back(end_);
        ids.resize(length, pad_);
        return ids;
    }

    int64_t vocabulary_size() const override { return vocabulary_size_; }
    TokenizerKind kind() const override { return TokenizerKind::kClip; }

private:
    /// Stops when there are `room` ids: the rest would be cut away.
    void encode_words(std::string_view text, size_t room, std::vector<int64_t>& ids) const {
        while (!text.empty() && ids.size() < room) {
            bool is_word = false;
            const size_t length = word_length(text, is_word);
            if (is_word) {
                encode_word(text.substr(0, length), ids);
            }
            text.remove_prefix(length);
        }
    }

    void encode_word(std::string_view word, std::vector<int64_t>& ids) const {
        for (size_t i = 0; i < std::size(kWholeTokens); ++i) {
            if (word == kWholeTokens[i]) {
                ids.push_back(whole_ids_[i]);
                return;
            }
        }
        pairs_.encode(word, ids);
    }

    int64_t start_;
    int64_t end_;
    int64_t pad_;
    AddedTokens added_;
    BytePairs pairs_;
    std::vector<int64_t> whole_ids_;  // of kWholeTokens, which upper case also spells
    int64_t vocabulary_size_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> load_clip_tokenizer(const fs::path& folder) {
    const TokenizerSettings settings(folder);
    ClipFiles files = read_files(folder);
    const Specials specials = find_specials(files, settings);
    return std::make_unique<ClipTokenizer>(files, specials);
}

}  // namespace flux::encoders
