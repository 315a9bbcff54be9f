#include "flux/base/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "flux/base/error.h"

namespace flux {
namespace {

using std::chrono::duration;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kFirstDraw = milliseconds(200);  // work that is done by then shows no bar
constexpr auto kRedraw = milliseconds(100);
constexpr size_t kMarks = 30;
constexpr double kMinute_s = 60;
constexpr int kMinimumColumns = 20;
constexpr int kMaximumBar = 30;
constexpr const char* kClearLine = "\r\x1b[K";

double seconds_between(std::chrono::steady_clock::time_point from,
                       std::chrono::steady_clock::time_point to) {
    return duration<double>(to - from).count();
}

int terminal_columns(int descriptor) {
    winsize size{};
    const bool known = ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? std::max<int>(size.ws_col, kMinimumColumns) : 80;
}

/// A terminal that is gone must not end the work, so errors are of no interest here.
void put(int descriptor, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(descriptor, text.data(), text.size());
        if (written <= 0) {
            return;
        }
        text.remove_prefix(static_cast<size_t>(written));
    }
}

std::string bar_text(double share, int width) {
    const int filled = std::clamp(static_cast<int>(share * width), 0, width);
    std::string bar(static_cast<size_t>(filled), '=');
    if (filled < width) {
        bar += '>';
        bar.append(static_cast<size_t>(width - filled - 1), ' ');
    }
    return "[" + bar + "]";
}

/// Three digits: 0.0123, 1.23, 12.3, 123, 12345.
std::string rate_text(double rate) {
    return rate >= 100 ? fmt::format("{:.0f}/s", rate) : fmt::format("{:.3g}/s", rate);
}

/// At most `columns` bytes, never ending inside a UTF-8 character.
std::string cut_to(std::string text, size_t columns) {
    if (text.size() > columns) {
        while (columns > 0 && (static_cast<unsigned char>(text[columns]) & 0xC0) == 0x80) {
            --columns;
        }
        text.resize(columns);
    }
    return text;
}

}  // namespace

double progress_interval_s() {
    const char* const words = std::getenv("PROGRESS_INTERVAL_S");
    const std::string_view text = words == nullptr ? "" : words;
    if (text.empty()) {
        return kMinute_s;
    }
    constexpr size_t kMostDigits = 5;
    int interval_s = -1;
    const auto [after, problem] =
        std::from_chars(text.data(), text.data() + text.size(), interval_s);
    if (problem != std::errc() || after != text.data() + text.size() || interval_s < 0 ||
        text.size() > kMostDigits || (text.front() == '0' && text.size() > 1)) {
        fail_config("PROGRESS_INTERVAL_S={}: must be a whole number of seconds, 0 to 99999", text);
    }
    return interval_s;
}

std::string duration_text(double seconds_left) {
    if (!std::isfinite(seconds_left) || seconds_left < 0) {
        return "?";
    }
    const auto total = static_cast<int64_t>(std::min(seconds_left, 1e15) + 0.5);
    const int64_t days = total / 86400;
    const int64_t hours = total / 3600 % 24;
    const int64_t minutes = total / 60 % 60;
    if (days > 0) {
        return fmt::format("{} d {}:{:02}:{:02}", days, hours, minutes, total % 60);
    }
    if (hours > 0) {
        return fmt::format("{}:{:02}:{:02}", hours, minutes, total % 60);
    }
    return fmt::format("{}:{:02}", minutes, total % 60);
}

std::string progress_text(const ProgressView& view) {
    std::string text(view.label);
    if (view.total > 0) {
        const double share = static_cast<double>(view.done) / static_cast<double>(view.total);
        text += fmt::format(" {:3.0f}%", std::floor(100 * share));
        if (view.bar_width > 0) {
            text += " " + bar_text(share, view.bar_width);
        }
        text += fmt::format(" {}/{} {}", view.done, view.total, view.unit);
    } else {
        text += fmt::format(" {} {}", view.done, view.unit);
    }
    if (view.rate > 0) {
        text += "  " + rate_text(view.rate);
        if (view.done < view.total) {
            const double left = static_cast<double>(view.total - view.done) / view.rate;
            text += fmt::format("  {} left", duration_text(left));
        }
    }
    if (!view.note.empty()) {
        text += fmt::format("  {}", view.note);
    }
    return text;
}

Progress::Progress(ProgressSettings settings)
    : settings_(std::move(settings)),
      line_interval_(std::chrono::duration_cast<Clock::duration>(duration<double>(
          settings_.line_interval_s ? *settings_.line_interval_s : progress_interval_s()))),
      bar_(settings_.style == ProgressSettings::Style::kBar ||
           (settings_.style == ProgressSettings::Style::kAuto &&
            ::isatty(settings_.descriptor) != 0)),
      done_(settings_.done),
      start_(Clock::now()) {
    marks_.push_back({start_, done_});
    next_output_ = start_ + (bar_ ? Clock::duration(kFirstDraw) : line_interval_);
    if (bar_) {
        before_line_.emplace([this] {
            const std::lock_guard lock(mutex_);
            clear();
            next_output_ = Clock::now() + kRedraw;  // the log line is written after this returns
        });
    }
}

Progress::~Progress() { finish(); }

void Progress::update(int64_t done, std::string_view note) {
    std::string line;
    {
        const std::lock_guard lock(mutex_);
        const auto now = Clock::now();
        done_ = done;
        if (now - marks_.back().time >= seconds(1)) {
            marks_.push_back({now, done});
            if (marks_.size() > kMarks) {
                marks_.pop_front();
            }
        }
        if (finished_ || now < next_output_) {
            return;
        }
        note_ = note;
        if (bar_) {
            draw(now);
            next_output_ = now + kRedraw;
            return;
        }
        line = text(now, 0);
        had_line_ = true;
        next_output_ = now + line_interval_;
    }
    log::info("{}", line);  // outside the lock: the log may call back into a bar
}

void Progress::finish() {
    std::string line;
    {
        const std::lock_guard lock(mutex_);
        if (finished_) {
            return;
        }
        finished_ = true;
        clear();
        if (had_line_) {
            line = fmt::format("{}: {} {} done in {}", settings_.label, done_, settings_.unit,
                               duration_text(seconds_between(start_, Clock::now())));
        }
    }
    before_line_.reset();
    if (!line.empty()) {
        log::info("{}", line);
    }
}

double Progress::rate(Clock::time_point now) const {
    const Mark& from = marks_.front();
    const double elapsed = seconds_between(from.time, now);
    return elapsed > 0 ? static_cast<double>(done_ - from.done) / elapsed : 0;
}

std::string Progress::text(Clock::time_point now, int columns) const {
    ProgressView view{.label = settings_.label,
                      .unit = settings_.unit,
                      .note = note_,
                      .total = settings_.total,
                      .done = done_,
                      .rate = rate(now)};
    if (columns > 0 && settings_.total > 0) {
        const int spare = columns - static_cast<int>(progress_text(view).size()) - 3;
        view.bar_width = spare < 5 ? 0 : std::min(spare, kMaximumBar);
    }
    return progress_text(view);
}

void Progress::draw(Clock::time_point now) {
    const int columns = terminal_columns(settings_.descriptor) - 1;  // the last one would wrap
    put(settings_.descriptor,
        kClearLine + cut_to(text(now, columns), static_cast<size_t>(columns)));
    visible_ = true;
}

void Progress::clear() {
    if (visible_) {
        put(settings_.descriptor, kClearLine);
        visible_ = false;
    }
}

}  // namespace flux
