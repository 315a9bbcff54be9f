// Captioned pictures as plain files: `a/b.jpg` beside `a/b.txt`, in a folder and its sub-folders,
// in the order of their paths. Any picture format that image_decode reads, told by content.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flux/data/dataset.h"

namespace flux::data {

struct ImageFolderSettings {
    std::string path{};  // folder, pattern of folders, or comma list of these
    int img_size = 256;
    uint64_t seed = 0;        // of the crops
    int64_t subset_size = 0;  // > 0: only so many pictures from the start, small ones counted
    bool skip_low_resolution = true;  // leave out pictures with a side below img_size
    BucketSettings buckets{};         // where on, pictures that their bucket enlarges are left out
    int64_t max_image_pixels = kMaxImagePixels;
    int scan_threads = 4;
};

/// The files below `folder` that are pictures by their content, or by name (then read() says what
/// is wrong with them), as paths from it, in byte order. Names that begin with a dot are left out;
/// links are followed. Throws Error for a folder that cannot be read.
std::vector<std::string> find_pictures(const std::filesystem::path& folder, int threads);

class ImageFolder : public Dataset {
public:
    /// Looks at the head of every file. Throws ConfigError for a path that names no folder, Error
    /// if no picture can be used.
    explicit ImageFolder(const ImageFolderSettings& settings);

    int64_t size() const override { return static_cast<int64_t>(rows_.size()); }
    PayloadShape payload() const override { return PictureShape{settings_.img_size}; }
    const Buckets* buckets() const override { return buckets_ ? &*buckets_ : nullptr; }
    /// A picture without caption is a bad sample.
    Sample read(int64_t row, uint32_t epoch) const override;
    std::string caption(int64_t row) const override;
    std::string key(int64_t row) const;       // the path from the folder
    StoredPicture stored(int64_t row) const;  // throws Error as read() does
    uint64_t fingerprint() const override;
    std::string describe(int64_t row) const override;
    std::string source(int64_t row) const override;

private:
    struct Row {
        uint32_t folder = 0;
        std::string name;  // path from there
    };

    void add_folder(const std::filesystem::path& folder);
    std::vector<std::optional<PictureSize>> probe_rows() const;
    void drop_small(std::span<const std::optional<PictureSize>> sizes);
    void form_buckets(std::span<const std::optional<PictureSize>> sizes);
    void keep(std::span<const int64_t> rows);
    std::filesystem::path path_of(int64_t row) const;
    std::string read_caption(int64_t row) const;

    ImageFolderSettings settings_;
    std::vector<std::filesystem::path> folders_;
    std::vector<Row> rows_;
    std::optional<Buckets> buckets_;
    int64_t low_resolution_ = 0;
};

}  // namespace flux::data
