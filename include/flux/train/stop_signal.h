// A polite end: SIGTERM, SIGUSR1, SIGINT and SIGHUP ask the training loop to save and leave.
#pragma once

#include <array>
#include <csignal>

namespace flux::train {

/// Catches the signals while it lives. A second SIGINT ends the process at once; SIGHUP stays
/// ignored where it was (nohup).
class StopSignal {
public:
    StopSignal();
    ~StopSignal();
    StopSignal(const StopSignal&) = delete;
    StopSignal& operator=(const StopSignal&) = delete;

    /// Name of the signal that came ("SIGTERM"), or null.
    const char* received() const;

private:
    static constexpr std::array kSignals{SIGTERM, SIGUSR1, SIGINT, SIGHUP};
    std::array<struct sigaction, kSignals.size()> before_{};
};

/// Exit code of a run that was asked to stop and has saved: a scheduler starts it again.
inline constexpr int kExitSavedUnfinished = 75;

}  // namespace flux::train
