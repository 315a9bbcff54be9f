// Progress of long work: a bar that redraws itself on a terminal, a plain log line once a minute
// elsewhere. Used by the training loop, the preprocessing and every other loop that may take long.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "flux/base/log.h"

namespace flux {

struct ProgressSettings {
    enum class Style { kAuto, kBar, kLines };  // kAuto: a bar if `descriptor` is a terminal

    std::string label;  // "train"
    std::string unit;   // "steps"
    int64_t total = 0;  // 0: not known, then neither a share nor the time left is shown
    int64_t done = 0;   // done before this start: counts for the share, not for the rate
    Style style = Style::kAuto;
    /// Short work without a terminal prints nothing. Unset: progress_interval_s().
    std::optional<double> line_interval_s{};
    int descriptor = STDERR_FILENO;
};

/// Seconds between plain lines: PROGRESS_INTERVAL_S of the environment, else a minute. Throws
/// ConfigError unless it is a whole number of at most five digits, as scripts/ read it too.
double progress_interval_s();

/// Safe to update from several threads. On a terminal it clears itself before each log line. Of two
/// bars at a time the terminal shows the one that was drawn last.
class Progress {
public:
    explicit Progress(ProgressSettings settings);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// `done` counts from the very beginning of the work; `note` follows the rate ("loss 0.51").
    void update(int64_t done, std::string_view note = {});

    /// Clears the bar, or closes the plain lines with one last line if there was any.
    void finish();

private:
    using Clock = std::chrono::steady_clock;
    struct Mark {
        Clock::time_point time;
        int64_t done;
    };

    double rate(Clock::time_point now) const;
    std::string text(Clock::time_point now, int columns) const;
    void draw(Clock::time_point now);
    void clear();

    ProgressSettings settings_;
    Clock::duration line_interval_;
    bool bar_;
    std::mutex mutex_;
    std::string note_;
    int64_t done_;
    std::deque<Mark> marks_;  // one a second, the last half minute: the rate is that of now
    Clock::time_point start_;
    Clock::time_point next_output_;
    bool visible_ = false;   // the bar stands on the terminal
    bool had_line_ = false;  // at least one plain line was logged
    bool finished_ = false;
    std::optional<log::BeforeLine> before_line_;
};

/// What one progress line shows.
struct ProgressView {
    std::string_view label = {};
    std::string_view unit = {};
    std::string_view note = {};
    int64_t total = 0, done = 0;
    double rate = 0;    // per second; 0: not known yet
    int bar_width = 0;  // 0: no bar, for plain lines
};

/// "train  42% [=====>      ] 420/1000 steps  12.3/s  0:47 left  loss 0.51"
std::string progress_text(const ProgressView& view);

/// 47 -> "0:47", 3671 -> "1:01:11", 100000 -> "1 d 3:46:40"
std::string duration_text(double seconds);

}  // namespace flux
