// A small run state with tensors of awkward shapes, whole or split between processes as a flat
// shard would split them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "flux/checkpoint/load.h"
#include "flux/checkpoint/save.h"

namespace flux::checkpoint::test {

/// Whole tensors whose values depend on `step`.
std::vector<Piece> example_pieces(int64_t step);

RunState example_run(int64_t step);

/// The parts of `pieces` that process `rank` of `world` holds when all elements of a kind are laid
/// end to end and cut into equal ranges; parts without elements stay in the list.
std::vector<Piece> part_of(const std::vector<Piece>& pieces, int rank, int world);

/// Zero-filled targets for the same ranges.
std::vector<Target> targets_for(const std::vector<Piece>& pieces);

/// Saves as `world` processes would.
std::filesystem::path save_split(const std::filesystem::path& folder, const RunState& run,
                                 const std::vector<Piece>& pieces, int world);

/// Loads all of `pieces` and says what differs; empty if every bit is right.
std::string difference(const std::filesystem::path& checkpoint, const std::vector<Piece>& pieces);

/// Replaces the byte at `offset` of a file by its complement.
void damage_byte(const std::filesystem::path& path, size_t offset);

}  // namespace flux::checkpoint::test
