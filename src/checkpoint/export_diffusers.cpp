// The weights of a checkpoint as a folder of the diffusers library, tensor by tensor.
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/progress.h"
#include "flux/base/safetensors.h"
#include "flux/checkpoint/diffusers.h"
#include "flux/checkpoint/export.h"
#include "flux/checkpoint/load.h"
#include "flux/model/weight_layout.h"

namespace flux::checkpoint {
namespace {

namespace fs = std::filesystem;

/// A tensor to be written and the one it comes from.
struct Planned {
    const TensorEntry* source;
    model::StoredTensor tensor;
};

struct Shard {
    std::vector<Planned> tensors;
    int64_t bytes = 0;
};

int64_t element_count(const model::StoredTensor& tensor) {
    int64_t count = 0;
    for (const model::FlatRange& range : tensor.from) {
        count += range.end - range.begin;
    }
    return count;
}

std::vector<Shard> plan_shards(const Checkpoint& source, const model::FluxConfig& model,
                               const DiffusersExport& settings) {
    const auto element_bytes = static_cast<int64_t>(c10::elementSize(settings.dtype));
    std::vector<Shard> shards(1);
    for (const TensorEntry* entry : source.weights(settings.kind)) {
        for (model::StoredTensor& tensor : model::stored_tensors(
                 model::WeightLayout::kDiffusers, entry->name, entry->shape, model.hidden_size)) {
            const int64_t bytes = element_count(tensor) * element_bytes;
            if (shards.back().bytes + bytes > settings.most_shard_bytes &&
                !shards.back().tensors.empty()) {
                shards.emplace_back();
            }
            shards.back().tensors.push_back({entry, std::move(tensor)});
            shards.back().bytes += bytes;
        }
    }
    if (shards.front().tensors.empty()) {
        fail("{}: holds no model weights to export", source.folder().string());
    }
    return shards;
}

at::Tensor read(Checkpoint& source, const Planned& planned) {
    const at::Tensor flat = at::empty({element_count(planned.tensor)},
                                      at::TensorOptions().dtype(planned.source->dtype));
    int64_t offset = 0;
    for (const model::FlatRange& range : planned.tensor.from) {
        const int64_t count = range.end - range.begin;
        source.read(planned.source->kind, planned.source->name, range.begin,
                    flat.narrow(0, offset, count));
        offset += count;
    }
    return flat.view(planned.tensor.shape);
}

void write_shard_file(Checkpoint& source, const Shard& shard, const fs::path& path,
                      c10::ScalarType dtype, const std::function<void()>& on_tensor) {
    std::vector<TensorSpec> specs;
    for (const Planned& planned : shard.tensors) {
        specs.push_back(
            {.name = planned.tensor.name, .dtype = dtype, .shape = planned.tensor.shape});
    }
    SafetensorsWriter writer(path, specs, {{"format", "pt"}}, Existing::kRefuse);
    for (const Planned& planned : shard.tensors) {
        writer.write(converted(read(source, planned), dtype, planned.tensor.name));
        on_tensor();
    }
    writer.commit();
}

/// What is written goes into "<out>.tmp", which takes its name at the end and goes away otherwise.
class NewFolder {
public:
    explicit NewFolder(fs::path path) : path_(std::move(path)) {
        if (!path_.has_filename()) {
            path_ = path_.parent_path();  // "folder/"
        }
        temporary_ = path_.string() + ".tmp";
        for (const fs::path& taken : {path_, temporary_}) {
            if (fs::exists(fs::symlink_status(taken))) {
                fail(
                    "{}: exists already and is not replaced: choose another name, or remove it "
                    "first",
                    taken.string());
            }
        }
        make_writable_folder(temporary_, "choose another with --out");
    }
    ~NewFolder() {
        if (!committed_) {
            std::error_code ignored;
            fs::remove_all(temporary_, ignored);
        }
    }
    NewFolder(const NewFolder&) = delete;
    NewFolder& operator=(const NewFolder&) = delete;

    fs::path operator/(const std::string& name) const { return temporary_ / name; }
    void commit() {
        sync_folder(temporary_);
        fs::rename(temporary_, path_);
        committed_ = true;
        sync_folder(fs::absolute(path_).parent_path());
    }

private:
    fs::path path_;
    fs::path temporary_;
    bool committed_ = false;
};

std::string shard_name(size_t index, size_t count) {
    return count == 1
               ? kDiffusersSingle
               : fmt::format("{}-{:05}-of-{:05}.safetensors", kDiffusersStem, index + 1, count);
}

std::string index_text(const std::vector<Shard>& shards) {
    int64_t bytes = 0;
    std::map<std::string, std::string> places;
    for (size_t i = 0; i < shards.size(); ++i) {
        bytes += shards[i].bytes;
        for (const Planned& planned : shards[i].tensors) {
            places.emplace(planned.tensor.name, shard_name(i, shards.size()));
        }
    }
    const nlohmann::ordered_json index{{"metadata", {{"total_size", bytes}}},
                                       {"weight_map", places}};
    return index.dump(2) + "\n";
}

}  // namespace

void export_diffusers(const fs::path& checkpoint, const model::FluxConfig& model,
                      const DiffusersExport& settings) {
    TORCH_CHECK(at::isFloatingType(settings.dtype), "weights cannot be exported as ",
                settings.dtype);
    const std::string config = diffusers_config(model);
    Checkpoint source(checkpoint);
    const std::vector<Shard> shards = plan_shards(source, model, settings);
    NewFolder folder(settings.out_folder);
    write_text(folder / kDiffusersConfig, config);
    int64_t total = 0, done = 0;
    for (const Shard& shard : shards) {
        total += std::ssize(shard.tensors);
    }
    Progress progress({.label = "export", .unit = "tensors", .total = total});
    for (size_t i = 0; i < shards.size(); ++i) {
        write_shard_file(source, shards[i], folder / shard_name(i, shards.size()), settings.dtype,
                         [&] { progress.update(++done); });
    }
    if (shards.size() > 1) {
        write_text(folder / kDiffusersIndex, index_text(shards));
    }
    folder.commit();
}

}  // namespace flux::checkpoint
