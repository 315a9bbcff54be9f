#include "flux/data/tar_sample.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "data/limits.h"
#include "data/shard_index.h"
#include "data/timestep.h"
#include "flux/base/error.h"
#include "flux/base/utf8.h"

namespace flux::data {
namespace {

std::string read_text(const Extent& extent, const ShardReader& reader) {
    return read_member<std::string>(reader, extent.offset, extent.size, kMaxTextBytes);
}

nlohmann::json read_json(const Extent& extent, const ShardReader& reader) {
    try {
        return nlohmann::json::parse(read_text(extent, reader));
    } catch (const nlohmann::json::exception& error) {
        fail("the .json member is not valid: {}", error.what());
    }
}

}  // namespace

TarSample parts_of(const IndexedSample& sample) {
    const auto extent = [](const IndexedMember* member) {
        return member != nullptr ? Extent{member->offset, member->size} : Extent{};
    };
    return {extent(sample.picture_member()), extent(sample.member("txt")),
            extent(sample.member("json"))};
}

std::string problem_of(const IndexedSample& sample) {
    if (!sample.problem.empty()) {
        return sample.problem;
    }
    std::string extensions;
    for (const IndexedMember& member : sample.members) {
        extensions += (extensions.empty() ? "." : ", .") + member.extension;
    }
    if (sample.picture_member() == nullptr) {
        return fmt::format(
            "has no picture (.png, .jpg, .webp, .gif or .bmp), only {}; the name's "
            "first dot begins the extension",
            extensions);
    }
    if (sample.member("txt") == nullptr && sample.member("json") == nullptr) {
        return fmt::format("has no caption (.txt or .json), only {}", extensions);
    }
    return {};
}

std::string read_caption(const TarSample& sample, const ShardReader& reader) {
    if (!sample.text.present()) {
        const nlohmann::json json = read_json(sample.json, reader);
        const auto caption = json.find("caption");
        if (!json.is_object() || caption == json.end() || !caption->is_string()) {
            fail("has no caption: no .txt member, and the .json has no text under \"caption\"");
        }
        return caption->get<std::string>();
    }
    std::string text = read_text(sample.text, reader);
    if (const auto bad = first_invalid_utf8(text)) {
        fail("the .txt member is not UTF-8 at byte {}", *bad);
    }
    return text;
}

int64_t read_timestep(const TarSample& sample, const ShardReader& reader) {
    if (!sample.json.present()) {
        return -1;
    }
    const nlohmann::json json = read_json(sample.json, reader);
    if (!json.is_object() || !json.contains("timestep") || json.at("timestep").is_null()) {
        return -1;
    }
    const nlohmann::json& timestep = json.at("timestep");
    constexpr uint64_t kLargest = std::numeric_limits<int64_t>::max();
    if (!timestep.is_number_integer() ||
        (timestep.is_number_unsigned() && timestep.get<uint64_t>() > kLargest)) {
        fail_timestep(timestep.dump());
    }
    return check_timestep(timestep.get<int64_t>());
}

std::vector<uint8_t> read_picture(const TarSample& sample, const ShardReader& reader) {
    return read_member<std::vector<uint8_t>>(reader, sample.picture.offset, sample.picture.size,
                                             kMaxPictureBytes);
}

}  // namespace flux::data
