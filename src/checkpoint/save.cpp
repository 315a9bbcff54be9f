#include "flux/checkpoint/save.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <exception>
#include <future>

#include "flux/base/crc32c.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/base/safetensors.h"
#include "flux/base/shape.h"
#include "flux/checkpoint/folder.h"
#include "flux/dist/world.h"

namespace flux::checkpoint {
namespace {

namespace fs = std::filesystem;

bool is_whole(const Piece& piece) {
    return piece.begin == 0 && piece.end == checked_numel(piece.shape);
}

/// Name of a piece inside its file. A whole tensor keeps its shape there, so that other programs
/// can read the file.
std::string key_of(const Piece& piece) {
    const std::string key = piece.kind + "/" + piece.name;
    return is_whole(piece) ? key : fmt::format("{}[{}:{}]", key, piece.begin, piece.end);
}

void check_piece(const Piece& piece) {
    const auto count = checked_numel(piece.shape);
    TORCH_CHECK(count && 0 <= piece.begin && piece.begin <= piece.end && piece.end <= *count,
                piece.name, ": elements [", piece.begin, ", ", piece.end, ") of shape ",
                shape_text(piece.shape));
    check_shape(piece.data, {piece.end - piece.begin}, piece.name);
}

/// The pieces that are written, wider element types first as SafetensorsWriter wants them.
std::vector<const Piece*> in_file_order(std::span<const Piece> pieces) {
    std::vector<const Piece*> order;
    for (const Piece& piece : pieces) {
        check_piece(piece);
        if (piece.begin < piece.end || is_whole(piece)) {
            order.push_back(&piece);
        }
    }
    std::stable_sort(order.begin(), order.end(), [](const Piece* a, const Piece* b) {
        return a->data.element_size() > b->data.element_size();
    });
    return order;
}

/// Puts the finished folder under its name; a former checkpoint of the step stays loadable under
/// its second name until then, and is a leftover afterwards.
void take_name(const fs::path& temporary, const fs::path& final_path, const fs::path& folder) {
    const fs::path former = final_path.string() + ".replaced";
    if (fs::exists(final_path)) {
        fs::rename(final_path, former);
    }
    fs::rename(temporary, final_path);
    sync_folder(folder);
}

/// After a failed save: no half checkpoint stays, and the message says what there is.
[[noreturn]] void give_up(const fs::path& folder, int64_t step, const std::string& reason,
                          bool cleans) {
    std::string rest;
    try {
        if (cleans) {
            clean_leftovers(folder);
        }
        const auto found = committed(folder);
        rest = found.empty() ? "there is no older checkpoint"
                             : "the last complete checkpoint is " + found.rbegin()->second.string();
    } catch (const std::exception& problem) {
        rest = fmt::format("cleaning up failed too: {}", problem.what());
    }
    fail("the checkpoint of step {} was not saved: {}; {}", step, reason, rest);
}

/// Runs this process's part, and learns how the others fared: if one failed, all throw Error,
/// whatever it was that failed: one that left here by itself would be waited for. Returns the
/// number of processes.
template <class Part>
int together(const SaveGroup& group, const std::string& topic, Part part) {
    std::string problem;
    try {
        part();
    } catch (const std::exception& error) {
        problem = failure_text(error);
    }
    const std::vector<std::string> problems =
        group.exchange ? group.exchange(topic, problem) : std::vector{problem};
    dist::fail_if_any(problems);
    return static_cast<int>(problems.size());
}

/// After the commit, which nothing takes back: the checkpoint is complete, and the other processes
/// hold it for that.
void tidy(const fs::path& folder, int64_t keep_latest_k, int64_t written) {
    try {
        clean_leftovers(folder);
        prune(folder, keep_latest_k, written);
    } catch (const std::exception& problem) {
        log::warning("older checkpoints are not removed: {}", failure_text(problem));
    }
}

}  // namespace

fs::path begin_save(const fs::path& folder, int64_t step) {
    TORCH_CHECK(step >= 0, "step ", step);
    fs::create_directories(folder);
    sync_folder(folder.parent_path());
    clean_leftovers(folder);
    const fs::path temporary = step_folder(folder, step).string() + ".tmp";
    if (fs::exists(temporary)) {  // it could not be removed
        move_aside(temporary, folder, step);
    }
    fs::create_directory(temporary);
    return temporary;
}

std::vector<TensorEntry> write_shard(const fs::path& temporary, int rank,
                                     std::span<const Piece> pieces) {
    const std::vector<const Piece*> order = in_file_order(pieces);
    std::vector<TensorSpec> specs;
    for (const Piece* piece : order) {
        const std::vector<int64_t> flat{piece->end - piece->begin};
        specs.push_back({.name = key_of(*piece),
                         .dtype = piece->data.scalar_type(),
                         .shape = is_whole(*piece) ? piece->shape : flat});
    }
    const std::string file = fmt::format("rank-{:05}.safetensors", rank);
    SafetensorsWriter writer(temporary / file, specs);
    std::vector<TensorEntry> entries;
    for (size_t i = 0; i < order.size(); ++i) {
        const Piece& piece = *order[i];
        const at::Tensor data = piece.data.detach().cpu().contiguous();
        const std::span bytes(static_cast<const std::byte*>(data.const_data_ptr()), data.nbytes());
        auto sum = std::async(std::launch::async, [bytes] { return crc32c(bytes); });
        writer.write(data.view(specs[i].shape));
        entries.push_back({.name = piece.name,
                           .kind = piece.kind,
                           .dtype = specs[i].dtype,
                           .shape = piece.shape,
                           .slices = {{.begin = piece.begin,
                                       .end = piece.end,
                                       .file = file,
                                       .key = specs[i].name,
                                       .crc32c = sum.get()}}});
    }
    writer.commit();
    return entries;
}

fs::path commit(const fs::path& folder, const fs::path& temporary, const Manifest& manifest) {
    write_manifest(temporary, manifest);
    const fs::path final_path = step_folder(folder, manifest.run.step);
    take_name(temporary, final_path, folder);
    return final_path;
}

fs::path save(const fs::path& folder, const RunState& run, std::span<const Piece> pieces,
              int64_t keep_latest_k, const SaveGroup& group) {
    const bool first = group.rank == 0;
    const fs::path temporary = step_folder(folder, run.step).string() + ".tmp";
    std::vector<TensorEntry> entries;  // of rank 0; the others' come through files beside theirs
    try {
        together(group, "begin", [&] {
            if (first) {
                begin_save(folder, run.step);
            }
        });
        const int processes = together(group, "write", [&] {
            entries = write_shard(temporary, group.rank, pieces);
            if (!first) {
                write_part(temporary, group.rank, entries);
            }
        });
        together(group, "commit", [&] {
            if (first) {
                for (int rank = 1; rank < processes; ++rank) {
                    const auto part = take_part(temporary, rank);
                    entries.insert(entries.end(), part.begin(), part.end());
                }
                commit(folder, temporary, {.run = run, .tensors = merge(entries)});
            }
        });
    } catch (const Error& problem) {
        give_up(folder, run.step, problem.what(), first);
    }
    if (first) {
        tidy(folder, keep_latest_k, run.step);
    }
    return step_folder(folder, run.step);
}

}  // namespace flux::checkpoint
