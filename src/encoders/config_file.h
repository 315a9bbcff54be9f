// A model's config.json: values by key, each checked where it is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace flux::encoders {

class ConfigFile {
public:
    /// Throws Error naming the file if it is no JSON object.
    explicit ConfigFile(const std::filesystem::path& path);

    /// The object under `key` as a configuration of its own, or this one where there is none.
    ConfigFile section_or_self(const std::string& key) const;

    /// A whole number from 1 to `high`. Without a default the key must be there.
    int64_t size(const std::string& key, int64_t high, std::optional<int64_t> otherwise = {}) const;
    int64_t id(const std::string& key, int64_t otherwise) const;      // >= -1
    double number(const std::string& key, double otherwise) const;    // finite
    double positive(const std::string& key, double otherwise) const;  // finite, > 0
    std::string text(const std::string& key, const std::string& otherwise) const;
    bool has(const std::string& key) const;

    /// Throws Error "<file>: <key> = <value>: <rule>".
    [[noreturn]] void refuse(const std::string& key, const std::string& rule) const;

private:
    ConfigFile(std::string place, std::shared_ptr<const nlohmann::json> json);
    const nlohmann::json* find(const std::string& key) const;

    std::string place_;
    std::shared_ptr<const nlohmann::json> json_;  // incomplete type here: parsing it costs 4 s
};

/// Upper limits of sizes: far above any published model, far below what overflows.
inline constexpr int64_t kMaxWidth = 1'000'000;
inline constexpr int64_t kMaxVocabulary = 10'000'000;
inline constexpr int64_t kMaxLayers = 1000;

}  // namespace flux::encoders
