#include "encoders/config_file.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::encoders {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = 10'000'000;

std::shared_ptr<const Json> parse(const std::filesystem::path& path) {
    const MappedFile file(path);
    if (file.bytes().size() > kMaxConfigBytes) {
        fail("{}: has {} bytes, too many for a model's configuration", path.string(),
             file.bytes().size());
    }
    const char* text = reinterpret_cast<const char*>(file.bytes().data());
    try {
        auto json = std::make_shared<const Json>(Json::parse(text, text + file.bytes().size()));
        if (!json->is_object()) {
            fail("{}: must be a JSON object", path.string());
        }
        return json;
    } catch (const Json::exception& problem) {
        fail("{}: is not valid JSON: {}", path.string(), problem.what());
    }
}

}  // namespace

ConfigFile::ConfigFile(const std::filesystem::path& path)
    : ConfigFile(path.string(), parse(path)) {}

ConfigFile::ConfigFile(std::string place, std::shared_ptr<const Json> json)
    : place_(std::move(place)), json_(std::move(json)) {}

ConfigFile ConfigFile::section_or_self(const std::string& key) const {
    const Json* section = find(key);
    if (section == nullptr) {
        return *this;
    }
    if (!section->is_object()) {
        refuse(key, "must be an object");
    }
    return {place_ + ": " + key, std::make_shared<const Json>(*section)};
}

/// Nothing for a key that is absent or null.
const Json* ConfigFile::find(const std::string& key) const {
    const auto found = json_->find(key);
    return found == json_->end() || found->is_null() ? nullptr : &*found;
}

bool ConfigFile::has(const std::string& key) const { return find(key) != nullptr; }

void ConfigFile::refuse(const std::string& key, const std::string& rule) const {
    const Json* value = find(key);
    fail("{}: {} = {}: {}", place_, key, value == nullptr ? "(missing)" : value->dump(), rule);
}

int64_t ConfigFile::size(const std::string& key, int64_t high,
                         std::optional<int64_t> otherwise) const {
    const Json* value = find(key);
    if (value == nullptr && otherwise) {
        return *otherwise;
    }
    if (value == nullptr || !value->is_number_unsigned() || value->get<uint64_t>() < 1 ||
        value->get<uint64_t>() > static_cast<uint64_t>(high)) {
        refuse(key, fmt::format("must be a whole number from 1 to {}", high));
    }
    return value->get<int64_t>();
}

int64_t ConfigFile::id(const std::string& key, int64_t otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) {
        return otherwise;
    }
    if (!value->is_number_integer() || value->get<int64_t>() < -1 ||
        value->get<int64_t>() > kMaxVocabulary) {
        refuse(key, "must be a token id");
    }
    return value->get<int64_t>();
}

double ConfigFile::number(const std::string& key, double otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) {
        return otherwise;
    }
    if (!value->is_number() || !std::isfinite(value->get<double>())) {
        refuse(key, "must be a number");
    }
    return value->get<double>();
}

double ConfigFile::positive(const std::string& key, double otherwise) const {
    const double value = number(key, otherwise);
    if (value <= 0) {
        refuse(key, "must be above 0");
    }
    return value;
}

std::string ConfigFile::text(const std::string& key, const std::string& otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) {
        return otherwise;
    }
    if (!value->is_string()) {
        refuse(key, "must be a word");
    }
    return value->get<std::string>();
}

}  // namespace flux::encoders
