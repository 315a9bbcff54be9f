#include "flux/train/stop_signal.h"

#include <unistd.h>

#include <csignal>
#include <string_view>

namespace flux::train {
namespace {

volatile std::sig_atomic_t last_signal = 0;

void remember(int signal) {
    if (signal == SIGINT && last_signal == SIGINT) {
        std::signal(SIGINT, SIG_DFL);
        std::raise(SIGINT);
    }
    last_signal = signal;
}

/// Only what a signal handler may do.
void end_at_once(int) {
    constexpr std::string_view kMessage =
        "stopped before the first step: there is nothing to save; the same command begins again\n";
    (void)!::write(STDERR_FILENO, kMessage.data(), kMessage.size());
    ::_exit(kExitSavedUnfinished);
}

}  // namespace

SignalHandlers::SignalHandlers(void (*handler)(int)) {
    for (size_t i = 0; i < kStopSignals.size(); ++i) {
        struct sigaction action {};
        action.sa_handler = handler;
        action.sa_flags = SA_RESTART;
        sigaction(kStopSignals[i], nullptr, &before_[i]);
        const bool ignored = before_[i].sa_handler == SIG_IGN;
        if (!ignored || kStopSignals[i] != SIGHUP) {  // nohup means: go on without the terminal
            sigaction(kStopSignals[i], &action, nullptr);
        }
    }
}

SignalHandlers::~SignalHandlers() {
    for (size_t i = 0; i < kStopSignals.size(); ++i) {
        sigaction(kStopSignals[i], &before_[i], nullptr);
    }
}

StopBeforeTraining::StopBeforeTraining() : handlers_(end_at_once) {}

StopSignal::StopSignal() : handlers_(remember) { last_signal = 0; }

const char* StopSignal::received() const {
    switch (last_signal) {
        case 0:
            return nullptr;
        case SIGTERM:
            return "SIGTERM";
        case SIGUSR1:
            return "SIGUSR1";
        case SIGHUP:
            return "SIGHUP";
        default:
            return "SIGINT";
    }
}

}  // namespace flux::train
