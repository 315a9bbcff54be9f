#include "flux/data/image_folder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <memory>
#include <optional>
#include <set>

#include "data/fingerprint.h"
#include "data/limits.h"
#include "data/parallel_for.h"
#include "data/path_list.h"
#include "data/sample_picture.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
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
        for (const auto& entry : fs::directory_iterator(folder, error)) {
            const std::string name = entry.path().filename().string();
            std::error_code broken_link;
            if (name.starts_with('.')) {
                continue;
            }
            if (entry.is_directory(broken_link)) {
                visit(entry.path(), prefix + name + "/");
            } else if (entry.is_regular_file(broken_link) &&
                       lower_extension(entry.path()) != ".txt") {
                files.push_back(prefix + name);
            }
        }
        if (error) {
            fail("{}: the folder cannot be read: {}", folder.string(), error.message());
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

bool is_small(const fs::path& path, int side) {
    std::ifstream file(path, std::ios::binary);
    const auto size = probe_picture_size(reader_of(file));
    return size &&
           std::min(size->width, size->height) < side;  // unknown: read() says what is wrong
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
    if (rows_.empty() && low_resolution_ > 0) {
        fail("{}: all {} pictures have a side below {} pixels: choose a smaller img_size",
             settings_.path, low_resolution_, settings_.img_size);
    }
    if (rows_.empty()) {
        fail("{}: holds no picture (JPEG, PNG, WebP, GIF or BMP)", settings_.path);
    }
    log::info("{}: {} pictures; {} more have a side below {} pixels and are left out",
              settings_.path, rows_.size(), low_resolution_, settings_.img_size);
}

void ImageFolder::add_folder(const fs::path& folder) {
    folders_.push_back(folder);
    std::vector<std::string> names = find_pictures(folder, settings_.scan_threads);
    if (settings_.subset_size > 0) {
        names.resize(
            std::min<size_t>(names.size(), static_cast<size_t>(settings_.subset_size - seen_)));
    }
    seen_ += std::ssize(names);
    std::vector<char> small(names.size(), 0);
    if (settings_.skip_low_resolution) {
        parallel_for(std::ssize(names), settings_.scan_threads, [&](int64_t i) {
            const auto place = static_cast<size_t>(i);
            small[place] = is_small(folder / names[place], settings_.img_size);
        });
    }
    for (size_t i = 0; i < names.size(); ++i) {
        if (small[i] != 0) {
            ++low_resolution_;
        } else {
            rows_.push_back({static_cast<uint32_t>(folders_.size() - 1), std::move(names[i])});
        }
    }
}

fs::path ImageFolder::path_of(int64_t row) const {
    const Row& place = rows_.at(static_cast<size_t>(row));
    return folders_[place.folder] / place.name;
}

std::string ImageFolder::read_caption(int64_t row) const {
    const fs::path file = path_of(row).replace_extension(".txt");
    if (!fs::exists(file)) {
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

StoredPicture ImageFolder::stored(int64_t row) const {
    try {
        StoredPicture stored;
        stored.key = rows_.at(static_cast<size_t>(row)).name;
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
                         {settings_.img_size, settings_.seed, settings_.max_image_pixels}, row,
                         epoch);
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
    return fingerprint.value();
}

std::string ImageFolder::describe(int64_t row) const { return path_of(row).string(); }

std::string ImageFolder::source(int64_t row) const { return path_of(row).parent_path().string(); }

}  // namespace flux::data
