#include "encoders/byte_pairs.h"

#include <unicode/utf8.h>

#include <array>
#include <bit>
#include <functional>
#include <queue>
#include <tuple>

#include "flux/base/error.h"

namespace flux::encoders {
namespace {

constexpr uint32_t kBytes = 256;
constexpr size_t kShortWord = 64;
constexpr std::string_view kEndOfWord = "</w>";

/// Vocabularies write bytes as visible characters: printable Latin-1 as itself, the others as the
/// characters from U+0100 on.
std::array<std::string, kBytes> byte_names() {
    std::array<std::string, kBytes> names;
    int32_t next = 256;
    for (int32_t byte = 0; byte < int32_t{kBytes}; ++byte) {
        const bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
        const int32_t character = visible ? byte : next++;
        char bytes[U8_MAX_LENGTH];
        int32_t size = 0;
        U8_APPEND_UNSAFE(bytes, size, character);
        names[byte].assign(bytes, size);
    }
    return names;
}

uint64_t pair_of(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }

size_t hash(uint64_t pair) { return pair * 0x9E3779B97F4A7C15u >> 32; }

uint32_t first_symbol(std::string_view word, size_t i) {
    return static_cast<unsigned char>(word[i]) + (i + 1 == word.size() ? kBytes : 0);
}

}  // namespace

BytePairs::BytePairs(const Vocabulary& vocabulary, const std::vector<Merge>& merges,
                     int64_t unknown, const std::filesystem::path& path) {
    std::unordered_map<std::string, uint32_t> symbols;
    const auto symbol_of = [&](const std::string& text, int64_t id) {
        const auto [entry, is_new] = symbols.emplace(text, static_cast<uint32_t>(ids_.size()));
        if (is_new) {
            ids_.push_back(id);
        }
        return entry->second;
    };
    const auto names = byte_names();
    for (const std::string_view suffix : {std::string_view{}, kEndOfWord}) {
        for (const std::string& name : names) {
            const std::string text = name + std::string(suffix);
            const auto found = vocabulary.find(text);
            symbol_of(text, found != vocabulary.end() ? found->second : unknown);
        }
    }
    slots_.resize(std::bit_ceil(2 * merges.size() + 2));
    for (size_t i = 0; i < merges.size(); ++i) {
        const auto known = [&](const std::string& text) {
            const auto found = vocabulary.find(text);
            if (found == vocabulary.end()) {
                fail(
                    "{}: merge {}: \"{}\" is not in the vocabulary: the files do not belong "
                    "together",
                    path.string(), i + 1, text);
            }
            return symbol_of(text, found->second);
        };
        const uint64_t pair = pair_of(known(merges[i].left), known(merges[i].right));
        slot(pair) = {pair, static_cast<uint32_t>(i), known(merges[i].left + merges[i].right)};
    }
}

BytePairs::Slot& BytePairs::slot(uint64_t pair) {
    const size_t mask = slots_.size() - 1;
    size_t i = hash(pair) & mask;
    while (slots_[i].pair != pair && slots_[i].pair != kEmpty) {
        i = (i + 1) & mask;
    }
    return slots_[i];
}

BytePairs::Slot BytePairs::find(uint32_t left, uint32_t right) const {
    const uint64_t pair = pair_of(left, right);
    const size_t mask = slots_.size() - 1;
    size_t i = hash(pair) & mask;
    while (slots_[i].pair != pair && slots_[i].pair != kEmpty) {
        i = (i + 1) & mask;
    }
    return slots_[i];
}

void BytePairs::encode(std::string_view word, std::vector<int64_t>& ids) const {
    word.size() <= kShortWord ? encode_short(word, ids) : encode_long(word, ids);
}

/// Looks for the first merge anew after each one: nothing is allocated, and words are short.
void BytePairs::encode_short(std::string_view word, std::vector<int64_t>& ids) const {
    uint32_t symbols[kShortWord];
    Slot pairs[kShortWord];  // pairs[i]: symbols i and i + 1
    size_t count = word.size();
    for (size_t i = 0; i < count; ++i) {
        symbols[i] = first_symbol(word, i);
    }
    for (size_t i = 0; i + 1 < count; ++i) {
        pairs[i] = find(symbols[i], symbols[i + 1]);
    }
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; ++i) {
            best = pairs[i].rank < pairs[best].rank ? i : best;
        }
        if (pairs[best].rank == kNoRank) {
            break;
        }
        symbols[best] = pairs[best].merged;
        --count;
        for (size_t i = best + 1; i < count; ++i) {
            symbols[i] = symbols[i + 1];
            pairs[i] = pairs[i + 1];
        }
        if (best + 1 < count) {
            pairs[best] = find(symbols[best], symbols[best + 1]);
        }
        if (best > 0) {
            pairs[best - 1] = find(symbols[best - 1], symbols[best]);
        }
    }
    for (size_t i = 0; i < count; ++i) {
        ids.push_back(ids_[symbols[i]]);
    }
}

/// The same with a queue, so that a caption of one enormous word takes n log n.
void BytePairs::encode_long(std::string_view word, std::vector<int64_t>& ids) const {
    struct Node {
        uint32_t symbol;
        size_t previous;
        size_t next;
        bool alive;
    };
    const size_t end = word.size();
    std::vector<Node> nodes(end);
    using Candidate = std::tuple<uint32_t, size_t, uint64_t>;  // rank, place, pair
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto offer = [&](size_t left) {
        if (left < end && nodes[left].next < end) {
            const uint32_t right = nodes[nodes[left].next].symbol;
            const Slot merge = find(nodes[left].symbol, right);
            if (merge.rank != kNoRank) {
                queue.emplace(merge.rank, left, merge.pair);
            }
        }
    };
    for (size_t i = 0; i < end; ++i) {
        nodes[i] = {first_symbol(word, i), i == 0 ? end : i - 1, i + 1, true};
    }
    for (size_t i = 0; i < end; ++i) {
        offer(i);
    }
    while (!queue.empty()) {
        const auto [rank, left, pair] = queue.top();
        queue.pop();
        Node& node = nodes[left];
        if (!node.alive || node.next >= end ||
            pair_of(node.symbol, nodes[node.next].symbol) != pair) {
            continue;  // one of the two has been merged since
        }
        node.symbol = find(node.symbol, nodes[node.next].symbol).merged;
        nodes[node.next].alive = false;
        node.next = nodes[node.next].next;
        if (node.next < end) {
            nodes[node.next].previous = left;
        }
        offer(node.previous);
        offer(left);
    }
    for (size_t i = 0; i < end; i = nodes[i].next) {
        ids.push_back(ids_[nodes[i].symbol]);
    }
}

}  // namespace flux::encoders
