#include "history.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "flux/base/file.h"

namespace flux::metrics {
namespace {

/// Walks over one line; every `read_` function returns false where the text does not fit.
class LineScanner {
public:
    explicit LineScanner(std::string_view text) : at_(text.data()), end_(at_ + text.size()) {}

    bool take(char wanted) {
        skip_space();
        if (at_ == end_ || *at_ != wanted) {
            return false;
        }
        ++at_;
        return true;
    }

    bool read_string(std::string_view& text) {
        if (!take('"')) {
            return false;
        }
        const char* begin = at_;
        while (at_ != end_ && *at_ != '"') {
            at_ += *at_ == '\\' && at_ + 1 != end_ ? 2 : 1;
        }
        text = {begin, static_cast<size_t>(at_ - begin)};
        return take('"');
    }

    bool read_value(std::optional<double>& value) {
        skip_space();
        value.reset();
        std::string_view ignored;
        if (at_ != end_ && *at_ == '"') {
            return read_string(ignored);
        }
        if (take_word("null")) {
            value = std::numeric_limits<double>::quiet_NaN();
            return true;
        }
        if (take_word("true") || take_word("false")) {
            return true;
        }
        double number = 0;
        const auto [next, error] = std::from_chars(at_, end_, number);
        if (error != std::errc() || !std::isfinite(number)) {
            return false;
        }
        at_ = next;
        value = number;
        return true;
    }

    bool at_end() {
        skip_space();
        return at_ == end_;
    }

private:
    void skip_space() {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r')) {
            ++at_;
        }
    }

    bool take_word(std::string_view word) {
        if (!std::string_view(at_, static_cast<size_t>(end_ - at_)).starts_with(word)) {
            return false;
        }
        at_ += word.size();
        return true;
    }

    const char* at_;
    const char* end_;
};

}  // namespace

std::optional<std::vector<Field>> parse_metrics_line(std::string_view line) {
    LineScanner scanner(line);
    std::vector<Field> fields;
    fields.reserve(16);
    if (!scanner.take('{')) {
        return std::nullopt;
    }
    if (!scanner.take('}')) {
        do {
            std::string_view key;
            std::optional<double> value;
            if (!scanner.read_string(key) || !scanner.take(':') || !scanner.read_value(value)) {
                return std::nullopt;
            }
            if (value) {
                fields.push_back({key, *value});
            }
        } while (scanner.take(','));
        if (!scanner.take('}')) {
            return std::nullopt;
        }
    }
    return scanner.at_end() ? std::optional(std::move(fields)) : std::nullopt;
}

std::optional<double> find_value(const std::vector<Field>& fields, std::string_view key) {
    for (const Field& field : fields) {
        if (field.key == key) {
            return field.value;
        }
    }
    return std::nullopt;
}

History::History(std::filesystem::path metrics_file) : path_(std::move(metrics_file)) {}

void History::refresh() {
    struct stat info {};
    if (::stat(path_.c_str(), &info) != 0) {
        clear();
        return;
    }
    if (info.st_ino != inode_ || static_cast<uint64_t>(info.st_size) < read_bytes_) {
        clear();
        inode_ = info.st_ino;
    }
    const MappedFile file(path_);
    const auto bytes = file.bytes();
    std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    rest.remove_prefix(std::min<size_t>(read_bytes_, rest.size()));
    for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
        if (const auto fields = parse_metrics_line(rest.substr(0, end))) {
            add(*fields);
        } else {
            ++unreadable_lines_;
        }
        rest.remove_prefix(end + 1);
        read_bytes_ += end + 1;
    }
}

void History::clear() { *this = History(std::move(path_)); }

void History::add(const std::vector<Field>& fields) {
    const auto step = find_value(fields, "step");
    if (!step) {
        return;
    }
    const double now = find_value(fields, "run_time_s").value_or(seconds());
    const auto line = static_cast<uint32_t>(seconds_.size());
    seconds_.push_back(std::isfinite(now) ? now : seconds());
    samples_.push_back(
        find_value(fields, "samples").value_or(samples_.empty() ? 0 : samples_.back()));
    for (const Field& field : fields) {
        auto place = columns_.find(field.key);
        if (place == columns_.end()) {
            place = columns_.emplace(std::string(field.key), Stored{}).first;
        }
        Stored& stored = place->second;
        stored.column.x.push_back(*step);
        stored.column.value.push_back(field.value);
        stored.line.push_back(line);
    }
}

const Column& History::column(std::string_view key) const {
    static const Column empty;
    const auto place = columns_.find(key);
    return place == columns_.end() ? empty : place->second.column;
}

Column History::column(std::string_view key, Axis axis) const {
    Column result = column(key);
    if (axis != Axis::kStep && !result.x.empty()) {
        const std::vector<double>& places = axis == Axis::kSamples ? samples_ : seconds_;
        const std::vector<uint32_t>& line = columns_.find(key)->second.line;
        std::transform(line.begin(), line.end(), result.x.begin(),
                       [&](uint32_t i) { return places[i]; });
    }
    return result;
}

}  // namespace flux::metrics
