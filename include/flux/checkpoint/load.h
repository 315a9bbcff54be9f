// Reading a checkpoint: any range of any tensor from whatever slices it was written in. Several
// threads read, each a slice straight into its target, and add up its checksum while the system
// fetches what comes next. A call that meets damage throws: what it was to fill is not to be used.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "flux/base/read_file.h"
#include "flux/base/safetensors.h"
#include "flux/checkpoint/manifest.h"

namespace flux::checkpoint {

/// A range of a tensor to be filled. A process that holds nothing of a tensor names it with an
/// empty range: the names are compared with the checkpoint's.
struct Target {
    std::string name;
    std::string kind = kParam;
    std::vector<int64_t> shape;  // of the whole tensor
    int64_t begin = 0;           // flat elements [begin, end) of it
    int64_t end = 0;
    at::Tensor data;  // [end - begin], contiguous; values are converted to its dtype and device
};

class Checkpoint {
public:
    /// Opens a committed checkpoint (`.../step-N`). Throws Error naming file and tensor if it is
    /// incomplete, and another complete one beside it if there is one.
    explicit Checkpoint(const std::filesystem::path& folder);

    const std::filesystem::path& folder() const { return folder_; }
    const RunState& run() const { return manifest_.run; }
    std::span<const TensorEntry> tensors() const { return manifest_.tensors; }
    /// False for the moments where only the model's weights were saved.
    bool has_kind(const std::string& kind) const;

    /// The model's weights (kParam or kEma) by name: the order in the manifest depends on the
    /// processes that saved.
    std::vector<const TensorEntry*> weights(const std::string& kind = kParam) const;

    /// Fills all targets, or throws before it has touched one if a name is missing, a shape
    /// differs, or the checkpoint holds a tensor of a target's kind that no target asks for.
    /// Targets do not overlap.
    void load_into(std::span<const Target> targets);

    /// A whole tensor, on the CPU.
    at::Tensor tensor(const std::string& kind, const std::string& name);
    /// Fills `into` (flat, contiguous) with the elements of a tensor from `begin` on.
    void read(const std::string& kind, const std::string& name, int64_t begin,
              const at::Tensor& into);

    /// Reads everything and compares every checksum. Returns the bytes it has read.
    uint64_t verify();

private:
    const TensorEntry* find(const std::string& kind, const std::string& name) const;
    /// Throws Error for an unknown one.
    const TensorEntry& get(const std::string& kind, const std::string& name) const;
    void check_names(std::span<const Target> targets) const;
    void check_target(const Target& target) const;
    /// A slice, and what takes its values; null: it is only checked.
    struct Wish {
        const TensorEntry* entry;
        const Slice* slice;
        const Target* target;
    };
    /// What fills the target, and all that has to be checked for it.
    void add_wishes(std::vector<Wish>& wishes, const Target& target) const;
    /// Reads all, with their checksums unless they are known to be right. `progress` gets the bytes
    /// that have been read so far, from several threads.
    void read_slices(std::vector<Wish> wishes, const std::function<void(uint64_t)>& progress = {});
    /// Those that lie beside each other, in order: the system reads on from one to the next.
    std::vector<std::vector<Wish>> runs_of(std::vector<Wish> wishes) const;
    uint64_t read_slice(const Wish& wish, const ReadFile& file) const;

    std::filesystem::path folder_;
    Manifest manifest_;
    std::map<std::string, SafetensorsFile> files_;
    std::map<std::string, FileIdentity> identities_;                             // of the files
    std::map<std::pair<std::string, std::string>, const TensorEntry*> by_name_;  // (kind, name)
    std::set<const Slice*> verified_;  // not changed while threads read
};

}  // namespace flux::checkpoint
