#include "flux/checkpoint/load.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <tuple>
#include <utility>

#include "checkpoint/slice_reader.h"
#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/base/parallel_for.h"
#include "flux/base/progress.h"
#include "flux/base/shape.h"
#include "flux/checkpoint/folder.h"

namespace flux::checkpoint {
namespace {

namespace fs = std::filesystem;

using Files = std::map<std::string, SafetensorsFile>;

/// Opens every file that the manifest names, and checks that each slice is there as described.
Files open_files(const fs::path& folder, const Manifest& manifest) {
    Files files;
    for (const TensorEntry& entry : manifest.tensors) {
        for (const Slice& slice : entry.slices) {
            if (!files.contains(slice.file)) {
                files.emplace(slice.file, SafetensorsFile(folder / slice.file));
            }
            const TensorInfo& info = files.at(slice.file).info(slice.key);
            const auto count = checked_numel(info.shape);
            if (info.dtype != entry.dtype || count != slice.end - slice.begin) {
                fail("{}: tensor {}: is {} {}, but checkpoint.json says {} with {} elements",
                     (folder / slice.file).string(), slice.key, short_name(info.dtype),
                     shape_text(info.shape), short_name(entry.dtype), slice.end - slice.begin);
            }
        }
    }
    return files;
}

bool is_complete(const fs::path& folder) {
    try {
        open_files(folder, read_manifest(folder));
        return true;
    } catch (const Error&) {
        return false;
    }
}

/// The checkpoint beside this one whose manifest and files are all there: the newest before it, or
/// else the newest at all.
std::optional<fs::path> other_complete(const fs::path& folder) {
    const auto step = step_of(folder);
    if (!step) {
        return std::nullopt;
    }
    std::optional<fs::path> newer;
    const auto found = committed(folder.parent_path());
    for (auto other = found.rbegin(); other != found.rend(); ++other) {
        if (other->first < *step && is_complete(other->second)) {
            return other->second;
        }
        if (other->first > *step && !newer && is_complete(other->second)) {
            newer = other->second;
        }
    }
    return newer;
}

[[noreturn]] void fail_damaged(const fs::path& folder, const std::string& reason) {
    const auto other = other_complete(folder);
    if (!other) {
        fail(
            "damaged checkpoint: {}; there is no other complete one in {}: restore it from a copy, "
            "or train anew with --job.restart",
            reason, folder.parent_path().string());
    }
    fail(
        "damaged checkpoint: {}; {} is complete: train on from it with "
        "--checkpoint.load_step={}, other commands take it as --checkpoint {}",
        reason, other->string(), step_of(*other).value_or(-1), other->string());
}

/// More than there may be processors: some wait for the disk while others add up.
int reading_threads() {
    constexpr int kLeast = 4, kMost = 8;
    return std::clamp(at::get_num_threads(), kLeast, kMost);
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& folder) : folder_(folder) {
    try {
        manifest_ = read_manifest(folder);
        files_ = open_files(folder, manifest_);
        for (const auto& [name, file] : files_) {
            identities_.emplace(name, identity_of(file.path()));
        }
    } catch (const Error& problem) {
        fail_damaged(folder, problem.what());
    }
    for (const TensorEntry& entry : manifest_.tensors) {
        by_name_.emplace(std::pair(entry.kind, entry.name), &entry);
    }
}

bool Checkpoint::has_kind(const std::string& kind) const {
    return std::any_of(manifest_.tensors.begin(), manifest_.tensors.end(),
                       [&](const TensorEntry& entry) { return entry.kind == kind; });
}

std::vector<const TensorEntry*> Checkpoint::weights(const std::string& kind) const {
    std::vector<const TensorEntry*> found;
    for (const auto& [key, entry] : by_name_) {  // sorted
        if (entry->kind == kind) {
            found.push_back(entry);
        }
    }
    return found;
}

const TensorEntry* Checkpoint::find(const std::string& kind, const std::string& name) const {
    const auto found = by_name_.find({kind, name});
    return found == by_name_.end() ? nullptr : found->second;
}

const TensorEntry& Checkpoint::get(const std::string& kind, const std::string& name) const {
    const TensorEntry* entry = find(kind, name);
    if (entry == nullptr) {
        fail("{}: has no tensor {} of kind {}", folder_.string(), name, kind);
    }
    return *entry;
}

void Checkpoint::check_target(const Target& target) const {
    const TensorEntry* entry = find(target.kind, target.name);
    if (entry == nullptr && !has_kind(target.kind)) {
        fail(
            "{}: holds no {} (of {}): it was saved with checkpoint.model_weights_only, a run "
            "cannot be continued from it",
            folder_.string(), target.kind, target.name);
    }
    if (entry == nullptr) {
        fail(
            "{}: has no tensor {} of kind {}, which this model has: the checkpoint belongs to "
            "another model",
            folder_.string(), target.name, target.kind);
    }
    if (entry->shape != target.shape) {
        fail(
            "{}: tensor {}: has shape {} in the checkpoint, but {} in this model: use the model "
            "options it was saved with, or another checkpoint folder",
            folder_.string(), label(*entry), shape_text(entry->shape), shape_text(target.shape));
    }
    TORCH_CHECK(0 <= target.begin && target.begin <= target.end &&
                    target.end <= checked_numel(target.shape),
                label(*entry), ": bad range [", target.begin, ", ", target.end, ")");
    check_shape(target.data, {target.end - target.begin}, target.name);
    TORCH_CHECK(target.data.is_contiguous(), target.name, " is not contiguous");
}

void Checkpoint::check_names(std::span<const Target> targets) const {
    std::set<std::string> kinds;
    std::set<std::pair<std::string, std::string>> wanted;
    for (const Target& target : targets) {
        check_target(target);
        kinds.insert(target.kind);
        wanted.insert({target.kind, target.name});
    }
    for (const TensorEntry& entry : manifest_.tensors) {
        if (kinds.contains(entry.kind) && !wanted.contains({entry.kind, entry.name})) {
            fail(
                "{}: holds tensor {} {}, which this model does not have: use the model options "
                "it was saved with, or another checkpoint folder",
                folder_.string(), label(entry), shape_text(entry.shape));
        }
    }
}

void Checkpoint::add_wishes(std::vector<Wish>& wishes, const Target& target) const {
    const TensorEntry& entry = get(target.kind, target.name);
    for (const Slice& slice : entry.slices) {
        if (std::max(slice.begin, target.begin) < std::min(slice.end, target.end)) {
            wishes.push_back({&entry, &slice, &target});
        }
    }
}

uint64_t Checkpoint::read_slice(const Wish& wish, const ReadFile& bytes) const {
    const auto& [entry, slice, target] = wish;
    const SafetensorsFile& file = files_.at(slice->file);
    const bool checks = !verified_.contains(slice);
    SliceReader reader(bytes, file.offset(slice->key), *slice, entry->dtype, target);
    uint32_t sum = 0;
    try {
        sum = checks ? reader.read(slice->begin, slice->end)
                     : reader.read(reader.wanted_begin(), reader.wanted_end());
    } catch (const Error& problem) {
        fail_damaged(folder_, fmt::format("tensor {}: {}", label(*entry), problem.what()));
    }
    if (checks && sum != slice->crc32c) {
        fail_damaged(folder_, fmt::format("{}: tensor {}: checksum is {:08x}, {:08x} was written",
                                          file.path().string(), label(*entry), sum, slice->crc32c));
    }
    return reader.bytes_read();
}

std::vector<std::vector<Checkpoint::Wish>> Checkpoint::runs_of(std::vector<Wish> wishes) const {
    constexpr uint64_t kRunBytes = uint64_t{64} << 20;
    std::map<const Slice*, uint64_t> places;
    for (const Wish& wish : wishes) {
        places.emplace(wish.slice, files_.at(wish.slice->file).offset(wish.slice->key));
    }
    std::stable_sort(wishes.begin(), wishes.end(), [&](const Wish& a, const Wish& b) {
        return std::tie(a.slice->file, places.at(a.slice)) <
               std::tie(b.slice->file, places.at(b.slice));
    });
    std::vector<std::vector<Wish>> runs;
    for (const Wish& wish : wishes) {
        const bool goes_on =
            !runs.empty() && runs.back().front().slice->file == wish.slice->file &&
            places.at(wish.slice) - places.at(runs.back().front().slice) < kRunBytes;
        if (!goes_on) {
            runs.emplace_back();
        }
        runs.back().push_back(wish);
    }
    return runs;
}

void Checkpoint::read_slices(std::vector<Wish> wishes,
                             const std::function<void(uint64_t)>& progress) {
    const auto runs = runs_of(std::move(wishes));
    std::atomic<uint64_t> bytes{0};
    parallel_for(static_cast<int64_t>(runs.size()), reading_threads(), [&](int64_t i) {
        const std::vector<Wish>& run = runs[static_cast<size_t>(i)];
        const std::string& name = run.front().slice->file;
        const ReadFile file(files_.at(name).path());
        if (file.identity() != identities_.at(name)) {
            fail("{}: was replaced while it was read: start again, with the new checkpoint",
                 files_.at(name).path().string());
        }
        for (const Wish& wish : run) {
            bytes += read_slice(wish, file);
            if (progress) {
                progress(bytes);
            }
        }
    });
    for (const std::vector<Wish>& run : runs) {
        for (const Wish& wish : run) {
            verified_.insert(wish.slice);
        }
    }
}

void Checkpoint::load_into(std::span<const Target> targets) {
    check_names(targets);
    std::vector<Wish> wishes;
    for (const Target& target : targets) {
        add_wishes(wishes, target);
    }
    read_slices(std::move(wishes));
}

at::Tensor Checkpoint::tensor(const std::string& kind, const std::string& name) {
    const TensorEntry& entry = get(kind, name);
    const at::Tensor flat =
        at::empty({checked_numel(entry.shape).value()}, at::TensorOptions().dtype(entry.dtype));
    read(kind, name, 0, flat);
    return flat.view(entry.shape);
}

void Checkpoint::read(const std::string& kind, const std::string& name, int64_t begin,
                      const at::Tensor& into) {
    const TensorEntry& entry = get(kind, name);
    const Target target{.name = name,
                        .kind = kind,
                        .shape = entry.shape,
                        .begin = begin,
                        .end = begin + into.numel(),
                        .data = into};
    check_target(target);
    std::vector<Wish> wishes;
    add_wishes(wishes, target);
    read_slices(std::move(wishes));
}

uint64_t Checkpoint::verify() {
    constexpr uint64_t kMegabyte = 1'000'000;
    std::vector<Wish> wishes;
    uint64_t all = 0;
    for (const TensorEntry& entry : manifest_.tensors) {
        for (const Slice& slice : entry.slices) {
            wishes.push_back({&entry, &slice, nullptr});
            all += files_.at(slice.file).bytes(slice.key).size();
        }
    }
    Progress progress(
        {.label = "verify", .unit = "MB", .total = static_cast<int64_t>(all / kMegabyte)});
    verified_.clear();
    read_slices(wishes,
                [&](uint64_t bytes) { progress.update(static_cast<int64_t>(bytes / kMegabyte)); });
    return all;
}

}  // namespace flux::checkpoint
