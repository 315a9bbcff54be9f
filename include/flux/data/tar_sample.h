// What the members of a sample in a tar shard say: picture, caption and timestep by one set of
// rules, for training and for tools.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flux/data/tar_index.h"

namespace flux::data {

/// Where a member lies, behind its header.
struct Extent {
    uint64_t offset = 0;
    uint64_t size = 0;
    bool present() const { return offset > 0; }
};

/// The members that count: of several pictures one; .txt has the caption, where there is none
/// .json.
struct TarSample {
    Extent picture, text, json;
};
TarSample parts_of(const IndexedSample& sample);

/// Why a sample cannot be used, as far as the index tells; empty: no reason known.
std::string problem_of(const IndexedSample& sample);

/// Each throws Error saying what is wrong with the sample. A timestep of -1: there is none.
std::string read_caption(const TarSample& sample, const ShardReader& reader);
int64_t read_timestep(const TarSample& sample, const ShardReader& reader);
std::vector<uint8_t> read_picture(const TarSample& sample, const ShardReader& reader);

}  // namespace flux::data
