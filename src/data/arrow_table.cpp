#include "data/arrow_table.h"

#include <arrow/array.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>
#include <c10/util/Exception.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "data/arrow_file.h"
#include "data/arrow_status.h"
#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux::data {

struct ArrowTable::File {
    std::unique_ptr<ArrowFile> file;
    std::vector<std::string> top_level;  // columns to load, each once
    int64_t first_row = 0;
    int64_t rows = 0;
};

/// Memory of one batch, which may take so much and no more: sizes in a file are not believed.
class BoundedPool {
public:
    explicit BoundedPool(size_t most_bytes) : capped_(&own_, static_cast<int64_t>(most_bytes)) {}
    BoundedPool(const BoundedPool&) = delete;
    BoundedPool& operator=(const BoundedPool&) = delete;

    arrow::MemoryPool& pool() { return capped_; }

private:
    arrow::ProxyMemoryPool own_{arrow::default_memory_pool()};
    arrow::CappedMemoryPool capped_;
};

/// The arrays of one batch, in the order of the table's columns; null where the file lacks one.
struct ArrowTable::Columns {
    explicit Columns(size_t most_bytes) : memory(most_bytes) {}

    BoundedPool memory;  // first: the arrays lie in it
    std::vector<std::shared_ptr<arrow::Array>> arrays;
    size_t size_bytes = 0;  // memory that this takes, 0 for a batch in place
};

struct ArrowTable::Batch {
    const File* file;
    size_t number;  // in the file
    int64_t first_row;
    std::shared_ptr<const Columns> in_place;  // null: decoded when needed
};

namespace {

struct ColumnName {
    std::string top;
    std::string member;  // empty: the column itself
};

ColumnName split_name(const std::string& name) {
    const size_t dot = name.find('.');
    return dot == std::string::npos ? ColumnName{name, {}}
                                    : ColumnName{name.substr(0, dot), name.substr(dot + 1)};
}

/// A struct column without a member's name stands for its bytes, as Hugging Face stores images.
std::string member_of_struct(const ColumnName& name) {
    return name.member.empty() ? "bytes" : name.member;
}

/// Type of a column by its full name; null if there is none.
std::shared_ptr<arrow::DataType> type_of(const arrow::Schema& schema, const std::string& name) {
    const ColumnName parts = split_name(name);
    const auto field = schema.GetFieldByName(parts.top);
    if (!field || field->type()->id() != arrow::Type::STRUCT) {
        return field && parts.member.empty() ? field->type() : nullptr;
    }
    const auto member = static_cast<const arrow::StructType&>(*field->type())
                            .GetFieldByName(member_of_struct(parts));
    return member ? member->type() : nullptr;
}

bool fits(const arrow::DataType& type, CellKind kind) {
    using arrow::Type;
    switch (type.id()) {
        case Type::NA:  // a column of nothing but nulls
            return true;
        case Type::STRING:
        case Type::LARGE_STRING:
            return kind == CellKind::kText;
        case Type::BINARY:
        case Type::LARGE_BINARY:
            return kind == CellKind::kBytes;
        case Type::INT8:
        case Type::INT16:
        case Type::INT32:
        case Type::INT64:
        case Type::UINT8:
        case Type::UINT16:
        case Type::UINT32:
            return kind == CellKind::kInteger;
        default:
            return false;
    }
}

std::string_view kind_name(CellKind kind) {
    switch (kind) {
        case CellKind::kText:
            return "string";
        case CellKind::kBytes:
            return "binary";
        case CellKind::kInteger:
            break;
    }
    return "integer";
}

std::shared_ptr<arrow::Array> array_of(const arrow::RecordBatch& batch, const std::string& name,
                                       const std::string& place) {
    const ColumnName parts = split_name(name);
    const auto column = batch.GetColumnByName(parts.top);
    if (!column || column->type_id() != arrow::Type::STRUCT) {
        return parts.member.empty() ? column : nullptr;
    }
    const auto& type = static_cast<const arrow::StructType&>(*column->type());
    const int index = type.GetFieldIndex(member_of_struct(parts));
    if (index < 0) {
        return nullptr;
    }
    return take_arrow(static_cast<const arrow::StructArray&>(*column).GetFlattenedField(index),
                      place + ": column " + name);
}

/// Arrow checks that the buffers are large enough, but not every offset in them.
template <class Array>
std::span<const std::byte> view(const Array& array, int64_t row) {
    const int64_t begin = array.value_offset(row);
    const int64_t end = array.value_offset(row + 1);
    const int64_t size = array.value_data() ? array.value_data()->size() : 0;
    if (begin < 0 || begin > end || end > size) {
        fail("damaged: bytes {} to {} of {}", begin, end, size);
    }
    if (begin == end) {
        return {};
    }
    const auto* data = reinterpret_cast<const std::byte*>(array.value_data()->data());
    return {data + begin, static_cast<size_t>(end - begin)};
}

std::span<const std::byte> view_bytes(const arrow::Array& array, int64_t row) {
    switch (array.type_id()) {
        case arrow::Type::STRING:
        case arrow::Type::BINARY:
            return view(static_cast<const arrow::BinaryArray&>(array), row);
        default:
            return view(static_cast<const arrow::LargeBinaryArray&>(array), row);
    }
}

template <class Array>
int64_t value_of(const arrow::Array& array, int64_t row) {
    return static_cast<int64_t>(static_cast<const Array&>(array).Value(row));
}

int64_t view_integer(const arrow::Array& array, int64_t row) {
    switch (array.type_id()) {
        case arrow::Type::INT8:
            return value_of<arrow::Int8Array>(array, row);
        case arrow::Type::INT16:
            return value_of<arrow::Int16Array>(array, row);
        case arrow::Type::INT32:
            return value_of<arrow::Int32Array>(array, row);
        case arrow::Type::UINT8:
            return value_of<arrow::UInt8Array>(array, row);
        case arrow::Type::UINT16:
            return value_of<arrow::UInt16Array>(array, row);
        case arrow::Type::UINT32:
            return value_of<arrow::UInt32Array>(array, row);
        default:
            return value_of<arrow::Int64Array>(array, row);
    }
}

}  // namespace

ArrowTable::ArrowTable(const std::vector<std::filesystem::path>& files,
                       std::vector<TableColumn> columns, size_t decoded_bytes)
    : columns_(std::move(columns)),
      decoded_bytes_(decoded_bytes),
      present_(columns_.size(), false) {
    for (const auto& path : files) {
        open_file(path);
    }
    warn_of_decoding();
}

ArrowTable::~ArrowTable() = default;

void ArrowTable::open_file(const std::filesystem::path& path) {
    auto file = std::make_unique<File>();
    file->file = open_arrow_file(path);
    check_columns(*file);
    for (const TableColumn& column : columns_) {
        const std::string top = split_name(column.name).top;
        const bool known =
            std::find(file->top_level.begin(), file->top_level.end(), top) != file->top_level.end();
        if (!known && type_of(file->file->schema(), column.name)) {
            file->top_level.push_back(top);
        }
    }
    file->first_row = rows_;
    for (size_t i = 0; i < file->file->batches(); ++i) {
        Batch batch{file.get(), i, rows_, nullptr};
        const int64_t rows = file->file->rows(i);
        if (rows == 0) {
            continue;
        }
        if (file->file->in_place(i)) {
            batch.in_place = load(batch);
        }
        rows_ += rows;
        batches_.push_back(std::move(batch));
    }
    file->rows = rows_ - file->first_row;
    files_.push_back(std::move(file));
}

void ArrowTable::check_columns(const File& file) {
    const arrow::Schema& schema = file.file->schema();
    const std::string path = file.file->path().string();
    for (size_t i = 0; i < columns_.size(); ++i) {
        const TableColumn& column = columns_[i];
        const auto type = type_of(schema, column.name);
        if (!type && column.required) {
            fail(
                "{}: has no column \"{}\"; its columns are {}: choose the kind of data set that "
                "has these, or another path",
                path, column.name, fmt::join(schema.field_names(), ", "));
        }
        if (type && !fits(*type, column.kind)) {
            fail("{}: column \"{}\" has the type {}: must be {}", path, column.name,
                 type->ToString(), kind_name(column.kind));
        }
        present_[i] = present_[i] || type;
    }
}

void ArrowTable::warn_of_decoding() const {
    uint64_t total = 0;
    for (const Batch& batch : batches_) {
        if (!batch.in_place) {
            total += static_cast<uint64_t>(batch.file->file->decoded_bytes(batch.number));
        }
    }
    if (total > decoded_bytes_) {
        log::warning(
            "{}{}: the batches unpack to {} bytes at least, {} can be held in memory: reading in "
            "random order decodes batches over and over, each for one row; store the set without "
            "compression, as save_to_disk does",
            files_.front()->file->path().string(), files_.size() > 1 ? " and others" : "", total,
            decoded_bytes_);
    }
}

/// Binary search over the batches' first rows.
size_t ArrowTable::batch_of(int64_t row) const {
    TORCH_CHECK(row >= 0 && row < rows_, "row ", row, " of ", rows_);
    const auto after = std::upper_bound(
        batches_.begin(), batches_.end(), row,
        [](int64_t wanted, const Batch& batch) { return wanted < batch.first_row; });
    return static_cast<size_t>(after - batches_.begin()) - 1;
}

ArrowTable::Place ArrowTable::place(int64_t row) const {
    const size_t number = batch_of(row);
    const Batch& batch = batches_[number];
    return {batch.in_place ? batch.in_place : decoded(number), row - batch.first_row};
}

std::shared_ptr<const ArrowTable::Columns> ArrowTable::load(const Batch& batch) const {
    const ArrowFile& file = *batch.file->file;
    auto columns = std::make_shared<Columns>(decoded_bytes_);
    const auto loaded = file.load(batch.number, batch.file->top_level, columns->memory.pool());
    const std::string place =
        fmt::format("{}: record batch {}", file.path().string(), batch.number);
    for (const TableColumn& column : columns_) {
        columns->arrays.push_back(array_of(*loaded, column.name, place));
    }
    if (!file.in_place(batch.number)) {
        columns->size_bytes = static_cast<size_t>(arrow::util::TotalBufferSize(*loaded));
    }
    return columns;
}

/// From the kept batches, or decoded now. No two threads decode the same batch.
std::shared_ptr<const ArrowTable::Columns> ArrowTable::decoded(size_t batch) const {
    std::unique_lock lock(mutex_);
    for (;; decoded_.wait(lock)) {
        const auto found = std::find_if(kept_.begin(), kept_.end(),
                                        [&](const Kept& kept) { return kept.batch == batch; });
        if (found == kept_.end()) {
            break;
        }
        if (found->columns) {
            std::rotate(found, found + 1, kept_.end());
            return kept_.back().columns;
        }
    }
    kept_.push_back({batch, nullptr});
    lock.unlock();
    std::shared_ptr<const Columns> columns;
    try {
        columns = load(batches_[batch]);
    } catch (...) {
        lock.lock();
        std::erase_if(kept_, [&](const Kept& kept) { return kept.batch == batch; });
        decoded_.notify_all();
        throw;
    }
    lock.lock();
    keep(batch, columns);
    decoded_.notify_all();
    return columns;
}

/// Under the lock: takes the batch's place, and what is too much goes, least recently used first.
void ArrowTable::keep(size_t batch, const std::shared_ptr<const Columns>& columns) const {
    std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) {
        return kept.batch == batch;
    })->columns = columns;
    kept_bytes_ += columns->size_bytes;
    for (auto kept = kept_.begin(); kept_bytes_ > decoded_bytes_ && kept != kept_.end();) {
        if (kept->columns && kept->batch != batch) {
            kept_bytes_ -= kept->columns->size_bytes;
            kept = kept_.erase(kept);
        } else {
            ++kept;
        }
    }
}

std::optional<CellBytes> ArrowTable::bytes(int64_t row, size_t column) const {
    Place found = place(row);
    const auto& array = found.columns->arrays[column];
    if (!array || array->IsNull(found.row)) {
        return std::nullopt;
    }
    try {
        return CellBytes{view_bytes(*array, found.row), found.columns};
    } catch (const Error& error) {
        fail("{}: column \"{}\": {}", describe(row), columns_[column].name, error.what());
    }
}

std::optional<int64_t> ArrowTable::integer(int64_t row, size_t column) const {
    const Place found = place(row);
    const auto& array = found.columns->arrays[column];
    if (!array || array->IsNull(found.row)) {
        return std::nullopt;
    }
    return view_integer(*array, found.row);
}

const std::filesystem::path& ArrowTable::file(int64_t row) const {
    return batches_[batch_of(row)].file->file->path();
}

std::string ArrowTable::describe(int64_t row) const {
    const File& file = *batches_[batch_of(row)].file;
    return fmt::format("{}: row {}", file.file->path().string(), row - file.first_row);
}

std::vector<std::pair<std::filesystem::path, int64_t>> ArrowTable::contents() const {
    std::vector<std::pair<std::filesystem::path, int64_t>> result;
    for (const auto& file : files_) {
        result.emplace_back(file->file->path(), file->rows);
    }
    return result;
}

std::vector<std::filesystem::path> ArrowTable::without_end_mark() const {
    std::vector<std::filesystem::path> result;
    for (const auto& file : files_) {
        if (!file->file->has_end_mark()) {
            result.push_back(file->file->path());
        }
    }
    return result;
}

}  // namespace flux::data
