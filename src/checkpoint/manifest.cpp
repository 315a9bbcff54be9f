#include "flux/checkpoint/manifest.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>

#include "flux/base/crc32c.h"
#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/shape.h"

namespace flux::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "flux_train checkpoint";
constexpr int kVersion = 1;
constexpr const char* kChecksum = "manifest_crc32c";  // last key; covers all text before it

uint32_t checksum(std::string_view text) {
    return crc32c(std::as_bytes(std::span(text.data(), text.size())));
}

Json run_to_json(const RunState& run) {
    return {{"step", run.step},
            {"samples", run.samples},
            {"data_begin", run.data_begin},
            {"seed", run.seed},
            {"global_batch_size", run.global_batch_size},
            {"optimizer_step", run.optimizer_step},
            {"skipped_steps", run.skipped_steps},
            {"validated_step", run.validated_step},
            {"target_reached", run.target_reached},
            {"dataset_fingerprint", run.dataset_fingerprint},
            {"config_toml", run.config_toml}};
}

Json entry_to_json(const TensorEntry& entry) {
    Json slices = Json::array();
    for (const Slice& slice : entry.slices) {
        slices.push_back({{"begin", slice.begin},
                          {"end", slice.end},
                          {"file", slice.file},
                          {"key", slice.key},
                          {"crc32c", slice.crc32c}});
    }
    return {{"name", entry.name},
            {"kind", entry.kind},
            {"dtype", short_name(entry.dtype)},
            {"shape", entry.shape},
            {"slices", slices}};
}

/// What is wrong with the slices of a tensor; empty if they cover it exactly.
std::string coverage_problem(const TensorEntry& entry) {
    const auto count = checked_numel(entry.shape);
    if (!count) {
        return fmt::format("bad shape {}", shape_text(entry.shape));
    }
    int64_t expected = 0;
    for (const Slice& slice : entry.slices) {
        if (slice.begin != expected || slice.end < slice.begin) {
            return fmt::format("slice [{}, {}) where one from {} on is expected", slice.begin,
                               slice.end, expected);
        }
        expected = slice.end;
    }
    if (expected != *count) {
        return fmt::format("slices cover {} of {} elements", expected, *count);
    }
    return {};
}

/// Its slices need not cover the tensor.
TensorEntry part_from_json(const Json& json, const std::string& path) {
    TensorEntry entry;
    entry.name = json.at("name").get<std::string>();
    entry.kind = json.at("kind").get<std::string>();
    const auto dtype_word = json.at("dtype").get<std::string>();
    const auto dtype = dtype_from_short_name(dtype_word);
    if (!dtype) {
        fail("{}: tensor {}: dtype = {}: is not known", path, label(entry), dtype_word);
    }
    entry.dtype = *dtype;
    entry.shape = json.at("shape").get<std::vector<int64_t>>();
    for (const Json& slice : json.at("slices")) {
        entry.slices.push_back({.begin = slice.at("begin").get<int64_t>(),
                                .end = slice.at("end").get<int64_t>(),
                                .file = slice.at("file").get<std::string>(),
                                .key = slice.at("key").get<std::string>(),
                                .crc32c = slice.at("crc32c").get<uint32_t>()});
        const std::string& file = entry.slices.back().file;
        if (file != std::filesystem::path(file).filename()) {
            fail("{}: tensor {}: file = {}: must be a name without folders", path, label(entry),
                 file);
        }
    }
    return entry;
}

std::filesystem::path part_path(const std::filesystem::path& folder, int rank) {
    return folder / fmt::format("rank-{:05}.json", rank);
}

TensorEntry entry_from_json(const Json& json, const std::string& path) {
    TensorEntry entry = part_from_json(json, path);
    if (const std::string problem = coverage_problem(entry); !problem.empty()) {
        fail("{}: tensor {}: {}", path, label(entry), problem);
    }
    return entry;
}

RunState run_from_json(const Json& json) {
    RunState run;
    run.step = json.at("step").get<int64_t>();
    run.samples = json.at("samples").get<int64_t>();
    run.data_begin = json.value("data_begin", int64_t{0});
    run.seed = json.at("seed").get<uint64_t>();
    run.global_batch_size = json.at("global_batch_size").get<int64_t>();
    run.optimizer_step = json.at("optimizer_step").get<int64_t>();
    run.skipped_steps = json.at("skipped_steps").get<int64_t>();
    run.validated_step = json.at("validated_step").get<int64_t>();
    run.target_reached = json.at("target_reached").get<bool>();
    run.dataset_fingerprint = json.at("dataset_fingerprint").get<uint64_t>();
    run.config_toml = json.at("config_toml").get<std::string>();
    return run;
}

}  // namespace

std::string label(const TensorEntry& entry) {
    return entry.kind == kParam ? entry.name : entry.kind + " of " + entry.name;
}

std::vector<TensorEntry> merge(const std::vector<TensorEntry>& parts) {
    std::vector<TensorEntry> merged;
    std::map<std::pair<std::string, std::string>, size_t> places;
    for (const TensorEntry& part : parts) {
        const auto [place, fresh] = places.try_emplace({part.kind, part.name}, merged.size());
        if (fresh) {
            merged.push_back(part);
            continue;
        }
        TensorEntry& entry = merged[place->second];
        TORCH_CHECK(entry.shape == part.shape && entry.dtype == part.dtype, label(part),
                    ": two processes disagree about its shape or dtype");
        entry.slices.insert(entry.slices.end(), part.slices.begin(), part.slices.end());
    }
    for (TensorEntry& entry : merged) {
        std::sort(entry.slices.begin(), entry.slices.end(), [](const Slice& a, const Slice& b) {
            return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
        });
        const std::string problem = coverage_problem(entry);
        TORCH_CHECK(problem.empty(), label(entry), ": ", problem);
    }
    return merged;
}

void write_part(const std::filesystem::path& folder, int rank,
                const std::vector<TensorEntry>& entries) {
    Json all = Json::array();
    for (const TensorEntry& entry : entries) {
        all.push_back(entry_to_json(entry));
    }
    write_text(part_path(folder, rank), all.dump());
}

std::vector<TensorEntry> take_part(const std::filesystem::path& folder, int rank) {
    const std::filesystem::path path = part_path(folder, rank);
    std::vector<TensorEntry> entries;
    try {
        for (const Json& entry : Json::parse(read_text(path))) {
            entries.push_back(part_from_json(entry, path.string()));
        }
    } catch (const Json::exception& problem) {
        fail("{}: what rank {} has just written cannot be read: {}", path.string(), rank,
             problem.what());
    }
    std::filesystem::remove(path);
    return entries;
}

std::filesystem::path manifest_path(const std::filesystem::path& folder) {
    return folder / "checkpoint.json";
}

void write_manifest(const std::filesystem::path& folder, const Manifest& manifest) {
    std::string text =
        fmt::format("{{\n\"format\": \"{}\",\n\"version\": {},\n\"run\": {},\n\"tensors\": [",
                    kFormat, kVersion, run_to_json(manifest.run).dump(1));
    const char* separator = "\n";
    for (const TensorEntry& entry : manifest.tensors) {  // one line each: readable, and small
        text += separator + entry_to_json(entry).dump();
        separator = ",\n";
    }
    text += "\n],\n";
    text += fmt::format("\"{}\": {}\n}}\n", kChecksum, checksum(text));
    write_text(manifest_path(folder), text);
}

Manifest read_manifest(const std::filesystem::path& folder) {
    const std::string path = manifest_path(folder).string();
    if (!std::filesystem::exists(path)) {
        fail("{}: is not a complete checkpoint: it has no checkpoint.json", folder.string());
    }
    try {
        const std::string text = read_text(path);
        const Json json = Json::parse(text);
        if (json.at("format") != kFormat || json.at("version") != kVersion) {
            fail("{}: format = {}, version = {}: only \"{}\" version {} can be read", path,
                 json.at("format").dump(), json.at("version").dump(), kFormat, kVersion);
        }
        const size_t covered = text.rfind(fmt::format("\"{}\"", kChecksum));
        if (json.at(kChecksum) != checksum(std::string_view(text).substr(0, covered))) {
            fail("{}: its checksum does not fit its content", path);
        }
        Manifest manifest{.run = run_from_json(json.at("run")), .tensors = {}};
        for (const Json& entry : json.at("tensors")) {
            manifest.tensors.push_back(entry_from_json(entry, path));
        }
        return manifest;
    } catch (const Json::parse_error& problem) {
        fail("{}: is not JSON at byte {}", path, problem.byte);
    } catch (const Json::exception& problem) {
        const std::string_view text = problem.what();  // "[json.exception.x.1] key ... not found"
        fail("{}: is no checkpoint manifest:{}", path, text.substr(text.find(']') + 1));
    }
}

}  // namespace flux::checkpoint
