// Parquet files, a row group as a batch. Row groups are decoded whole, each call by a reader of its
// own: shuffled reading wants small ones.
#include "data/arrow_parquet_file.h"

#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/memory_pool.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>

#include <algorithm>

#include "data/arrow_status.h"
#include "flux/base/file.h"

namespace flux::data {
namespace {

class ParquetFile : public ArrowFile {
public:
    explicit ParquetFile(const std::filesystem::path& path) : file_(path) {
        guarded(name(), [&] {
            const auto reader = open(*arrow::default_memory_pool(), name());
            check_arrow(reader->GetSchema(&schema_), name());
            metadata_ = reader->parquet_reader()->metadata();
            for (int i = 0; i < metadata_->num_row_groups(); ++i) {
                rows_.push_back(metadata_->RowGroup(i)->num_rows());
                if (rows_.back() < 0) {
                    fail("{}: row group {} has {} rows", name(), i, rows_.back());
                }
            }
        });
    }

    const std::filesystem::path& path() const override { return file_.path(); }
    const arrow::Schema& schema() const override { return *schema_; }
    size_t batches() const override { return rows_.size(); }
    int64_t rows(size_t batch) const override { return rows_[batch]; }
    bool has_end_mark() const override { return true; }  // the footer, which is read first
    bool in_place(size_t /*batch*/) const override { return false; }

    int64_t decoded_bytes(size_t batch) const override {
        return metadata_->RowGroup(static_cast<int>(batch))->total_byte_size();
    }

    std::shared_ptr<arrow::RecordBatch> load(size_t batch, const std::vector<std::string>& columns,
                                             arrow::MemoryPool& pool) const override {
        const std::string place = fmt::format("{}: row group {}", name(), batch);
        std::shared_ptr<arrow::RecordBatch> result;
        guarded(place, [&] {
            const auto reader = open(pool, place);
            const auto table =
                take_arrow(reader->ReadRowGroup(static_cast<int>(batch), leaves(columns)), place);
            result = take_arrow(table->CombineChunksToBatch(&pool), place);
            check_arrow(result->Validate(), place);
        });
        if (result->num_rows() != rows_[batch]) {
            fail("{}: holds {} rows, its head says {}", place, result->num_rows(), rows_[batch]);
        }
        return result;
    }

private:
    std::string name() const { return file_.path().string(); }

    /// A reader is for one thread; the file's metadata is read once.
    std::unique_ptr<parquet::arrow::FileReader> open(arrow::MemoryPool& pool,
                                                     const std::string& place) const {
        parquet::ArrowReaderProperties properties;
        properties.set_pre_buffer(false);  // the file is mapped
        parquet::arrow::FileReaderBuilder builder;
        check_arrow(
            builder.Open(std::make_shared<arrow::io::BufferReader>(std::make_shared<arrow::Buffer>(
                             reinterpret_cast<const uint8_t*>(file_.bytes().data()),
                             static_cast<int64_t>(file_.bytes().size()))),
                         parquet::ReaderProperties(&pool), metadata_),
            place);
        return take_arrow(builder.memory_pool(&pool)->properties(properties)->Build(), place);
    }

    /// Parquet also throws exceptions of its own.
    template <class Work>
    static void guarded(const std::string& place, const Work& work) {
        try {
            work();
        } catch (const parquet::ParquetStatusException& error) {
            check_arrow(error.status(), place);
        } catch (const parquet::ParquetException& error) {
            fail("{}: {}", place, error.what());
        }
    }

    /// Leaf columns below these top-level ones.
    std::vector<int> leaves(const std::vector<std::string>& columns) const {
        std::vector<int> found;
        const parquet::SchemaDescriptor& schema = *metadata_->schema();
        for (int i = 0; i < schema.num_columns(); ++i) {
            const std::string top = schema.Column(i)->path()->ToDotVector().front();
            if (std::find(columns.begin(), columns.end(), top) != columns.end()) {
                found.push_back(i);
            }
        }
        return found;
    }

    MappedFile file_;
    std::shared_ptr<parquet::FileMetaData> metadata_;
    std::shared_ptr<arrow::Schema> schema_;
    std::vector<int64_t> rows_;
};

}  // namespace

std::unique_ptr<ArrowFile> open_parquet_file(const std::filesystem::path& path) {
    return std::make_unique<ParquetFile>(path);
}

}  // namespace flux::data
