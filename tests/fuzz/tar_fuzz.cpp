// Any bytes as a tar shard, plain or compressed: refused with an Error, or an index whose members
// lie inside the shard and can be read.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "flux/base/error.h"
#include "flux/data/tar_index.h"
#include "fuzz/memory_file.h"

namespace {

using namespace flux::data;

constexpr uint64_t kMostUnpacked = 16 << 20;

void read_members(const ShardReader& reader, const IndexedSample& sample) {
    for (const IndexedMember& member : sample.members) {
        if (member.offset + member.size > reader.shard().size()) {
            std::abort();
        }
        std::vector<uint8_t> bytes(std::min<uint64_t>(member.size, 4096));
        if (reader.read_at(member.offset, bytes) != bytes.size()) {
            std::abort();
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const flux::fuzz::MemoryFile file({data, size});
    try {
        const ShardReader reader(Shard(file.path(), kMostUnpacked));
        for (const IndexedSample& sample : index_tar(reader).samples) {
            read_members(reader, sample);
        }
    } catch (const flux::Error&) {
    }
    return 0;
}
