#include "flux/data/image_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <memory>
#include <set>

#include "data/fingerprint.h"
#include "data/limits.h"
#include "data/path_list.h"
#include "data/sample_picture.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/base/parallel_for.h"
#include "flux/base/storage_error.h"
#include "flux/base/utf8.h"
#include "flux/data/image_decode.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 6> kPictureNames = {".png",  ".jpg", ".jpeg",
                                                           ".webp", ".gif", ".bmp"};

std::string lower_extension(const fs::path& path) {
    std::string text = path.extension().string();
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

/// All files below a folder, without captions. Links may lead in circles: a folder is entered once.
class Walk {
public:
    explicit Walk(const fs::path& root) { visit(root, ""); }

    std::vector<std::string> files;  // from the root on

private:
    void visit(const fs::path& folder, const std::string& prefix) {
        std::error_code error;
        if (!entered_.insert(fs::canonical(folder, error)).second) {
            return;
        }
        // In name order: of several links to one folder the same one counts on every machine.
        for (const fs::path& entry : list_folder(folder)) {
            const std::string name = entry.filename().string();
            std::error_code broken_link;
            if (name.starts_with('.')) {
                continue;
            }
            if (fs::is_directory(entry, broken_link)) {
                visit(entry, prefix + name + "/");
            } else if (fs::is_regular_file(entry, broken_link) &&
                       lower_extension(entry) != ".txt") {
                files.push_back(prefix + name);
            }
        }
    }

    std::set<fs::path> entered_;
};

ReadAt reader_of(std::ifstream& file) {
    return [&file](uint64_t offset, std::span<uint8_t> out) -> size_t {
        file.clear();
        file.seekg(static_cast<std::streamoff>(offset));
        file.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size()));
        return static_cast<size_t>(file.gcount());
    };
}

bool is_picture(const fs::path& path) {
    const std::string extension = lower_extension(path);
    if (std::find(kPictureNames.begin(), kPictureNames.end(), extension) != kPictureNames.end()) {
        return true;
    }
    std::ifstream file(path, std::ios::binary);
    std::array<uint8_t, 16> head{};
    const size_t count = reader_of(file)(0, head);
    return image_format(std::span(head).first(count)) != ImageFormat::kUnknown;
}

/// A file that may be of any size, read up to a limit.
std::string read_file(const fs::path& path, uint64_t limit) {
    std::error_code error;
    const uint64_t size = fs::file_size(path, error);
    if (error) {
        fail("{}: {}", path.filename().string(), error.message());
    }
    if (size > limit) {
        fail("{}: has {} bytes, more than the limit of {}", path.filename().string(), size, limit);
    }
    return read_text(path);
}

}  // namespace

std::vector<std::string> find_pictures(const fs::path& folder, int threads) {
    std::vector<std::string> files = Walk(folder).files;
    std::sort(files.begin(), files.end());
    std::vector<char> picture(files.size());
    parallel_for(std::ssize(files), threads, [&](int64_t i) {
        const auto place = static_cast<size_t>(i);
        picture[place] = is_picture(folder / files[place]);
    });
    std::vector<std::string> found;
    for (size_t i = 0; i < files.size(); ++i) {
        if (picture[i] != 0) {
            found.push_back(std::move(files[i]));
        }
    }
    return found;
}

ImageFolder::ImageFolder(const ImageFolderSettings& settings) : settings_(settings) {
    for (const fs::path& folder :
         expand_path_list(settings_.path,
                          "give the folder of the pictures, a pattern of folders, or several "
                          "with commas as the data set's path")) {
        if (!fs::is_directory(folder)) {
            fail_config("{}: is not a folder", folder.string());
        }
        add_folder(folder);
    }
    if (settings_.buckets.step > 0) {
        form_buckets(probe_rows());
    } else if (settings_.skip_low_resolution) {
        drop_small(probe_rows());
    }
    const std::string too_small =
        buckets_ ? "are smaller than any bucket"
                 : fmt::format("have a side below {} pixels", settings_.img_size);
    if (rows_.empty() && low_resolution_ > 0) {
        fail("{}: all {} pictures {}: choose a smaller img_size", settings_.path, low_resolution_,
             too_small);
    }
    if (rows_.empty()) {
        fail(
            "{}: holds no picture (JPEG, PNG, WebP, GIF or BMP), nor do folders in it: choose the "
            "folder of the pictures, or, for tar or Arrow files, another kind of data set",
            settings_.path);
    }
    const std::string left_out = low_resolution_ > 0 ? fmt::format("; {} more {} and are left out",
                                                                   low_resolution_, too_small)
                                                     : "";
    log::info("{}: {} pictures{}", settings_.path, rows_.size(), left_out);
    if (buckets_) {
        log::info("{}: {}", settings_.path, to_text(*buckets_));
    }
}

void ImageFolder::add_folder(const fs::path& folder) {
    folders_.push_back(folder);
    for (std::string& name : find_pictures(folder, settings_.scan_threads)) {
        if (settings_.subset_size > 0 && size() == settings_.subset_size) {
            return;
        }
        rows_.push_back({static_cast<uint32_t>(folders_.size() - 1), std::move(name)});
    }
}

/// By the heads of the files. Nothing where a head does not tell: read() says what is wrong.
std::vector<std::optional<PictureSize>> ImageFolder::probe_rows() const {
    std::vector<std::optional<PictureSize>> sizes(rows_.size());
    parallel_for(size(), settings_.scan_threads, [&](int64_t row) {
        std::ifstream file(path_of(row), std::ios::binary);
        sizes[static_cast<size_t>(row)] = probe_picture_size(reader_of(file));
    });
    return sizes;
}

void ImageFolder::drop_small(std::span<const std::optional<PictureSize>> sizes) {
    std::vector<int64_t> kept;
    for (int64_t row = 0; row < size(); ++row) {
        const auto& picture = sizes[static_cast<size_t>(row)];
        if (!picture || std::min(picture->width, picture->height) >= settings_.img_size) {
            kept.push_back(row);
        }
    }
    keep(kept);
}

void ImageFolder::form_buckets(std::span<const std::optional<PictureSize>> sizes) {
    BucketedRows sorted = sort_into_buckets(sizes, settings_.img_size, settings_.buckets);
    keep(sorted.kept);
    buckets_ = std::move(sorted.buckets);
}

/// The others are too small; those that stay move up.
void ImageFolder::keep(std::span<const int64_t> rows) {
    low_resolution_ = size() - std::ssize(rows);
    std::vector<Row> kept;
    for (const int64_t row : rows) {
        kept.push_back(std::move(rows_[static_cast<size_t>(row)]));
    }
    rows_ = std::move(kept);
}

fs::path ImageFolder::path_of(int64_t row) const {
    const Row& place = rows_.at(static_cast<size_t>(row));
    return folders_[place.folder] / place.name;
}

std::string ImageFolder::read_caption(int64_t row) const {
    const fs::path file = path_of(row).replace_extension(".txt");
    std::error_code problem;
    if (!fs::exists(file, problem)) {
        if (problem) {
            fail("{}: {}", file.filename().string(), problem.message());
        }
        fail("has no caption: there is no {} beside it", file.filename().string());
    }
    std::string text = read_file(file, kMaxTextBytes);
    if (const auto bad = first_invalid_utf8(text)) {
        fail("{}: is not UTF-8 at byte {}", file.filename().string(), *bad);
    }
    return text;
}

std::string ImageFolder::caption(int64_t row) const {
    try {
        return read_caption(row);
    } catch (const Error& error) {
        fail_at(describe(row), error);
    }
}

std::string ImageFolder::key(int64_t row) const { return rows_.at(static_cast<size_t>(row)).name; }

StoredPicture ImageFolder::stored(int64_t row) const {
    try {
        StoredPicture stored;
        stored.key = key(row);
        stored.caption = read_caption(row);
        const auto file =
            std::make_shared<const std::string>(read_file(path_of(row), kMaxPictureBytes));
        stored.file = {reinterpret_cast<const uint8_t*>(file->data()), file->size()};
        stored.owner = file;
        return stored;
    } catch (const Error& error) {
        fail_at(describe(row), error);
    }
}

Sample ImageFolder::read(int64_t row, uint32_t epoch) const {
    StoredPicture picture = stored(row);
    try {
        return to_sample(std::move(picture),
                         {buckets_ ? buckets_->shape(row) : settings_.img_size, settings_.seed,
                          settings_.max_image_pixels},
                         row, epoch);
    } catch (const Error& error) {
        fail_at(describe(row), error);
    }
}

uint64_t ImageFolder::fingerprint() const {
    Fingerprint fingerprint("image_folder");
    fingerprint.add(settings_.skip_low_resolution ? static_cast<uint64_t>(settings_.img_size) : 0)
        .add(static_cast<uint64_t>(settings_.subset_size))
        .add(rows_.size());
    for (const Row& row : rows_) {
        fingerprint.add(row.folder).add(row.name);
    }
    add_to(fingerprint, buckets());
    return fingerprint.value();
}

std::string ImageFolder::describe(int64_t row) const { return path_of(row).string(); }

std::string ImageFolder::source(int64_t row) const { return path_of(row).parent_path().string(); }

}  // namespace flux::data
