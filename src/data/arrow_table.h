// The rows of many Arrow files as one table: any cell of any row by number. Batches that lie
// uncompressed in a mapped file are read in place; others are decoded when they are needed, and
// kept within a bound of memory. What a single batch may decode to has the same bound.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flux::data {

enum class CellKind { kText, kBytes, kInteger };

/// A column that is read. A name with a dot is a member of a struct column: "json.caption"; a
/// struct column named alone stands for its member `bytes`.
struct TableColumn {
    std::string name;
    CellKind kind = CellKind::kBytes;
    bool required = true;
};

/// Bytes of a cell; they stay where they are as long as `owner` or the table lives.
struct CellBytes {
    std::span<const std::byte> bytes{};
    std::shared_ptr<const void> owner{};

    std::string_view text() const {
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
};

class ArrowTable {
public:
    /// Opens all files. Throws Error naming the file that is damaged, lacks a required column, or
    /// has it with another type.
    ArrowTable(const std::vector<std::filesystem::path>& files, std::vector<TableColumn> columns,
               size_t decoded_bytes = size_t{1} << 30);
    ~ArrowTable();
    ArrowTable(const ArrowTable&) = delete;
    ArrowTable& operator=(const ArrowTable&) = delete;

    int64_t rows() const { return rows_; }
    /// Whether any file has the column (an index into the constructor's list).
    bool has(size_t column) const { return present_[column]; }

    /// A cell, nothing if it is null or its file lacks the column. Safe to call from several
    /// threads. Throws Error naming place and reason for a damaged cell.
    std::optional<CellBytes> bytes(int64_t row, size_t column) const;
    std::optional<int64_t> integer(int64_t row, size_t column) const;

    /// File of a row.
    const std::filesystem::path& file(int64_t row) const;
    /// "folder/data-00000-of-00002.arrow: row 17", counted in the file from 0.
    std::string describe(int64_t row) const;
    /// Files with their rows, in order.
    std::vector<std::pair<std::filesystem::path, int64_t>> contents() const;

    /// Files that have no end mark and may have lost rows.
    std::vector<std::filesystem::path> without_end_mark() const;

private:
    struct File;
    struct Batch;
    struct Columns;
    struct Place {
        std::shared_ptr<const Columns> columns;
        int64_t row;  // in the batch
    };

    void open_file(const std::filesystem::path& path);
    void check_columns(const File& file);
    void warn_of_decoding() const;
    size_t batch_of(int64_t row) const;
    Place place(int64_t row) const;
    std::shared_ptr<const Columns> load(const Batch& batch) const;
    std::shared_ptr<const Columns> decoded(size_t batch) const;

    const std::vector<TableColumn> columns_;
    const size_t decoded_bytes_;
    std::vector<bool> present_;
    std::vector<std::unique_ptr<File>> files_;
    std::vector<Batch> batches_;
    int64_t rows_ = 0;

    struct Kept {
        size_t batch;
        std::shared_ptr<const Columns> columns;  // null: a thread decodes it
    };
    void keep(size_t batch, const std::shared_ptr<const Columns>& columns) const;

    mutable std::mutex mutex_;                 // guards the next two
    mutable std::vector<Kept> kept_;           // the least recently used first
    mutable size_t kept_bytes_ = 0;            // may be above the bound by what threads decode now
    mutable std::condition_variable decoded_;  // a batch, or failed to
};

}  // namespace flux::data
