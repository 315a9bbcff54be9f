// Any bytes as an Arrow file of stored encodings: refused with an Error, or cells that can all be
// read, as .npy arrays too. Parquet is left to the library's own fuzzing.
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "data/arrow_table.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/base/npy.h"
#include "fuzz/memory_file.h"

/// In place of base/log.cpp: a line for every input would only cost time.
void flux::log::write(Level, std::string_view) {}

namespace {

using namespace flux::data;

void read_cell(const ArrowTable& table, int64_t row, size_t column) {
    static volatile uint64_t sink = 0;
    try {
        if (const auto cell = table.bytes(row, column)) {
            for (const std::byte byte : cell->bytes) {
                sink = sink + static_cast<uint64_t>(byte);
            }
            flux::view_npy(cell->bytes, "cell");
        }
    } catch (const flux::Error&) {
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (std::string_view(reinterpret_cast<const char*>(data), size).starts_with("PAR1")) {
        return 0;
    }
    const flux::fuzz::MemoryFile file({data, size});
    try {
        const ArrowTable table({file.path()}, {{"__key__", CellKind::kText, false},
                                               {"mean", CellKind::kBytes, false},
                                               {"png", CellKind::kBytes, false},
                                               {"json.caption", CellKind::kText, false},
                                               {"timestep", CellKind::kInteger, false}});
        constexpr int64_t kMostRows = 64;
        for (int64_t row = 0; row < std::min(table.rows(), kMostRows); ++row) {
            for (size_t column = 0; column < 4; ++column) {
                read_cell(table, row, column);
            }
            table.integer(row, 4);
        }
    } catch (const flux::Error&) {
    }
    return 0;
}
