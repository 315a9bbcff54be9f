// The sample pictures of a run as data URIs for the report; encoded once and kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace flux::metrics {

struct Picture {
    std::string uri;  // "data:image/png;base64,..."; empty if the file cannot be read
    std::string prompt;
    std::string problem;  // why the file cannot be read
    int64_t width = 0;    // of the file
    int64_t height = 0;
};

struct PictureStep {
    int64_t step = 0;
    std::vector<std::filesystem::path> files = {};  // those shown, in the order of their names
    size_t left_out = 0;                            // further files of this step
};

class Pictures {
public:
    struct Selection {
        std::vector<PictureStep> steps;  // newest first
        size_t all_steps = 0;
    };

    /// `folder` holds step-N/*.png; it may be missing. The newest steps and some between the first
    /// and them: few enough for a page. Forgets the encoded pictures of all others.
    Selection select(const std::filesystem::path& folder);

    /// The picture, encoded again only if the file changed. Large ones are scaled down.
    const Picture& get(const std::filesystem::path& file);

private:
    struct Entry {
        std::filesystem::file_time_type time;
        Picture picture;
    };

    std::map<std::filesystem::path, Entry> entries_;
};

}  // namespace flux::metrics
