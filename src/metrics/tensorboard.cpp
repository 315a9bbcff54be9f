#include "tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <span>

#include "flux/base/crc32c.h"
#include "flux/base/error.h"
#include "flux/base/log.h"
#include "flux/base/png.h"

namespace flux::metrics {
namespace {

// Numbers of the fields in TensorFlow's event.proto, summary.proto and tensor.proto.
namespace event {
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
}
namespace session {
constexpr int kStatus = 1;
constexpr uint64_t kStart = 1;
}  // namespace session
namespace summary {
constexpr int kValue = 1;
}
namespace value {
constexpr int kTag = 1, kSimpleValue = 2, kImage = 4, kTensor = 8, kMetadata = 9;
}
namespace image {
constexpr int kHeight = 1, kWidth = 2, kColorspace = 3, kEncoded = 4;
constexpr uint64_t kRgb = 3;
}  // namespace image
namespace metadata {
constexpr int kPlugin = 1, kDescription = 3, kPluginName = 1;  // the last: of the plugin's message
}
namespace tensor {
constexpr int kDtype = 1, kShape = 2, kStrings = 8;
constexpr uint64_t kString = 7;
}  // namespace tensor

constexpr std::string_view kFilePrefix = "events.out.tfevents.";

template <class T>
void append_little_endian(std::string& out, T number) {
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
    std::array<char, sizeof(T)> bytes{};
    std::memcpy(bytes.data(), &number, sizeof(T));
    out.append(bytes.data(), bytes.size());
}

/// A protocol buffer message as it is written: field by field.
class Message {
public:
    Message& varint(int field, uint64_t number) {
        key(field, 0);
        append_varint(number);
        return *this;
    }
    Message& float64(int field, double number) {
        key(field, 1);
        append_little_endian(bytes_, number);
        return *this;
    }
    Message& float32(int field, float number) {
        key(field, 5);
        append_little_endian(bytes_, number);
        return *this;
    }
    Message& bytes(int field, std::string_view text) {
        key(field, 2);
        append_varint(text.size());
        bytes_ += text;
        return *this;
    }
    Message& message(int field, const Message& inner) { return bytes(field, inner.bytes_); }

    const std::string& encoded() const { return bytes_; }

private:
    void key(int field, int wire_type) {
        append_varint(static_cast<uint64_t>(field * 8 + wire_type));
    }
    void append_varint(uint64_t number) {
        for (; number >= 0x80; number >>= 7) {
            bytes_ += static_cast<char>(number | 0x80);
        }
        bytes_ += static_cast<char>(number);
    }

    std::string bytes_;
};

uint32_t masked_crc(std::string_view data) {
    const uint32_t crc = crc32c(std::as_bytes(std::span(data)));
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

Message metadata_of(std::string_view plugin, std::string_view description) {
    Message message;
    message.message(metadata::kPlugin, Message().bytes(metadata::kPluginName, plugin));
    if (!description.empty()) {
        message.bytes(metadata::kDescription, description);
    }
    return message;
}

uint64_t big_endian_at(std::span<const std::byte> bytes, size_t at) {
    uint64_t number = 0;
    for (size_t i = 0; i < 4; ++i) {
        number = number << 8 | std::to_integer<uint64_t>(bytes[at + i]);
    }
    return number;
}

Message picture_value(const std::filesystem::path& path) {
    const MappedFile file(path);
    const auto bytes = file.bytes();
    const auto texts = read_png_text(bytes, path);
    constexpr size_t kTypeAt = 12, kWidthAt = 16, kHeightAt = 20;
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.size() < kHeightAt + 4 || text.substr(kTypeAt, 4) != "IHDR") {
        fail("{}: the PNG file does not begin with its header", path.string());
    }
    Message picture;
    picture.varint(image::kHeight, big_endian_at(bytes, kHeightAt))
        .varint(image::kWidth, big_endian_at(bytes, kWidthAt))
        .varint(image::kColorspace, image::kRgb)
        .bytes(image::kEncoded, text);
    const auto prompt = texts.find("prompt");
    Message entry;
    entry.bytes(value::kTag, "pictures/" + path.stem().string())
        .message(value::kImage, picture)
        .message(value::kMetadata,
                 metadata_of("images", prompt == texts.end() ? "" : prompt->second));
    return entry;
}

double seconds_since_1970() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

/// Readers sort by name, that is by the seconds in it: those of a new file are later than all
/// others', however short the run before was and wherever the clock was set to.
std::filesystem::path next_name(const std::filesystem::path& folder) {
    auto seconds = static_cast<int64_t>(seconds_since_1970());
    for (const auto& entry : list_folder(folder)) {
        const std::string name = entry.filename().string();
        int64_t taken = 0;
        if (name.starts_with(kFilePrefix)) {
            std::from_chars(name.data() + kFilePrefix.size(), name.data() + name.size(), taken);
            seconds = std::max(seconds, taken + 1);
        }
    }
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    return folder / fmt::format("{}{:010}.{}", kFilePrefix, seconds, host.data());
}

std::filesystem::path new_file_in(const std::filesystem::path& folder) {
    make_writable_folder(folder, "choose another with --metrics.save_tb_folder");
    return next_name(folder);
}

}  // namespace

std::string tf_record(std::string_view data) {
    std::string record;
    append_little_endian(record, static_cast<uint64_t>(data.size()));
    append_little_endian(record, masked_crc(record));
    record += data;
    append_little_endian(record, masked_crc(data));
    return record;
}

EventFile::EventFile(const std::filesystem::path& folder, std::optional<int64_t> resume_step)
    : file_(new_file_in(folder)) {
    // Readers drop what was done before at or after the step of a START, but only in files that say
    // this version.
    Message version;
    version.float64(event::kWallTime, seconds_since_1970())
        .bytes(event::kFileVersion, "brain.Event:2");
    file_.write(tf_record(version.encoded()));
    write(resume_step ? *resume_step + 1 : 0, event::kSessionLog,
          Message().varint(session::kStatus, session::kStart).encoded());
}

void EventFile::write(int64_t step, int field, std::string_view message) {
    Message record;
    record.float64(event::kWallTime, seconds_since_1970())
        .varint(event::kStep, static_cast<uint64_t>(step))
        .bytes(field, message);
    file_.write(tf_record(record.encoded()));
}

void EventFile::scalars(int64_t step, const std::vector<Scalar>& values) {
    Message all;
    for (const Scalar& scalar : values) {
        Message entry;
        entry.bytes(value::kTag, scalar.tag)
            .float32(value::kSimpleValue, static_cast<float>(scalar.value));
        all.message(summary::kValue, entry);
    }
    write(step, event::kSummary, all.encoded());
}

void EventFile::text(int64_t step, std::string_view tag, std::string_view text) {
    Message one_string;
    one_string.varint(tensor::kDtype, tensor::kString)
        .message(tensor::kShape, Message())  // no dimensions
        .bytes(tensor::kStrings, text);
    Message entry;
    entry.bytes(value::kTag, tag)
        .message(value::kTensor, one_string)
        .message(value::kMetadata, metadata_of("text", ""));
    write(step, event::kSummary, Message().message(summary::kValue, entry).encoded());
}

void EventFile::pictures(int64_t step, const std::filesystem::path& folder) {
    Message all;
    std::error_code missing;
    for (const auto& path : list_folder(folder, missing)) {
        try {
            if (path.extension() == ".png") {
                all.message(summary::kValue, picture_value(path));
            }
        } catch (const Error& problem) {
            log::warning("{}: not in TensorBoard's file", problem.what());
        }
    }
    if (!all.encoded().empty()) {
        write(step, event::kSummary, all.encoded());
    }
}

}  // namespace flux::metrics
