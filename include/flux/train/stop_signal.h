// A polite end: SIGTERM, SIGUSR1 and SIGINT ask the training loop to save and leave.
#pragma once

namespace flux::train {

/// Catches the signals while it lives. A second SIGINT ends the process at once.
class StopSignal {
public:
    StopSignal();
    ~StopSignal();
    StopSignal(const StopSignal&) = delete;
    StopSignal& operator=(const StopSignal&) = delete;

    /// Name of the signal that came ("SIGTERM"), or null.
    const char* received() const;
};

/// Exit code of a run that was asked to stop and has saved: a scheduler starts it again.
inline constexpr int kExitSavedUnfinished = 75;

}  // namespace flux::train
