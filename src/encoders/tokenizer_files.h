// What the files of a tokenizer's folder say, apart from the vocabulary itself: JSON with bounded
// size and depth, and the special tokens. Read once when a tokenizer is loaded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flux::encoders {

/// Throws Error naming the file for text that is no JSON object, is nested deeper than any
/// tokenizer's or is too large.
nlohmann::json read_json_object(const std::filesystem::path& path);

/// A member of an object. Throws Error naming file and key if it is absent or of another type.
const nlohmann::json& json_member(const nlohmann::json& object, std::string_view key,
                                  const std::filesystem::path& path);
std::string json_string(const nlohmann::json& value, std::string_view what,
                        const std::filesystem::path& path);
/// A token id: a whole number from 0 to 2^30.
int64_t json_id(const nlohmann::json& value, std::string_view what,
                const std::filesystem::path& path);

/// A token that stands for itself in the caption and is never broken up.
struct AddedToken {
    std::string text;
    int64_t id = 0;
    bool strips_left = false;  // takes the white space before it
    bool strips_right = false;
};

/// The entries of "added_tokens" in tokenizer.json.
std::vector<AddedToken> added_tokens_of(const nlohmann::json& tokenizer,
                                        const std::filesystem::path& path);

/// tokenizer_config.json and special_tokens_map.json, both optional.
class TokenizerSettings {
public:
    explicit TokenizerSettings(const std::filesystem::path& folder);

    /// The text of "eos_token", "pad_token", ...; `otherwise` where the files do not name it.
    std::string special_token(std::string_view name, std::string_view otherwise) const;
    /// How many "<extra_id_N>" tokens follow the vocabulary.
    int64_t extra_ids() const { return extra_ids_; }
    /// "added_tokens_decoder" of tokenizer_config.json; nothing where it is absent.
    const std::optional<std::vector<AddedToken>>& added_tokens() const { return added_tokens_; }

private:
    struct Special {
        std::string name;
        std::string text;
    };
    void read_specials(const nlohmann::json& object, const std::filesystem::path& path);
    void read_config(const std::filesystem::path& path);

    std::vector<Special> specials_;
    std::optional<std::vector<AddedToken>> added_tokens_;
    int64_t extra_ids_ = 100;
};

}  // namespace flux::encoders
