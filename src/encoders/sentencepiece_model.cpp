// Field numbers are those of sentencepiece_model.proto; the encoding is protobuf's.
#include "encoders/sentencepiece_model.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "flux/base/error.h"

namespace flux::encoders {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
enum PieceType : uint64_t { kNormal = 1, kUnknown = 2, kControl = 3 };
constexpr uint64_t kPiecesField = 1, kNormalizerField = 3;           // of the model
constexpr uint64_t kTextField = 1, kScoreField = 2, kTypeField = 3;  // of a piece
constexpr uint64_t kCharsmapField = 2;                               // of the normalizer
constexpr size_t kTrieBlock = 256;

/// Walks through the fields of one message.
class Fields {
public:
    Fields(std::string_view bytes, const fs::path& path) : rest_(bytes), path_(path) {}

    /// Calls visit(number, bytes) for every field that holds bytes.
    void each(const std::function<void(uint64_t, std::string_view)>& visit) {
        while (!rest_.empty()) {
            const uint64_t key = varint();
            switch (key & 7) {
                case kVarint:
                    varint();
                    break;
                case kFixed64:
                    take(8);
                    break;
                case kFixed32:
                    take(4);
                    break;
                case kBytes:
                    visit(key >> 3, take(varint()));
                    break;
                default:
                    damaged();
            }
        }
    }

private:
    uint64_t varint() {
        uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            const auto byte = static_cast<unsigned char>(take(1)[0]);
            value |= uint64_t{byte & 0x7Fu} << shift;
            if (byte < 0x80) {
                return value;
            }
        }
        damaged();
    }

    std::string_view take(uint64_t size) {
        if (size > rest_.size()) {
            damaged();
        }
        const std::string_view bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return bytes;
    }

    [[noreturn]] void damaged() const {
        fail("{}: not a SentencePiece model, or cut off: copy or download it again",
             path_.string());
    }

    std::string_view rest_;
    const fs::path& path_;
};

/// A double-array trie (size in bytes, then its units), then texts that each end in a zero byte.
/// The library follows the trie's links unchecked.
void check_charsmap(std::string_view map, const fs::path& path) {
    if (map.empty()) {
        return;
    }
    const auto damaged = [&](const char* what) {
        fail("{}: table of character replacements: {}: copy or download it again", path.string(),
             what);
    };
    uint32_t trie_bytes = 0;
    if (map.size() <= sizeof trie_bytes) {
        damaged("too short");
    }
    std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
    map.remove_prefix(sizeof trie_bytes);
    const size_t units = trie_bytes / sizeof(uint32_t);
    if (trie_bytes >= map.size() || units == 0 || trie_bytes % (kTrieBlock * 4) != 0) {
        damaged("the trie's size does not fit");
    }
    const std::string_view texts = map.substr(trie_bytes);
    if (texts.back() != '\0') {
        damaged("the last text has no end");
    }
    std::vector<uint32_t> trie(units);
    std::memcpy(trie.data(), map.data(), trie_bytes);
    for (size_t i = 0; i < units; ++i) {
        const uint32_t unit = trie[i];
        if (unit >> 31 != 0) {
            continue;  // a value, which no label leads through
        }
        const size_t child = i ^ (size_t{unit >> 10} << ((unit & (1u << 9)) >> 6));
        if (child / kTrieBlock >= units / kTrieBlock) {
            damaged("a link leads outside the trie");
        }
        const bool has_value = (unit >> 8 & 1) != 0;
        if (has_value && (trie[child] & ~(1u << 31)) >= texts.size()) {
            damaged("a replacement lies outside the texts");
        }
    }
}

void append_varint(std::string& out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
        out += static_cast<char>(value | 0x80);
    }
    out += static_cast<char>(value);
}

void append_bytes(std::string& out, uint64_t field, std::string_view bytes) {
    append_varint(out, field << 3 | kBytes);
    append_varint(out, bytes.size());
    out += bytes;
}

std::string piece_bytes(const std::string& text, float score, PieceType type) {
    std::string piece;
    append_bytes(piece, kTextField, text);
    append_varint(piece, kScoreField << 3 | kFixed32);
    const auto bits = std::bit_cast<uint32_t>(score);
    piece.append(reinterpret_cast<const char*>(&bits), sizeof bits);
    append_varint(piece, kTypeField << 3 | kVarint);
    append_varint(piece, type);
    return piece;
}

std::string base64_decoded(std::string_view text, const fs::path& path) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string bytes;
    uint32_t bits = 0;
    int count = 0;
    while (!text.empty() && text.back() == '=') {
        text.remove_suffix(1);
    }
    for (const char c : text) {
        const size_t digit = kDigits.find(c);
        if (digit == std::string_view::npos) {
            fail("{}: precompiled_charsmap is not base64", path.string());
        }
        bits = bits << 6 | static_cast<uint32_t>(digit);
        count += 6;
        if (count >= 8) {
            count -= 8;
            bytes += static_cast<char>(bits >> count);
        }
    }
    return bytes;
}

/// The replacements: of the normalizer itself, or of the one in a sequence that has them.
std::string charsmap_of(const Json& tokenizer, const fs::path& path) {
    const auto found = tokenizer.find("normalizer");
    if (found == tokenizer.end() || !found->is_object()) {
        return {};
    }
    std::vector<const Json*> normalizers{&*found};
    if (const auto list = found->find("normalizers"); list != found->end() && list->is_array()) {
        for (const Json& normalizer : *list) {
            normalizers.push_back(&normalizer);
        }
    }
    for (const Json* normalizer : normalizers) {
        if (normalizer->is_object() && normalizer->contains("precompiled_charsmap")) {
            const Json& map = (*normalizer)["precompiled_charsmap"];
            return map.is_null()
                       ? std::string()
                       : base64_decoded(json_string(map, "precompiled_charsmap", path), path);
        }
    }
    return {};
}

}  // namespace

void check_sentencepiece_model(std::string_view model, const fs::path& path) {
    Fields(model, path).each([&](uint64_t field, std::string_view bytes) {
        if (field == kNormalizerField) {
            Fields(bytes, path).each([&](uint64_t inner, std::string_view map) {
                if (inner == kCharsmapField) {
                    check_charsmap(map, path);
                }
            });
        }
    });
}

std::string sentencepiece_model(const Json& tokenizer, const std::vector<AddedToken>& added,
                                const fs::path& path) {
    const Json& model = json_member(tokenizer, "model", path);
    const Json& pieces = json_member(model, "vocab", path);
    const int64_t unknown = json_id(json_member(model, "unk_id", path), "unk_id", path);
    if (!pieces.is_array() || unknown >= static_cast<int64_t>(pieces.size())) {
        fail("{}: \"vocab\" must be a list of pieces that holds the unknown one, {}", path.string(),
             unknown);
    }
    std::unordered_set<std::string_view> never_found;
    for (const AddedToken& token : added) {
        never_found.insert(token.text);
    }
    std::string out;
    for (size_t i = 0; i < pieces.size(); ++i) {
        const Json& entry = pieces[i];
        if (!entry.is_array() || entry.size() != 2 || !entry[1].is_number()) {
            fail("{}: piece {}: must be a text and its score", path.string(), i);
        }
        const std::string text = json_string(entry[0], "a piece", path);
        const auto score = static_cast<float>(entry[1].get<double>());
        if (text.empty() || text.find('\0') != std::string::npos || !std::isfinite(score)) {
            fail(
                "{}: piece {}: its text must not be empty nor hold a zero byte, its score must be "
                "finite",
                path.string(), i);
        }
        const PieceType type = static_cast<int64_t>(i) == unknown ? kUnknown
                               : never_found.contains(text)       ? kControl
                                                                  : kNormal;
        append_bytes(out, kPiecesField, piece_bytes(text, score, type));
    }
    std::string normalizer;
    append_bytes(normalizer, kCharsmapField, charsmap_of(tokenizer, path));
    append_bytes(out, kNormalizerField, normalizer);
    return out;
}

}  // namespace flux::encoders
