#include "example.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>

#include "flux/base/error.h"
#include "flux/base/shape.h"

namespace flux::checkpoint::test {

std::vector<Piece> example_pieces(int64_t step) {
    const std::vector<std::pair<std::string, std::vector<int64_t>>> shapes{
        {"img_in.weight", {7, 5}}, {"img_in.bias", {7}}, {"empty", {3, 0}}, {"scale", {}},
        {"qkv.weight", {3, 4, 5}}, {"tail", {1}}};
    std::vector<Piece> pieces;
    double first = static_cast<double>(step) * 1000;
    for (const char* kind : {kParam, kExpAvg, kExpAvgSq}) {
        for (const auto& [name, shape] : shapes) {
            const int64_t count = checked_numel(shape).value();
            const at::Tensor data = at::arange(count, at::kFloat).mul(0.37).add(first);
            pieces.push_back({.name = name,
                              .kind = kind,
                              .shape = shape,
                              .begin = 0,
                              .end = count,
                              .data = data});
            first += 100;
        }
    }
    pieces[0].data[3] = std::numeric_limits<float>::quiet_NaN();  // bits matter, not values
    pieces[0].data[4] = -0.0f;
    return pieces;
}

RunState example_run(int64_t step) {
    return {.step = step,
            .samples = step * 16,
            .seed = 0xFEDCBA9876543210u,
            .global_batch_size = 16,
            .optimizer_step = step - 1,
            .skipped_steps = 1,
            .validated_step = 3,
            .target_reached = true,
            .dataset_fingerprint = 0xFEDCBA9876543210ull,
            .config_toml = "[job]\nname = \"ex\u00e4mple\"\n"};
}

std::vector<Piece> part_of(const std::vector<Piece>& pieces, int rank, int world) {
    std::map<std::string, int64_t> totals;
    for (const Piece& piece : pieces) {
        totals[piece.kind] += piece.end;
    }
    std::map<std::string, int64_t> before;
    std::vector<Piece> parts;
    for (const Piece& piece : pieces) {
        const int64_t per_rank = (totals[piece.kind] + world - 1) / world;
        int64_t& start = before[piece.kind];
        Piece part = piece;
        part.begin = std::clamp(per_rank * rank - start, int64_t{0}, piece.end);
        part.end = std::clamp(per_rank * (rank + 1) - start, int64_t{0}, piece.end);
        if (piece.end == 0 && rank > 0) {
            continue;  // one process writes what has no elements
        }
        part.data = piece.data.narrow(0, part.begin, part.end - part.begin).clone();
        start += piece.end;
        parts.push_back(part);
    }
    return parts;
}

std::vector<Target> targets_for(const std::vector<Piece>& pieces) {
    std::vector<Target> targets;
    for (const Piece& piece : pieces) {
        targets.push_back({.name = piece.name,
                           .kind = piece.kind,
                           .shape = piece.shape,
                           .begin = piece.begin,
                           .end = piece.end,
                           .data = at::zeros({piece.end - piece.begin}, piece.data.options())});
    }
    return targets;
}

std::filesystem::path save_split(const std::filesystem::path& folder, const RunState& run,
                                 const std::vector<Piece>& pieces, int world) {
    const auto temporary = begin_save(folder, run.step);
    std::vector<TensorEntry> all;
    for (int rank = world - 1; rank >= 0; --rank) {  // any order must do
        const auto entries = write_shard(temporary, rank, part_of(pieces, rank, world));
        all.insert(all.end(), entries.begin(), entries.end());
    }
    return commit(folder, temporary, {.run = run, .tensors = merge(all)});
}

std::string difference(const std::filesystem::path& checkpoint, const std::vector<Piece>& pieces) {
    Checkpoint opened(checkpoint);
    const std::vector<Target> targets = targets_for(pieces);
    opened.load_into(targets);
    for (size_t i = 0; i < pieces.size(); ++i) {
        const at::Tensor& expected = pieces[i].data;
        if (expected.nbytes() > 0 &&
            std::memcmp(targets[i].data.const_data_ptr(), expected.const_data_ptr(),
                        expected.nbytes()) != 0) {
            return pieces[i].kind + " " + pieces[i].name + " differs";
        }
    }
    return {};
}

void damage_byte(const std::filesystem::path& path, size_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(~byte));
}

}  // namespace flux::checkpoint::test
