// Arrow IPC: streams, as Hugging Face's save_to_disk writes them, and the file format, which is a
// stream between a magic word and a footer. Opening walks over the messages' heads only.
#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/message.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <cstring>
#include <string_view>

#include "data/arrow_file.h"
#include "data/arrow_parquet_file.h"
#include "data/arrow_status.h"
#include "flux/base/file.h"
#include "flux/base/log.h"

namespace flux::data {
namespace {

constexpr std::string_view kParquetMagic = "PAR1";
constexpr std::string_view kFileMagic("ARROW1\0\0", 8);

/// Head of a record batch, a flatbuffer table that Arrow has verified: a signed offset to the
/// table of fields, then the fields. Field 0 is the number of rows, field 3 the compression.
struct BatchHead {
    int64_t rows = 0;
    bool compressed = false;

    explicit BatchHead(const void* header) {
        const auto* table = static_cast<const char*>(header);
        const char* fields = table - read<int32_t>(table);
        const auto count = (read<uint16_t>(fields) - 4) / 2;
        const auto offset = [&](int field) {
            return field < count ? read<uint16_t>(fields + 4 + 2 * field) : uint16_t{0};
        };
        if (const uint16_t at = offset(0)) {
            rows = read<int64_t>(table + at);
        }
        compressed = offset(3) != 0;
    }

private:
    template <class T>
    static T read(const char* from) {
        T value;
        std::memcpy(&value, from, sizeof value);
        return value;
    }
};

class IpcFile : public ArrowFile {
public:
    explicit IpcFile(const std::filesystem::path& path) : file_(path) {
        const std::span<const std::byte> bytes = file_.bytes();
        if (bytes.empty()) {
            fail("{}: the file is empty (0 bytes); copy it again from where it came", name());
        }
        const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        const size_t begin = text.starts_with(kFileMagic) ? kFileMagic.size() : 0;
        arrow::io::BufferReader reader(std::make_shared<arrow::Buffer>(
            reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int64_t>(bytes.size())));
        check_arrow(reader.Seek(static_cast<int64_t>(begin)), name());
        read_schema(reader);
        while (read_batch(reader)) {
        }
    }

    const std::filesystem::path& path() const override { return file_.path(); }
    const arrow::Schema& schema() const override { return *schema_; }
    size_t batches() const override { return batches_.size(); }
    int64_t rows(size_t batch) const override { return batches_[batch].head.rows; }
    bool has_end_mark() const override { return has_end_mark_; }
    bool in_place(size_t batch) const override { return !batches_[batch].head.compressed; }

    int64_t decoded_bytes(size_t batch) const override {
        return batches_[batch].message->body_length();
    }

    std::shared_ptr<arrow::RecordBatch> load(size_t batch, const std::vector<std::string>& columns,
                                             arrow::MemoryPool& pool) const override {
        const Batch& from = batches_[batch];
        arrow::ipc::IpcReadOptions options;
        options.memory_pool = &pool;
        options.use_threads = false;  // the loader's threads are the parallelism
        for (const std::string& column : columns) {
            options.included_fields.push_back(schema_->GetFieldIndex(column));
        }
        const std::string place =
            fmt::format("{}: record batch {} at byte {}", name(), batch, from.offset);
        auto result = take_arrow(
            arrow::ipc::ReadRecordBatch(*from.message, schema_, nullptr, options), place);
        check_arrow(result->Validate(), place);
        if (result->num_rows() != from.head.rows) {
            fail("{}: holds {} rows, its head says {}", place, result->num_rows(), from.head.rows);
        }
        return result;
    }

private:
    struct Batch {
        int64_t offset;
        BatchHead head;
        std::unique_ptr<arrow::ipc::Message> message;  // its body lies in the mapped file
    };

    std::string name() const { return file_.path().string(); }

    std::unique_ptr<arrow::ipc::Message> read_message(arrow::io::BufferReader& reader) {
        const int64_t offset = reader.Tell().ValueOr(0);
        auto message = arrow::ipc::ReadMessage(&reader);
        if (!message.ok()) {
            fail("{}: damaged at byte {} of {}: {}; copy the file again from where it came", name(),
                 offset, file_.bytes().size(), message.status().message());
        }
        return std::move(message).ValueUnsafe();
    }

    void read_schema(arrow::io::BufferReader& reader) {
        const auto message = read_message(reader);
        if (!message || message->type() != arrow::ipc::MessageType::SCHEMA) {
            fail("{}: not an Arrow file: does not begin with a schema", name());
        }
        schema_ = take_arrow(arrow::ipc::ReadSchema(*message, nullptr), name() + ": schema");
        if (!schema_->is_native_endian()) {
            fail("{}: the numbers are big-endian, which is not supported", name());
        }
    }

    /// False at the end of the stream. A cut between two messages shows only as a missing end mark,
    /// which the format leaves to the writer.
    bool read_batch(arrow::io::BufferReader& reader) {
        const int64_t offset = reader.Tell().ValueOr(0);
        auto message = read_message(reader);
        if (!message) {
            has_end_mark_ = offset < static_cast<int64_t>(file_.bytes().size());
            if (!has_end_mark_) {
                log::warning("{}: has no end mark, it may have lost its tail", name());
            }
            return false;
        }
        if (message->type() != arrow::ipc::MessageType::RECORD_BATCH) {
            fail(
                "{}: message at byte {} is a {}: dictionary-encoded columns are not supported; "
                "write the column with its plain type",
                name(), offset, arrow::ipc::FormatMessageType(message->type()));
        }
        if (message->header() == nullptr) {
            fail("{}: damaged: message at byte {} is a record batch without a head", name(),
                 offset);
        }
        const BatchHead head(message->header());
        if (head.rows < 0) {
            fail("{}: record batch at byte {}: {} rows", name(), offset, head.rows);
        }
        batches_.push_back({offset, head, std::move(message)});
        return true;
    }

    MappedFile file_;
    bool has_end_mark_ = false;
    std::shared_ptr<arrow::Schema> schema_;
    std::vector<Batch> batches_;
};

bool begins_with(const std::filesystem::path& path, std::string_view magic) {
    const MappedFile file(path);
    const std::span<const std::byte> bytes = file.bytes();
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())
        .starts_with(magic);
}

}  // namespace

std::unique_ptr<ArrowFile> open_arrow_file(const std::filesystem::path& path) {
    if (begins_with(path, kParquetMagic)) {
        return open_parquet_file(path);
    }
    return std::make_unique<IpcFile>(path);
}

}  // namespace flux::data
