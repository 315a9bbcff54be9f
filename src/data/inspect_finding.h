// What `data inspect` learns of one sample, from any kind of storage.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "flux/data/inspect.h"

namespace flux::data {

struct Finding {
    std::string key{};
    int width = 0, height = 0;
    std::string mode{};
    std::optional<std::string> caption{};  // nothing: there is none, or it cannot be read
    std::string problem{};                 // names the place
    int64_t timestep = -1;
    Image thumbnail{};
};

/// Throws Error if training would refuse the picture.
void look_at_picture(std::span<const uint8_t> file, bool with_thumbnail, Finding& finding);

void add_finding(Finding& finding, Inspection& result);

/// The parts for each kind; see inspect().
Inspection inspect_tar(const std::string& path, int threads, size_t thumbnails,
                       const RemoteSettings& remote);
Inspection inspect_image_folder(const std::string& path, int threads, size_t thumbnails);
Inspection inspect_table(const std::string& path, int threads, size_t thumbnails);

}  // namespace flux::data
