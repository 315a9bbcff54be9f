// A polite end: SIGTERM, SIGUSR1, SIGINT and SIGHUP ask the training loop to save and leave.
#pragma once

#include <array>
#include <csignal>

namespace flux::train {

/// SIGTERM, SIGUSR1, SIGINT and SIGHUP.
inline constexpr std::array kStopSignals{SIGTERM, SIGUSR1, SIGINT, SIGHUP};

/// Other handlers while it lives. SIGHUP stays ignored where it was (nohup).
class SignalHandlers {
public:
    explicit SignalHandlers(void (*handler)(int));
    ~SignalHandlers();
    SignalHandlers(const SignalHandlers&) = delete;
    SignalHandlers& operator=(const SignalHandlers&) = delete;

private:
    std::array<struct sigaction, kStopSignals.size()> before_{};
};

/// While it lives a stop signal ends the process at once, with a message: there is nothing to save
/// yet. A StopSignal made later takes over.
class StopBeforeTraining {
public:
    StopBeforeTraining();

private:
    SignalHandlers handlers_;
};

/// Catches the signals while it lives. A second SIGINT ends the process at once.
class StopSignal {
public:
    StopSignal();

    /// Name of the signal that came ("SIGTERM"), or null.
    const char* received() const;

private:
    SignalHandlers handlers_;
};

/// Exit code of a run that was asked to stop and has saved: a scheduler starts it again.
inline constexpr int kExitSavedUnfinished = 75;

}  // namespace flux::train
