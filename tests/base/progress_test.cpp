#include "flux/base/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <string>
#include <thread>

#include "flux/base/log.h"

namespace flux {
namespace {

using testing::HasSubstr;
using testing::Not;

/// A real terminal without a person: what is written to `terminal` can be read from `controller`.
struct PseudoTerminal {
    int controller = ::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    int terminal = -1;

    explicit PseudoTerminal(unsigned short columns) {
        if (::grantpt(controller) == 0 && ::unlockpt(controller) == 0) {
            terminal = ::open(::ptsname(controller), O_RDWR | O_NOCTTY);
        }
        winsize size{};
        size.ws_row = 24;
        size.ws_col = columns;
        ::ioctl(terminal, TIOCSWINSZ, &size);
    }
    ~PseudoTerminal() {
        ::close(terminal);
        ::close(controller);
    }
    std::string take() {
        std::string text(65536, '\0');
        const ssize_t count = ::read(controller, text.data(), text.size());
        text.resize(count > 0 ? static_cast<size_t>(count) : 0);
        return text;
    }
};

ProgressSettings forty_steps(int descriptor) {
    ProgressSettings settings;
    settings.label = "train";
    settings.unit = "steps";
    settings.total = 40;
    settings.descriptor = descriptor;
    return settings;
}

/// Long enough for the first drawing of a bar and for any redraw.
void wait_for_redraw() { std::this_thread::sleep_for(std::chrono::milliseconds(250)); }

TEST(ProgressText, ShowsShareRateAndTimeLeft) {
    ProgressView view{.label = "train",
                      .unit = "steps",
                      .note = "loss 0.51",
                      .total = 1000,
                      .done = 420,
                      .rate = 12.34,
                      .bar_width = 10};
    EXPECT_EQ(progress_text(view),
              "train  42% [====>     ] 420/1000 steps  12.3/s  0:47 left  loss 0.51");
    view.total = 0;
    EXPECT_EQ(progress_text(view), "train 420 steps  12.3/s  loss 0.51");
}

TEST(ProgressText, SaysNothingOfTheTimeLeftWithoutARate) {
    EXPECT_EQ(progress_text({.label = "clean", .unit = "rows", .total = 10}),
              "clean   0% 0/10 rows");
    EXPECT_EQ(progress_text({.label = "clean", .unit = "rows", .total = 10, .done = 10, .rate = 5}),
              "clean 100% 10/10 rows  5/s");
}

TEST(DurationText, GrowsWithTheDuration) {
    EXPECT_EQ(duration_text(0), "0:00");
    EXPECT_EQ(duration_text(46.6), "0:47");
    EXPECT_EQ(duration_text(3671), "1:01:11");
    EXPECT_EQ(duration_text(100000), "1 d 3:46:40");
    EXPECT_EQ(duration_text(1.0 / 0.0), "?");
}

TEST(Progress, DrawsABarOnATerminalAndClearsItAtTheEnd) {
    PseudoTerminal pty(70);
    if (pty.terminal < 0) {
        GTEST_SKIP() << "needs a pseudo-terminal";
    }
    ASSERT_GE(pty.terminal, 0);
    Progress progress(forty_steps(pty.terminal));
    progress.update(1);
    EXPECT_EQ(pty.take(), "") << "short work must not flash a bar";
    wait_for_redraw();
    progress.update(10, std::string(200, 'x'));
    const std::string drawn = pty.take();
    EXPECT_THAT(drawn, HasSubstr("train  25%"));
    EXPECT_THAT(drawn, HasSubstr("10/40 steps"));
    EXPECT_LT(drawn.size(), 70 + 5) << "must not wrap: columns and the clearing sequence";
    progress.finish();
    EXPECT_EQ(pty.take(), "\r\x1b[K");
}

TEST(Progress, MakesRoomForALogLine) {
    PseudoTerminal pty(70);
    if (pty.terminal < 0) {
        GTEST_SKIP() << "needs a pseudo-terminal";
    }
    ASSERT_GE(pty.terminal, 0);
    Progress progress(forty_steps(pty.terminal));
    wait_for_redraw();
    progress.update(10);
    EXPECT_THAT(pty.take(), HasSubstr("25%"));
    log::info("a line");
    EXPECT_EQ(pty.take(), "\r\x1b[K");
    log::info("another line");
    EXPECT_EQ(pty.take(), "") << "nothing left to clear";
    wait_for_redraw();
    progress.update(20);
    EXPECT_THAT(pty.take(), HasSubstr("50%"));
}

TEST(Progress, ASecondBarLeavesTheFirstItsWay) {
    PseudoTerminal pty(70);
    if (pty.terminal < 0) {
        GTEST_SKIP() << "needs a pseudo-terminal";
    }
    Progress outer(forty_steps(pty.terminal));
    {
        Progress inner(forty_steps(pty.terminal));
        wait_for_redraw();
        outer.update(10);
        pty.take();
        log::info("a line");
        EXPECT_EQ(pty.take(), "\r\x1b[K") << "the inner bar has taken its place";
    }
    wait_for_redraw();
    outer.update(20);
    EXPECT_THAT(pty.take(), HasSubstr("50%"));
    log::info("another line");
    EXPECT_EQ(pty.take(), "\r\x1b[K") << "the inner bar took the way along";
}

TEST(Progress, SaysNothingOfShortWorkWithoutATerminal) {
    testing::internal::CaptureStderr();
    {
        Progress progress(forty_steps(STDERR_FILENO));
        for (int i = 0; i <= 40; ++i) {
            progress.update(i);
        }
    }
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Progress, LogsPlainLinesWithoutATerminal) {
    testing::internal::CaptureStderr();
    auto settings = forty_steps(STDERR_FILENO);
    settings.line_interval_s = 0.01;
    settings.done = 10;
    {
        Progress progress(settings);
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        progress.update(11, "loss 0.5");
        progress.update(12, "loss 0.4");  // too early for another line
    }
    const std::string text = testing::internal::GetCapturedStderr();
    EXPECT_THAT(text, HasSubstr("train  27% 11/40 steps"));
    EXPECT_THAT(text, HasSubstr("loss 0.5"));
    EXPECT_THAT(text, Not(HasSubstr("loss 0.4")));
    EXPECT_THAT(text, Not(HasSubstr("\r")));
    EXPECT_THAT(text, HasSubstr("train: 12 steps done in 0:00"));
}

}  // namespace
}  // namespace flux
