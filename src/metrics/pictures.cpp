#include "pictures.h"

#include <png.h>
#include <webp/encode.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string_view>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/png.h"

namespace flux::metrics {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNewestSteps = 4;
constexpr size_t kShownSteps = 12;
constexpr size_t kShownPerStep = 24;
constexpr int64_t kLargestSide = 384;           // of an embedded picture
constexpr size_t kLargestPlainBytes = 100'000;  // a PNG up to this size is embedded as it is
constexpr float kWebpQuality = 88;

struct Pixels {
    int64_t width = 0;
    int64_t height = 0;
    std::vector<uint8_t> rgb;  // [H, W, 3]
};

std::string base64(std::span<const std::byte> bytes) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.size(); i += 3) {
        uint32_t group = 0;
        for (size_t k = 0; k < 3; ++k) {
            group =
                group << 8 | (i + k < bytes.size() ? std::to_integer<uint32_t>(bytes[i + k]) : 0);
        }
        for (size_t k = 0; k < 4; ++k) {
            text += i + k <= bytes.size() ? kDigits[group >> (18 - 6 * k) & 63] : '=';
        }
    }
    return text;
}

Pixels decode_png(std::span<const std::byte> bytes, const fs::path& path) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    Pixels pixels;
    bool read = png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) != 0;
    if (read) {
        image.format = PNG_FORMAT_RGB;
        pixels.width = image.width;
        pixels.height = image.height;
        pixels.rgb.resize(PNG_IMAGE_SIZE(image));
        read = png_image_finish_read(&image, nullptr, pixels.rgb.data(), 0, nullptr) != 0;
    }
    if (!read) {
        png_image_free(&image);
        fail("{}: {}", path.string(), image.message);
    }
    return pixels;
}

/// Mean of the source pixels below each target pixel.
Pixels scale_down(const Pixels& from, int64_t largest_side) {
    const int64_t side = std::max(from.width, from.height);
    if (side <= largest_side) {
        return from;
    }
    Pixels to;
    to.width = std::max<int64_t>(1, from.width * largest_side / side);
    to.height = std::max<int64_t>(1, from.height * largest_side / side);
    to.rgb.reserve(static_cast<size_t>(to.width * to.height * 3));
    for (int64_t y = 0; y < to.height; ++y) {
        const int64_t top = y * from.height / to.height;
        const int64_t bottom = (y + 1) * from.height / to.height;
        for (int64_t x = 0; x < to.width; ++x) {
            const int64_t left = x * from.width / to.width;
            const int64_t right = (x + 1) * from.width / to.width;
            int64_t sum[3] = {0, 0, 0};
            for (int64_t v = top; v < bottom; ++v) {
                for (int64_t u = left; u < right; ++u) {
                    const uint8_t* pixel = &from.rgb[static_cast<size_t>((v * from.width + u) * 3)];
                    sum[0] += pixel[0];
                    sum[1] += pixel[1];
                    sum[2] += pixel[2];
                }
            }
            const int64_t area = (bottom - top) * (right - left);
            for (const int64_t channel : sum) {
                to.rgb.push_back(static_cast<uint8_t>((channel + area / 2) / area));
            }
        }
    }
    return to;
}

std::string webp_uri(const Pixels& pixels, const fs::path& path) {
    uint8_t* data = nullptr;
    const auto width = static_cast<int>(pixels.width);
    const auto height = static_cast<int>(pixels.height);
    const size_t size =
        WebPEncodeRGB(pixels.rgb.data(), width, height, 3 * width, kWebpQuality, &data);
    const std::unique_ptr<uint8_t, decltype(&WebPFree)> owner(data, WebPFree);
    if (size == 0) {
        fail("{}: cannot be encoded as WebP", path.string());
    }
    return "data:image/webp;base64," + base64(std::as_bytes(std::span(data, size)));
}

Picture read_picture(const fs::path& path) {
    Picture picture;
    try {
        const MappedFile file(path);
        const auto texts = read_png_text(file.bytes(), path);
        if (const auto prompt = texts.find("prompt"); prompt != texts.end()) {
            picture.prompt = prompt->second;
        }
        const Pixels pixels = decode_png(file.bytes(), path);
        picture.width = pixels.width;
        picture.height = pixels.height;
        const bool plain = std::max(pixels.width, pixels.height) <= kLargestSide &&
                           file.bytes().size() <= kLargestPlainBytes;
        picture.uri = plain ? "data:image/png;base64," + base64(file.bytes())
                            : webp_uri(scale_down(pixels, kLargestSide), path);
    } catch (const Error& problem) {
        picture.problem = problem.what();  // shown in the picture's place
    }
    return picture;
}

/// "step-000400" -> 400.
std::optional<int64_t> step_of(const fs::path& folder) {
    const std::string name = folder.filename().string();
    constexpr std::string_view kPrefix = "step-";
    if (!name.starts_with(kPrefix)) {
        return std::nullopt;
    }
    int64_t step = 0;
    const char* end = name.data() + name.size();
    const auto [next, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
    return error == std::errc() && next == end ? std::optional(step) : std::nullopt;
}

PictureStep list_step(int64_t step, const fs::path& folder) {
    PictureStep result{.step = step};
    std::error_code gone;  // a folder may be removed while it is listed
    for (const fs::path& entry : list_folder(folder, gone)) {
        if (entry.extension() == ".png") {
            result.files.push_back(entry);
        }
    }
    if (result.files.size() > kShownPerStep) {
        result.left_out = result.files.size() - kShownPerStep;
        result.files.resize(kShownPerStep);
    }
    return result;
}

/// Which of `count` steps (0 the oldest) are shown: the newest, and before them every 2^k-th.
/// Powers of two, so that the choice, and with it what has been encoded, rarely changes as steps
/// come.
bool is_shown(size_t index, size_t count) {
    if (index + kNewestSteps >= count) {
        return true;
    }
    size_t stride = 1;
    while ((count - kNewestSteps + stride - 1) / stride > kShownSteps - kNewestSteps) {
        stride *= 2;
    }
    return index % stride == 0;
}

}  // namespace

Pictures::Selection Pictures::select(const fs::path& folder) {
    std::vector<std::pair<int64_t, fs::path>> folders;
    std::error_code missing;
    for (const fs::path& entry : list_folder(folder, missing)) {
        if (const auto step = step_of(entry)) {
            folders.emplace_back(*step, entry);
        }
    }
    std::sort(folders.begin(), folders.end());
    Selection selection{.steps = {}, .all_steps = folders.size()};
    for (size_t i = folders.size(); i-- > 0;) {
        if (is_shown(i, folders.size())) {
            selection.steps.push_back(list_step(folders[i].first, folders[i].second));
        }
    }
    std::set<fs::path> shown;
    for (const PictureStep& step : selection.steps) {
        shown.insert(step.files.begin(), step.files.end());
    }
    std::erase_if(entries_, [&](const auto& entry) { return !shown.contains(entry.first); });
    return selection;
}

const Picture& Pictures::get(const fs::path& file) {
    std::error_code gone;
    const auto time = fs::last_write_time(file, gone);
    auto& entry = entries_[file];
    if (entry.time != time || (entry.picture.uri.empty() && entry.picture.problem.empty())) {
        entry = {.time = time, .picture = read_picture(file)};
    }
    return entry.picture;
}

}  // namespace flux::metrics
