// One file of a table, as record batches: an Arrow IPC stream or file (mapped, its uncompressed
// batches are read in place), or a Parquet file. For arrow_table.cpp.
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace flux::data {

class ArrowFile {
public:
    virtual ~ArrowFile() = default;

    virtual const std::filesystem::path& path() const = 0;
    virtual const arrow::Schema& schema() const = 0;
    virtual size_t batches() const = 0;
    virtual int64_t rows(size_t batch) const = 0;

    /// Whether its end is as its writer left it; a stream may have been cut between two batches.
    virtual bool has_end_mark() const = 0;

    /// Whether load() only points into the mapped file: such a batch may be kept for good.
    virtual bool in_place(size_t batch) const = 0;

    /// Bytes of a batch that is not in place, once decoded, as far as heads tell: rather too few.
    virtual int64_t decoded_bytes(size_t batch) const = 0;

    /// The named top-level columns of a batch, structurally checked, in memory of the pool, which
    /// must outlive them; safe to call from several threads. Throws Error naming file, batch and
    /// reason.
    virtual std::shared_ptr<arrow::RecordBatch> load(size_t batch,
                                                     const std::vector<std::string>& columns,
                                                     arrow::MemoryPool& pool) const = 0;
};

/// Opens a file by its content. Throws Error naming the file, the place and the reason when it is
/// not readable to its end.
std::unique_ptr<ArrowFile> open_arrow_file(const std::filesystem::path& path);

}  // namespace flux::data
