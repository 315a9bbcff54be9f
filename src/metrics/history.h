// Reads metrics.jsonl back, a little more at each call, into columns that curves are made of.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace flux::metrics {

/// One key over the run: the lines that have it, in order. What was null is NaN.
struct Column {
    std::vector<double> x;  // steps, unless another axis was asked for
    std::vector<double> value;
};

/// What a curve is drawn over.
enum class Axis { kStep, kSamples, kSeconds };

struct Field {
    std::string_view key;
    double value;  // NaN for null
};

/// The numbers and nulls of a flat JSON object; other values are passed over. Nothing if the text
/// is not one whole object. Ten times faster than a general reader, which matters because a report
/// is rewritten while training waits.
std::optional<std::vector<Field>> parse_metrics_line(std::string_view line);

/// The value of `key` in a parsed line.
std::optional<double> find_value(const std::vector<Field>& fields, std::string_view key);

class History {
public:
    explicit History(std::filesystem::path metrics_file);

    /// Reads what was appended since the last call; everything again if the file was replaced. A
    /// line without its end waits for the next call; one that is not JSON is passed over.
    void refresh();

    /// Over the steps; empty if no line has the key.
    const Column& column(std::string_view key) const;
    Column column(std::string_view key, Axis axis) const;

    /// Lines so far that gave figures, and those that are not JSON.
    size_t lines() const { return seconds_.size(); }
    size_t unreadable_lines() const { return unreadable_lines_; }

    /// The time of the run up to its last line, that of all its processes together.
    double seconds() const { return seconds_.empty() ? 0 : seconds_.back(); }

private:
    struct Stored {
        Column column;
        std::vector<uint32_t> line;  // of each value
    };

    void clear();
    void add(const std::vector<Field>& fields);

    std::filesystem::path path_;
    ino_t inode_ = 0;
    uint64_t read_bytes_ = 0;
    size_t unreadable_lines_ = 0;
    std::map<std::string, Stored, std::less<>> columns_;
    std::vector<double> samples_, seconds_;  // of each line
};

}  // namespace flux::metrics
