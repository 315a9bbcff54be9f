// Weights & Biases, live: scripts/wandb_forward.py as a child process that follows metrics.jsonl.
// Its end or its slowness never touches the run.
#pragma once

#include <sys/types.h>

#include <filesystem>

namespace flux::metrics {

/// Throws ConfigError with the remedy if python3 or its package wandb is not there.
void check_wandb();

class WandbForwarder {
public:
    /// Starts it for the lines of `folder`/metrics.jsonl that it has not sent yet; what it says
    /// goes to `folder`/wandb_forward.log. Throws Error if it cannot be started.
    explicit WandbForwarder(const std::filesystem::path& folder);
    /// Without finish() before, it ends by itself, and as that of a failed run.
    ~WandbForwarder();
    WandbForwarder(const WandbForwarder&) = delete;
    WandbForwarder& operator=(const WandbForwarder&) = delete;

    /// Warns, once, if it has ended. Costs one system call.
    void watch();

    /// Lets it send the last lines; waits for that, but not long.
    void finish();

private:
    void close_input();
    bool ended();

    std::filesystem::path log_;
    pid_t process_ = -1;  // -1: has ended
    int input_ = -1;
};

}  // namespace flux::metrics
