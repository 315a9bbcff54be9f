// Which annotations make up the COCO validation set.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "data/numpy_shuffle.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/data/coco.h"
#include "flux/flow/validation_grid.h"

namespace flux::data {
namespace {

using nlohmann::json;

/// Length in bytes of the blank that `text` begins with at `at`; 0: none. The blanks are those of
/// Python's str.strip().
size_t blank_at(std::string_view text, size_t at) {
    const auto byte = [&](size_t i) {
        return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
    };
    if ((byte(0) >= 0x09 && byte(0) <= 0x0D) || (byte(0) >= 0x1C && byte(0) <= 0x20)) {
        return 1;
    }
    if (byte(0) == 0xC2 && (byte(1) == 0x85 || byte(1) == 0xA0)) {
        return 2;
    }
    const unsigned three = byte(0) << 16 | byte(1) << 8 | byte(2);
    const bool blank = three == 0xE19A80 || (three >= 0xE28080 && three <= 0xE2808A) ||
                       three == 0xE280A8 || three == 0xE280A9 || three == 0xE280AF ||
                       three == 0xE2819F || three == 0xE38080;
    return blank ? 3 : 0;
}

std::string stripped(std::string text) {
    std::erase(text, '\n');
    size_t begin = 0;
    while (const size_t size = blank_at(text, begin)) {
        begin += size;
    }
    size_t end = begin;  // behind the last character that is no blank
    for (size_t i = begin; i < text.size();) {
        const size_t size = blank_at(text, i);
        i += std::max<size_t>(size, 1);
        end = size == 0 ? i : end;
    }
    return text.substr(begin, end - begin);
}

int64_t read_id(const json& annotation, const char* key) {
    const auto found = annotation.find(key);
    if (found == annotation.end() || !found->is_number_integer() || found->get<int64_t>() < 0) {
        fail("\"{}\" must be a number from 0 on", key);
    }
    return found->get<int64_t>();
}

CocoSample read_annotation(const json& annotation) {
    if (!annotation.is_object()) {
        fail("must be an object");
    }
    const auto caption = annotation.find("caption");
    if (caption == annotation.end() || !caption->is_string()) {
        fail("\"caption\" must be a text");
    }
    return {read_id(annotation, "image_id"), read_id(annotation, "id"),
            stripped(caption->get<std::string>()), 0};
}

/// Pictures are found by their id; a file name that points elsewhere shows a forged file.
void check_file_names(const json& document) {
    const auto images = document.find("images");
    if (images == document.end() || !images->is_array()) {
        return;
    }
    for (const json& image : *images) {
        const auto name = image.is_object() ? image.find("file_name") : image.end();
        if (!image.is_object() || name == image.end() || !name->is_string()) {
            continue;
        }
        const std::filesystem::path path = name->get<std::string>();
        if (path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end()) {
            fail("image file_name \"{}\" leaves the folder of the images", path.string());
        }
    }
}

std::vector<CocoSample> read_annotations(const std::filesystem::path& path) {
    std::vector<CocoSample> samples;
    try {
        const json document = json::parse(read_text(path));
        if (!document.is_object() || !document.contains("annotations") ||
            !document.at("annotations").is_array()) {
            fail("must be an object with a list \"annotations\", as COCO's captions_*.json");
        }
        check_file_names(document);
        const json& annotations = document.at("annotations");
        for (size_t i = 0; i < annotations.size(); ++i) {
            try {
                samples.push_back(read_annotation(annotations[i]));
            } catch (const Error& error) {
                fail("annotation {}: {}", i, error.what());
            }
        }
    } catch (const json::exception& error) {
        fail("{}: not valid JSON: {}", path.string(), error.what());
    } catch (const Error& error) {
        const std::string what = error.what();
        fail("{}", what.starts_with(path.string()) ? what : path.string() + ": " + what);
    }
    return samples;
}

}  // namespace

std::vector<CocoSample> select_coco(const CocoSettings& settings) {
    std::vector<CocoSample> all = read_annotations(settings.input_captions_file);
    std::vector<CocoSample> chosen;
    std::unordered_set<int64_t> images;
    for (const uint32_t row : numpy_permutation(settings.seed, static_cast<uint32_t>(all.size()))) {
        if (std::ssize(chosen) == settings.num_samples) {
            break;
        }
        if (images.insert(all[row].image_id).second || settings.allow_duplicate_images) {
            chosen.push_back(std::move(all[row]));
        }
    }
    std::stable_sort(chosen.begin(), chosen.end(),
                     [](const CocoSample& a, const CocoSample& b) { return a.id < b.id; });
    if (std::ssize(chosen) < settings.num_samples ||
        chosen.size() % flow::kValidationTimesteps != 0) {
        fail(
            "{}: of its {} captions {} can be chosen, where --num-samples is {}: each of the {} "
            "timesteps must get as many: let it be a multiple of {}, not above the number of "
            "images",
            settings.input_captions_file.string(), all.size(), chosen.size(), settings.num_samples,
            flow::kValidationTimesteps, flow::kValidationTimesteps);
    }
    for (size_t i = 0; i < chosen.size(); ++i) {
        chosen[i].timestep = static_cast<int64_t>(i % flow::kValidationTimesteps);
    }
    return chosen;
}

}  // namespace flux::data
