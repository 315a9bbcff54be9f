#include "flux/data/arrow_writer.h"

#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_nested.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/io/interfaces.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/compression.h>
#include <arrow/util/key_value_metadata.h>
#include <c10/util/Exception.h>

#include <nlohmann/json.hpp>

#include "data/arrow_status.h"
#include "flux/base/file.h"

namespace flux::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kBatchRows = 100;
// A reader decodes whole compressed batches, also for one row.
constexpr int64_t kPlainBatchBytes = int64_t{256} << 20;
constexpr int64_t kCompressedBatchBytes = int64_t{8} << 20;

std::shared_ptr<arrow::DataType> type_of(SavedKind kind) {
    switch (kind) {
        case SavedKind::kText:
            return arrow::utf8();
        case SavedKind::kBytes:
            return arrow::binary();
        case SavedKind::kInt32:
            return arrow::int32();
        case SavedKind::kImage:
            break;
    }
    return arrow::struct_(
        {arrow::field("bytes", arrow::binary()), arrow::field("path", arrow::utf8())});
}

Json feature_of(SavedKind kind) {
    const auto value = [](const char* dtype) { return Json{{"dtype", dtype}, {"_type", "Value"}}; };
    switch (kind) {
        case SavedKind::kText:
            return value("string");
        case SavedKind::kBytes:
            return value("binary");
        case SavedKind::kInt32:
            return value("int32");
        case SavedKind::kImage:
            break;
    }
    return Json{{"_type", "Image"}};
}

Json features_of(const std::vector<SavedColumn>& columns) {
    Json features = Json::object();
    for (const SavedColumn& column : columns) {
        features[column.name] = feature_of(column.kind);
    }
    return features;
}

std::shared_ptr<arrow::Schema> schema_of(const std::vector<SavedColumn>& columns) {
    arrow::FieldVector fields;
    for (const SavedColumn& column : columns) {
        fields.push_back(arrow::field(column.name, type_of(column.kind)));
    }
    const Json info{{"info", {{"features", features_of(columns)}}}};
    return arrow::schema(fields, arrow::key_value_metadata({"huggingface"}, {info.dump()}));
}

/// Arrow's stream onto an AtomicFile.
class AtomicStream : public arrow::io::OutputStream {
public:
    explicit AtomicStream(const std::filesystem::path& path) : file_(path) {}

    arrow::Status Write(const void* data, int64_t size_bytes) override {
        file_.write(data, static_cast<size_t>(size_bytes));
        position_ += size_bytes;
        return arrow::Status::OK();
    }
    using arrow::io::OutputStream::Write;
    arrow::Status Close() override {
        closed_ = true;
        return arrow::Status::OK();
    }
    arrow::Result<int64_t> Tell() const override { return position_; }
    bool closed() const override { return closed_; }
    void commit() { file_.commit(); }

private:
    AtomicFile file_;
    int64_t position_ = 0;
    bool closed_ = false;
};

arrow::Status append(arrow::ArrayBuilder& builder, SavedKind kind, const SavedCell& cell) {
    if (std::holds_alternative<std::monostate>(cell)) {
        return builder.AppendNull();
    }
    if (kind == SavedKind::kInt32) {
        return static_cast<arrow::Int32Builder&>(builder).Append(std::get<int32_t>(cell));
    }
    const std::string_view bytes = std::get<std::string_view>(cell);
    if (kind != SavedKind::kImage) {
        return static_cast<arrow::BinaryBuilder&>(builder).Append(bytes);
    }
    auto& image = static_cast<arrow::StructBuilder&>(builder);
    ARROW_RETURN_NOT_OK(image.Append());
    ARROW_RETURN_NOT_OK(static_cast<arrow::BinaryBuilder&>(*image.field_builder(0)).Append(bytes));
    return image.field_builder(1)->AppendNull();
}

}  // namespace

struct ArrowWriter::Stream {
    Stream(const std::filesystem::path& path, const std::vector<SavedColumn>& columns_,
           SavedCompression compression)
        : place(path.string()),
          columns(columns_),
          schema(schema_of(columns_)),
          batch_bytes(compression == SavedCompression::kNone ? kPlainBatchBytes
                                                             : kCompressedBatchBytes),
          file(std::make_shared<AtomicStream>(path)) {
        auto options = arrow::ipc::IpcWriteOptions::Defaults();
        options.use_threads = false;
        if (compression == SavedCompression::kZstd) {
            options.codec =
                take_arrow(arrow::util::Codec::Create(arrow::Compression::ZSTD), place + ": zstd");
        }
        writer = take_arrow(arrow::ipc::MakeStreamWriter(file, schema, options), place);
        for (const auto& field : schema->fields()) {
            builders.push_back(take_arrow(arrow::MakeBuilder(field->type()), place));
        }
    }

    void flush() {
        if (rows == 0) {
            return;
        }
        arrow::ArrayVector arrays;
        for (const auto& builder : builders) {
            arrays.push_back(take_arrow(builder->Finish(), place));
        }
        const auto batch = arrow::RecordBatch::Make(schema, rows, std::move(arrays));
        check_arrow(writer->WriteRecordBatch(*batch), place);
        rows = 0;
        bytes = 0;
    }

    const std::string place;
    const std::vector<SavedColumn> columns;
    const std::shared_ptr<arrow::Schema> schema;
    const int64_t batch_bytes;
    std::shared_ptr<AtomicStream> file;
    std::shared_ptr<arrow::ipc::RecordBatchWriter> writer;
    std::vector<std::unique_ptr<arrow::ArrayBuilder>> builders;
    int64_t rows = 0;   // of the open batch
    int64_t bytes = 0;  // of the open batch
};

ArrowWriter::ArrowWriter(const std::filesystem::path& path, const std::vector<SavedColumn>& columns,
                         SavedCompression compression)
    : stream_(std::make_unique<Stream>(path, columns, compression)) {}

ArrowWriter::~ArrowWriter() = default;

void ArrowWriter::add(const std::vector<SavedCell>& row) {
    TORCH_CHECK(row.size() == stream_->columns.size(), stream_->place, ": a row of ", row.size(),
                " cells, not ", stream_->columns.size());
    for (size_t i = 0; i < row.size(); ++i) {
        check_arrow(append(*stream_->builders[i], stream_->columns[i].kind, row[i]),
                    stream_->place);
        if (const auto* bytes = std::get_if<std::string_view>(&row[i])) {
            stream_->bytes += static_cast<int64_t>(bytes->size());
        }
    }
    ++stream_->rows;
    if (stream_->rows >= kBatchRows || stream_->bytes >= stream_->batch_bytes) {
        stream_->flush();
    }
}

void ArrowWriter::commit() {
    stream_->flush();
    check_arrow(stream_->writer->Close(), stream_->place);
    stream_->file->commit();
}

std::string saved_file_name(int64_t number, int64_t count) {
    return fmt::format("data-{:05}-of-{:05}.arrow", number, count);
}

void write_saved_index(const std::filesystem::path& folder, const std::vector<SavedColumn>& columns,
                       const std::vector<SavedFile>& files, uint64_t fingerprint) {
    int64_t rows = 0;
    int64_t bytes = 0;
    Json names = Json::array();
    for (const SavedFile& file : files) {
        rows += file.rows;
        bytes += file.bytes;
        names.push_back({{"filename", file.name}, {"rows", file.rows}});
    }
    const Json split{{"name", "train"}, {"num_bytes", bytes}, {"num_examples", rows}};
    const Json info{{"citation", ""},
                    {"dataset_size", bytes},
                    {"description", ""},
                    {"features", features_of(columns)},
                    {"homepage", ""},
                    {"license", ""},
                    {"splits", {{"train", split}}}};
    write_text(folder / "dataset_info.json", info.dump(2));
    const Json state{
        {"_data_files", names},       {"_fingerprint", fmt::format("{:016x}", fingerprint)},
        {"_format_columns", nullptr}, {"_format_kwargs", Json::object()},
        {"_format_type", nullptr},    {"_output_all_columns", false},
        {"_split", "train"}};
    write_text(folder / "state.json", state.dump(2));
}

}  // namespace flux::data
