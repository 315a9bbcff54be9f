// Writing a checkpoint. Nothing counts until the one rename at the end, so a killed process or a
// full disk leaves the older checkpoints as they were:
//
//   begin_save     clear leftovers, create step-N.tmp/         one process
//   write_shard    the process's slices into its own file      every process
//   commit         manifest, rename to step-N/, prune          one process, after all have written
//
// save() does all three; several processes call it together and agree after each.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "flux/checkpoint/manifest.h"

namespace flux::checkpoint {

/// The part of a tensor that this process holds.
struct Piece {
    std::string name;            // global name, such as "double_blocks.0.img_attn.qkv.weight"
    std::string kind = kParam;   // see manifest.h
    std::vector<int64_t> shape;  // of the whole tensor
    int64_t begin = 0;           // flat elements [begin, end) of it
    int64_t end = 0;
    at::Tensor data;  // [end - begin], any device
};

/// The processes that save a checkpoint together.
struct SaveGroup {
    int rank = 0;
    /// Gives every process's text to all, in rank order; all call it with the same topics. Empty:
    /// this process alone.
    std::function<std::vector<std::string>(const std::string& topic, const std::string& text)>
        exchange{};
};

/// Saves the checkpoint of `run.step` below `folder` and returns its path, on all processes of
/// `group` when all have done their part. An existing one of that step is replaced. Keeps the
/// newest `keep_latest_k` (0: all). When one process fails, the temporary folder is removed and all
/// throw an Error that says which checkpoint is the last complete one.
std::filesystem::path save(const std::filesystem::path& folder, const RunState& run,
                           std::span<const Piece> pieces, int64_t keep_latest_k,
                           const SaveGroup& group = {});

/// Creates `folder`/step-N.tmp and returns its path.
std::filesystem::path begin_save(const std::filesystem::path& folder, int64_t step);

/// Writes rank-<rank>.safetensors into `temporary`, durable; returns what it holds. Pieces without
/// elements are left out.
std::vector<TensorEntry> write_shard(const std::filesystem::path& temporary, int rank,
                                     std::span<const Piece> pieces);

/// Writes the manifest into `temporary` and makes it the checkpoint of its step.
std::filesystem::path commit(const std::filesystem::path& folder,
                             const std::filesystem::path& temporary, const Manifest& manifest);

}  // namespace flux::checkpoint
