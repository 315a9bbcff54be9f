// Byte-pair encoding of single words, as CLIP's vocabulary was built: a word begins as its bytes,
// the last one marked as the end of the word, and the neighbours whose merge comes first in the
// list are joined until none is left to join.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flux::encoders {

using Vocabulary = std::unordered_map<std::string, int64_t>;

struct Merge {
    std::string left;
    std::string right;
};

class BytePairs {
public:
    /// `path` is named in errors: every part and every result of a merge must be in the vocabulary.
    /// Bytes that are not in it become `unknown`.
    BytePairs(const Vocabulary& vocabulary, const std::vector<Merge>& merges, int64_t unknown,
              const std::filesystem::path& path);

    /// Adds the ids of a word (not empty).
    void encode(std::string_view word, std::vector<int64_t>& ids) const;

private:
    struct Slot {
        uint64_t pair = kEmpty;
        uint32_t rank = kNoRank;
        uint32_t merged = 0;
    };
    static constexpr uint64_t kEmpty = ~uint64_t{0};
    static constexpr uint32_t kNoRank = ~uint32_t{0};

    Slot& slot(uint64_t pair);
    Slot find(uint32_t left, uint32_t right) const;
    void encode_short(std::string_view word, std::vector<int64_t>& ids) const;
    void encode_long(std::string_view word, std::vector<int64_t>& ids) const;

    std::vector<Slot> slots_;   // open addressing, a power of two, at most half full
    std::vector<int64_t> ids_;  // by symbol: bytes, bytes at the end of a word, merged ones
};

}  // namespace flux::encoders
