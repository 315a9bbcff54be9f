#include "encoders/tokenizer_files.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::encoders {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kMaxBytes = size_t{256} << 20;
constexpr int kMaxDepth = 32;
constexpr int64_t kMaxId = int64_t{1} << 30;
constexpr int64_t kMaxExtraIds = 1 << 20;

bool flag(const Json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_boolean() && found->get<bool>();
}

AddedToken added_token(const Json& entry, int64_t id, const fs::path& path) {
    if (!entry.is_object()) {
        fail("{}: an added token is not an object", path.string());
    }
    AddedToken token{json_string(json_member(entry, "content", path), "content", path), id,
                     flag(entry, "lstrip"), flag(entry, "rstrip")};
    if (token.text.empty()) {
        fail("{}: added token {}: its text is empty", path.string(), id);
    }
    return token;
}

/// A token is given as its text or as an object with its text.
std::optional<std::string> token_text(const Json& value) {
    if (value.is_string()) {
        return value.get<std::string>();
    }
    if (value.is_object() && value.contains("content") && value["content"].is_string()) {
        return value["content"].get<std::string>();
    }
    return std::nullopt;
}

}  // namespace

Json read_json_object(const fs::path& path) {
    const MappedFile file(path);
    const auto bytes = file.bytes();
    if (bytes.size() > kMaxBytes) {
        fail("{}: {} bytes: a tokenizer's file has at most {}", path.string(), bytes.size(),
             kMaxBytes);
    }
    const auto check_depth = [&](int depth, Json::parse_event_t, Json&) {
        if (depth > kMaxDepth) {
            fail("{}: JSON nested more than {} deep: not a tokenizer's file", path.string(),
                 kMaxDepth);
        }
        return true;
    };
    Json json;
    try {
        const auto* text = reinterpret_cast<const char*>(bytes.data());
        json = Json::parse(text, text + bytes.size(), check_depth);
    } catch (const Json::exception& problem) {
        fail("{}: not valid JSON: {}", path.string(), problem.what());
    }
    if (!json.is_object()) {
        fail("{}: not a JSON object", path.string());
    }
    return json;
}

const Json& json_member(const Json& object, std::string_view key, const fs::path& path) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    if (!object.is_object() || found == object.end()) {
        fail("{}: has no \"{}\"", path.string(), key);
    }
    return *found;
}

std::string json_string(const Json& value, std::string_view what, const fs::path& path) {
    if (!value.is_string()) {
        fail("{}: {} must be a text", path.string(), what);
    }
    return value.get<std::string>();
}

int64_t json_id(const Json& value, std::string_view what, const fs::path& path) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > uint64_t{kMaxId}) {
        fail("{}: id of \"{}\" must be a whole number from 0 to {}", path.string(), what, kMaxId);
    }
    return value.get<int64_t>();
}

std::vector<AddedToken> added_tokens_of(const Json& tokenizer, const fs::path& path) {
    std::vector<AddedToken> tokens;
    const auto list = tokenizer.find("added_tokens");
    if (list == tokenizer.end() || list->is_null()) {
        return tokens;
    }
    if (!list->is_array()) {
        fail("{}: \"added_tokens\" must be a list", path.string());
    }
    for (const Json& entry : *list) {
        const int64_t id = json_id(json_member(entry, "id", path), "added_tokens", path);
        tokens.push_back(added_token(entry, id, path));
    }
    return tokens;
}

TokenizerSettings::TokenizerSettings(const fs::path& folder) {
    const fs::path config = folder / "tokenizer_config.json";
    if (fs::exists(config)) {
        read_config(config);
    }
    // The map is the older place; a configuration that lists its added tokens replaces it.
    const fs::path map = folder / "special_tokens_map.json";
    if (!added_tokens_ && fs::exists(map)) {
        read_specials(read_json_object(map), map);
    }
}

void TokenizerSettings::read_specials(const Json& object, const fs::path& path) {
    for (const auto& [name, value] : object.items()) {
        if (name.ends_with("_token")) {
            if (const auto text = token_text(value)) {
                specials_.push_back({name, *text});
            }
        }
    }
    const auto additional = object.find("additional_special_tokens");
    if (additional != object.end() && additional->is_array()) {
        const auto named = std::count_if(additional->begin(), additional->end(), [](const Json& v) {
            const auto text = token_text(v);
            return text && text->find("<extra_id_") != std::string::npos;
        });
        if (named > kMaxExtraIds) {
            fail("{}: {} extra ids: at most {} are allowed", path.string(), named, kMaxExtraIds);
        }
        extra_ids_ = named > 0 ? named : extra_ids_;
    }
}

void TokenizerSettings::read_config(const fs::path& path) {
    const Json config = read_json_object(path);
    if (const auto extra = config.find("extra_ids"); extra != config.end()) {
        extra_ids_ = json_id(*extra, "extra_ids", path);
        if (extra_ids_ > kMaxExtraIds) {
            fail("{}: extra_ids = {}: at most {} are allowed", path.string(), extra_ids_,
                 kMaxExtraIds);
        }
    }
    read_specials(config, path);
    const auto added = config.find("added_tokens_decoder");
    if (added == config.end()) {
        return;
    }
    if (!added->is_object()) {
        fail("{}: \"added_tokens_decoder\" must be an object", path.string());
    }
    added_tokens_.emplace();
    for (const auto& [key, entry] : added->items()) {
        int64_t id = -1;
        const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), id);
        if (problem != std::errc{} || end != key.data() + key.size() || id < 0 || id > kMaxId) {
            fail("{}: added_tokens_decoder: \"{}\" is no token id", path.string(), key);
        }
        added_tokens_->push_back(added_token(entry, id, path));
    }
}

std::string TokenizerSettings::special_token(std::string_view name,
                                             std::string_view otherwise) const {
    // The last one wins: the map is read after the configuration.
    const auto found = std::find_if(specials_.rbegin(), specials_.rend(),
                                    [&](const Special& special) { return special.name == name; });
    return found != specials_.rend() ? found->text : std::string(otherwise);
}

}  // namespace flux::encoders
