// Writes tables in the layout of Hugging Face's save_to_disk: Arrow streams plus dataset_info.json
// and state.json, which `datasets.load_from_disk` and this program read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace flux::data {

enum class SavedKind { kText, kBytes, kInt32, kImage };

struct SavedColumn {
    std::string name;
    SavedKind kind;
};

/// A cell: null, a number, or text and bytes (of an image: its file).
using SavedCell = std::variant<std::monostate, int32_t, std::string_view>;

enum class SavedCompression { kNone, kZstd };

/// One Arrow stream. The file appears under its name, whole, in commit().
class ArrowWriter {
public:
    ArrowWriter(const std::filesystem::path& path, const std::vector<SavedColumn>& columns,
                SavedCompression compression);
    ~ArrowWriter();
    ArrowWriter(const ArrowWriter&) = delete;
    ArrowWriter& operator=(const ArrowWriter&) = delete;

    /// One cell a column, of its kind or null; copied. Record batches close after 100 rows, or when
    /// they are large.
    void add(const std::vector<SavedCell>& row);
    void commit();

private:
    struct Stream;
    std::unique_ptr<Stream> stream_;
};

struct SavedFile {
    std::string name;
    int64_t rows = 0;
    int64_t bytes = 0;
};

/// "data-00003-of-00012.arrow"
std::string saved_file_name(int64_t number, int64_t count);

/// Writes dataset_info.json, then state.json, which makes the folder a data set. `fingerprint`
/// should differ where contents do: other programs cache by it.
void write_saved_index(const std::filesystem::path& folder, const std::vector<SavedColumn>& columns,
                       const std::vector<SavedFile>& files, uint64_t fingerprint);

}  // namespace flux::data
