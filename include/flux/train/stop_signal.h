// A polite end: SIGTERM, SIGUSR1, SIGINT and SIGHUP ask the training loop to save and leave.
#pragma once

namespace flux::train {

/// From now on a stop signal ends the process at once, with a message: there is nothing to save
/// yet. A StopSignal made later takes over. A reader of stdout or stderr that goes ends nothing.
void end_at_stop_signals();

/// Catches the signals from now on, also after its end: a process that has done its work, or fails,
/// leaves with its own exit code whatever comes then. A second SIGINT ends the process at once.
class StopSignal {
public:
    /// Whether the signals are answered on stderr, as by one process of a job's.
    enum class Answer { kSilent, kSaid };
    explicit StopSignal(Answer answer);
    ~StopSignal();
    StopSignal(const StopSignal&) = delete;
    StopSignal& operator=(const StopSignal&) = delete;

    /// No answers from now on: the run ends anyhow.
    void fall_silent();

    /// Name of the signal that came ("SIGTERM"), or null.
    const char* received() const;
};

/// Exit code of a run that was asked to stop and has saved: a scheduler starts it again.
inline constexpr int kExitSavedUnfinished = 75;

}  // namespace flux::train
