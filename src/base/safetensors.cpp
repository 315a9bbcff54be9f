#include "flux/base/safetensors.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/shape.h"

namespace flux {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr size_t kSizeBytes = sizeof(uint64_t);
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // limit of the format
constexpr int kDeepest = 2;  // enclosing objects and lists of one: header, tensor, its shape
constexpr std::string_view kMetadata = "__metadata__";
static_assert(std::endian::native == std::endian::little, "the format is little-endian");

/// The header as text. Throws Error if the file is too short for it.
std::string_view header_text(const MappedFile& file) {
    const auto bytes = file.bytes();
    const std::string name = file.path().string();
    if (bytes.size() < kSizeBytes) {
        fail("{}: has {} bytes, too few for a safetensors file: copy or download it again", name,
             bytes.size());
    }
    uint64_t size = 0;
    std::memcpy(&size, bytes.data(), kSizeBytes);
    if (size > kMaxHeaderBytes) {
        fail("{}: not a safetensors file: its header would have {} bytes, at most {} are allowed",
             name, size, kMaxHeaderBytes);
    }
    if (size > bytes.size() - kSizeBytes) {
        fail("{}: header of {} bytes, but the file has only {} bytes: copy or download it again",
             name, size, bytes.size());
    }
    return {reinterpret_cast<const char*>(bytes.data()) + kSizeBytes, size};
}

/// Parses the header; a name that occurs twice is an error, not a silent choice.
Json parse_header(const MappedFile& file) {
    const std::string path = file.path().string();
    const std::string_view text = header_text(file);
    std::set<std::string> seen, seen_inside;
    std::string last;
    std::optional<std::string> twice;
    const auto callback = [&](int depth, Json::parse_event_t event, Json& value) {
        using Event = Json::parse_event_t;
        if (depth > kDeepest && (event == Event::object_start || event == Event::array_start)) {
            fail("{}: safetensors header is nested more deeply than the format allows", path);
        }
        if (event != Json::parse_event_t::key || depth > 2) {
            return true;
        }
        const auto key = value.get<std::string>();
        const bool is_new = (depth == 1 ? seen : seen_inside).insert(key).second;
        if (depth == 1) {
            last = key;
            seen_inside.clear();
        }
        if (!is_new && !twice) {
            twice = depth == 1 ? key : last + ": " + key;
        }
        return true;
    };
    Json header;
    try {
        header = Json::parse(text, callback);
    } catch (const Json::exception& problem) {
        fail("{}: safetensors header is not valid JSON: {}", path, problem.what());
    }
    if (!header.is_object()) {
        fail("{}: safetensors header is not a JSON object", path);
    }
    if (twice) {
        fail("{}: tensor {}: occurs twice in the header", path, *twice);
    }
    return header;
}

std::map<std::string, std::string> read_metadata(const Json& entries, const std::string& path) {
    std::map<std::string, std::string> metadata;
    if (!entries.is_object()) {
        fail("{}: {} = {}: must be an object of strings", path, kMetadata, entries.dump());
    }
    for (const auto& [key, value] : entries.items()) {
        if (!value.is_string()) {
            fail("{}: {}.{} = {}: must be a string", path, kMetadata, key, value.dump());
        }
        metadata.emplace(key, value.get<std::string>());
    }
    return metadata;
}

/// An array of non-negative whole numbers below 2^63.
std::vector<int64_t> read_sizes(const Json& entry, const char* key, const std::string& place) {
    const auto found = entry.find(key);
    const bool numbers =
        found != entry.end() && found->is_array() &&
        std::all_of(found->begin(), found->end(), [](const Json& value) {
            return value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{INT64_MAX};
        });
    if (!numbers) {
        fail("{}: {} = {}: must be a list of whole numbers >= 0", place, key,
             found == entry.end() ? "(missing)" : found->dump());
    }
    return found->get<std::vector<int64_t>>();
}

/// One header entry, checked on its own: dtype, and element count x size = bytes.
TensorInfo read_entry(const std::string& name, const Json& entry, const std::string& path) {
    const std::string place = fmt::format("{}: tensor {}", path, name);
    if (!entry.is_object()) {
        fail("{}: header entry = {}: must be an object", place, entry.dump());
    }
    const std::string dtype_word =
        entry.contains("dtype") && entry["dtype"].is_string() ? entry["dtype"] : "(missing)";
    const auto dtype = dtype_from_short_name(dtype_word);
    if (!dtype) {
        fail(
            "{}: dtype = {}: is not supported (F64, F32, F16, BF16, F8_E4M3, F8_E5M2, I64, I32, "
            "I16, I8, U8, BOOL)",
            place, dtype_word);
    }
    TensorInfo info{.name = name, .dtype = *dtype, .shape = read_sizes(entry, "shape", place)};
    const std::vector<int64_t> offsets = read_sizes(entry, "data_offsets", place);
    if (offsets.size() != 2 || offsets[0] > offsets[1]) {
        fail("{}: data_offsets = {}: must be [begin, end] with begin <= end", place,
             shape_text(offsets));
    }
    info.begin = static_cast<size_t>(offsets[0]);
    info.end = static_cast<size_t>(offsets[1]);
    const auto count = checked_numel(info.shape);
    int64_t expected = 0;
    if (!count ||
        __builtin_mul_overflow(*count, static_cast<int64_t>(c10::elementSize(*dtype)), &expected)) {
        fail("{}: shape = {}: has too many elements", place, shape_text(info.shape));
    }
    if (static_cast<size_t>(expected) != info.end - info.begin) {
        fail("{}: {} {} needs {} bytes, but data_offsets {} give {}", place, dtype_word,
             shape_text(info.shape), expected, shape_text(offsets), info.end - info.begin);
    }
    return info;
}

/// All data ranges together fill the file exactly: no gap, no overlap, nothing past the end.
void check_layout(std::span<const TensorInfo> tensors, size_t data_bytes, const std::string& path) {
    size_t expected = 0;
    for (const TensorInfo& info : tensors) {
        if (info.begin != expected) {
            fail(
                "{}: tensor {}: data begins at byte {} where {} is expected: tensors overlap or "
                "leave a gap",
                path, info.name, info.begin, expected);
        }
        if (info.end > data_bytes) {
            fail(
                "{}: tensor {}: data ends at byte {}, but the file holds only {} bytes of data: "
                "it is truncated, copy or download it again",
                path, info.name, info.end, data_bytes);
        }
        expected = info.end;
    }
    if (expected != data_bytes) {
        fail("{}: the tensors fill {} bytes, but the file holds {} bytes of data", path, expected,
             data_bytes);
    }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
    const std::string name = path.string();
    const Json header = parse_header(file_);
    data_begin_ = kSizeBytes + header_text(file_).size();
    for (const auto& [key, entry] : header.items()) {
        if (key == kMetadata) {
            metadata_ = read_metadata(entry, name);
        } else {
            tensors_.push_back(read_entry(key, entry, name));
        }
    }
    std::sort(tensors_.begin(), tensors_.end(), [](const TensorInfo& a, const TensorInfo& b) {
        return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    check_layout(tensors_, file_.bytes().size() - data_begin_, name);
    for (size_t i = 0; i < tensors_.size(); ++i) {
        by_name_.emplace(tensors_[i].name, i);
    }
}

std::vector<std::string> SafetensorsFile::names() const {
    std::vector<std::string> names;
    names.reserve(tensors_.size());
    for (const TensorInfo& info : tensors_) {
        names.push_back(info.name);
    }
    return names;
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
        fail("{}: has no tensor {} (it holds {} tensors)", path().string(), name, tensors_.size());
    }
    return tensors_[found->second];
}

std::span<const std::byte> SafetensorsFile::bytes(const std::string& name) const {
    const TensorInfo& entry = info(name);
    return file_.bytes().subspan(data_begin_ + entry.begin, entry.end - entry.begin);
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
    const TensorInfo& entry = info(name);
    const auto from = bytes(name);
    at::Tensor result = at::empty(entry.shape, at::TensorOptions().dtype(entry.dtype));
    if (!from.empty()) {
        std::memcpy(result.mutable_data_ptr(), from.data(), from.size());
    }
    return result;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::vector<TensorSpec> specs,
                                     const std::map<std::string, std::string>& metadata,
                                     Existing existing)
    : specs_(std::move(specs)), file_(path, existing) {
    OrderedJson header = OrderedJson::object();
    if (!metadata.empty()) {
        header[std::string(kMetadata)] = metadata;
    }
    size_t begin = 0;
    for (const TensorSpec& spec : specs_) {
        const auto count = checked_numel(spec.shape);
        TORCH_CHECK(count, spec.name, ": bad shape ", shape_text(spec.shape));
        TORCH_CHECK(!header.contains(spec.name), spec.name, " is declared twice");
        const size_t element_bytes = c10::elementSize(spec.dtype);
        TORCH_CHECK(begin % element_bytes == 0, spec.name,
                    " would begin at an odd place: declare tensors with wider elements first");
        const size_t end = begin + static_cast<size_t>(*count) * element_bytes;
        header[spec.name] = {{"dtype", short_name(spec.dtype)},
                             {"shape", spec.shape},
                             {"data_offsets", {begin, end}}};
        begin = end;
    }
    std::string text = header.dump();
    text.append((kSizeBytes - text.size() % kSizeBytes) % kSizeBytes, ' ');  // aligns the data
    const uint64_t size = text.size();
    file_.write(&size, kSizeBytes);
    file_.write(text);
}

void SafetensorsWriter::write(const at::Tensor& tensor) {
    TORCH_CHECK(next_ < specs_.size(), "all ", specs_.size(), " tensors have been written");
    const TensorSpec& spec = specs_[next_];
    check_shape(tensor, spec.shape, spec.name);
    TORCH_CHECK(tensor.scalar_type() == spec.dtype, spec.name, " has dtype ", tensor.scalar_type(),
                ", declared as ", spec.dtype);
    const at::Tensor data = tensor.detach().cpu().contiguous();
    file_.write(data.const_data_ptr(), data.nbytes());
    ++next_;
}

void SafetensorsWriter::commit() {
    TORCH_CHECK(next_ == specs_.size(), "only ", next_, " of ", specs_.size(),
                " declared tensors were written");
    file_.commit();
}

}  // namespace flux
