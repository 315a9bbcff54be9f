// What a checkpoint holds: the content of `step-N/checkpoint.json`. Tensors are listed by their
// global names, and each one's elements by flat ranges ("slices"), so that any number of processes
// can write a checkpoint and any other number can load it.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace flux::checkpoint {

/// The kinds of tensors; a model's weights are kParam, their moving average is kEma.
inline constexpr const char* kParam = "param";
inline constexpr const char* kEma = "ema";
inline constexpr const char* kExpAvg = "exp_avg";
inline constexpr const char* kExpAvgSq = "exp_avg_sq";

/// Where a run stands. Random numbers are keyed, so their "state" is the seed.
struct RunState {
    int64_t step = 0;        // steps done; the name of the folder
    int64_t samples = 0;     // trained on; less `data_begin` the position in the order of the data
    int64_t data_begin = 0;  // `samples` when that order last began anew; older files lack it
    uint64_t seed = 0;
    int64_t global_batch_size = 0;
    int64_t optimizer_step = 0;  // steps that AdamW took; differs from `step` by the skipped ones
    int64_t skipped_steps = 0;
    int64_t validated_step = -1;       // step of the last validation; -1: none yet
    bool target_reached = false;       // ended early because the validation loss was low enough
    uint64_t dataset_fingerprint = 0;  // what gives that position its meaning; see data::Dataset
    std::string config_toml;           // the effective configuration
};

/// The flat elements [begin, end) of a tensor, as one tensor `key` of one file.
struct Slice {
    int64_t begin = 0;
    int64_t end = 0;
    std::string file;
    std::string key;
    uint32_t crc32c = 0;
};

struct TensorEntry {
    std::string name;  // global name, as published
    std::string kind;
    c10::ScalarType dtype = c10::ScalarType::Float;
    std::vector<int64_t> shape;  // of the whole tensor
    std::vector<Slice> slices;   // ascending, without gap or overlap
};

struct Manifest {
    RunState run;
    std::vector<TensorEntry> tensors;
};

/// "exp_avg of img_in.weight", for messages; a parameter is just "img_in.weight".
std::string label(const TensorEntry& entry);

/// Joins what several processes wrote: one entry a tensor, slices in order. Throws c10::Error if
/// they do not cover each tensor exactly: the writers disagreed, which is a bug.
std::vector<TensorEntry> merge(const std::vector<TensorEntry>& parts);

/// What process `rank` has written into `folder`, for the one that writes the manifest.
void write_part(const std::filesystem::path& folder, int rank,
                const std::vector<TensorEntry>& entries);
/// Reads and removes it.
std::vector<TensorEntry> take_part(const std::filesystem::path& folder, int rank);

/// Writes `folder`/checkpoint.json, durable.
void write_manifest(const std::filesystem::path& folder, const Manifest& manifest);

/// Reads and checks `folder`/checkpoint.json. Throws Error naming file, key and tensor.
Manifest read_manifest(const std::filesystem::path& folder);

/// Path of the manifest; a folder that has it is a committed checkpoint.
std::filesystem::path manifest_path(const std::filesystem::path& folder);

}  // namespace flux::checkpoint
