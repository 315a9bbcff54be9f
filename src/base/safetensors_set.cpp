#include "flux/base/safetensors_set.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "flux/base/error.h"
#include "flux/base/shape.h"

namespace flux {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxIndexBytes = 100'000'000;  // as the header of one file
constexpr int kWeightMapDepth = 2;

/// The "weight_map" of an index; a name that occurs twice is an error.
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
    const std::string place = path.string();
    const MappedFile file(path);
    const auto bytes = file.bytes();
    if (bytes.size() > kMaxIndexBytes) {
        fail("{}: has {} bytes, too many for an index of shards (at most {})", place, bytes.size(),
             kMaxIndexBytes);
    }
    std::set<std::string> seen;
    std::optional<std::string> twice;
    const auto callback = [&](int depth, Json::parse_event_t event, Json& value) {
        if (event == Json::parse_event_t::key && depth == kWeightMapDepth &&
            !seen.insert(value.get<std::string>()).second && !twice) {
            twice = value.get<std::string>();
        }
        return true;
    };
    Json index;
    try {
        const char* text = reinterpret_cast<const char*>(bytes.data());
        index = Json::parse(text, text + bytes.size(), callback);
    } catch (const Json::exception& problem) {
        fail("{}: is not valid JSON: {}", place, problem.what());
    }
    if (twice) {
        fail("{}: {}: occurs twice", place, *twice);
    }
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
        fail("{}: has no \"weight_map\" from tensor names to shards", place);
    }
    std::map<std::string, std::string> shards;
    for (const auto& [name, shard] : index["weight_map"].items()) {
        if (!shard.is_string()) {
            fail("{}: weight_map.{} = {}: must be the name of a shard", place, name, shard.dump());
        }
        shards.emplace(name, shard.get<std::string>());
    }
    return shards;
}

/// A shard's path. An index from elsewhere must not reach files outside of its folder.
std::filesystem::path shard_path(const std::filesystem::path& index, const std::string& name,
                                 const std::string& shard) {
    const std::filesystem::path relative(shard);
    const bool climbs = std::any_of(relative.begin(), relative.end(),
                                    [](const auto& part) { return part == ".."; });
    if (shard.empty() || relative.is_absolute() || climbs || shard.find('\0') != shard.npos) {
        fail("{}: weight_map.{} = {}: must be a file in the index's folder", index.string(), name,
             Json(shard).dump());
    }
    return index.parent_path() / relative;
}

}  // namespace

SafetensorsSet::SafetensorsSet(const std::filesystem::path& path) : path_(path) {
    if (path.extension() == ".json") {
        open_index();
        return;
    }
    files_.emplace_back(path);
    for (const TensorInfo& info : files_.front().tensors()) {
        files_by_name_.emplace(info.name, 0);
    }
}

void SafetensorsSet::open_index() {
    std::map<std::string, size_t> opened;
    for (const auto& [name, shard] : read_index(path_)) {
        const std::filesystem::path path = shard_path(path_, name, shard);
        const auto [found, is_new] = opened.emplace(shard, files_.size());
        if (is_new) {
            if (!std::filesystem::exists(path)) {
                fail("{}: shard {} does not exist: download it, or the whole folder again",
                     path_.string(), path.string());
            }
            files_.emplace_back(path);
        }
        if (!files_[found->second].has(name)) {
            fail("{}: weight_map.{} = {}: that shard has no such tensor", path_.string(), name,
                 Json(shard).dump());
        }
        files_by_name_.emplace(name, found->second);
    }
    for (size_t i = 0; i < files_.size(); ++i) {
        for (const TensorInfo& info : files_[i].tensors()) {
            const auto listed = files_by_name_.find(info.name);
            if (listed == files_by_name_.end() || listed->second != i) {
                fail("{}: tensor {}: {} does not list it there", files_[i].path().string(),
                     info.name, path_.string());
            }
        }
    }
}

std::vector<std::string> SafetensorsSet::names() const {
    std::vector<std::string> names;
    names.reserve(files_by_name_.size());
    for (const auto& [name, file] : files_by_name_) {
        names.push_back(name);
    }
    return names;
}

const SafetensorsFile& SafetensorsSet::file_of(const std::string& name) const {
    const auto found = files_by_name_.find(name);
    if (found == files_by_name_.end()) {
        fail("{}: has no tensor {} (it holds {} tensors)", path_.string(), name,
             files_by_name_.size());
    }
    return files_[found->second];
}

void SafetensorsSet::copy_to(const std::string& name, const at::Tensor& destination) const {
    const TensorInfo& entry = info(name);
    check_shape(destination, entry.shape, name);
    const auto bytes = file_of(name).bytes(name);
    if (bytes.empty()) {
        return;
    }
    const auto address = reinterpret_cast<uintptr_t>(bytes.data());
    if (address % c10::elementSize(entry.dtype) != 0) {
        destination.copy_(tensor(name));  // the file was written without padding
        return;
    }
    // from_blob() has no const form; copy_() only reads its source.
    void* data = const_cast<std::byte*>(bytes.data());
    destination.copy_(at::from_blob(data, entry.shape, at::TensorOptions().dtype(entry.dtype)));
}

}  // namespace flux
