#include "flux/train/stop_signal.h"

#include <csignal>

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

}  // namespace

StopSignal::StopSignal() {
    last_signal = 0;
    for (size_t i = 0; i < kSignals.size(); ++i) {
        struct sigaction action {};
        action.sa_handler = remember;
        action.sa_flags = SA_RESTART;
        sigaction(kSignals[i], nullptr, &before_[i]);
        const bool ignored = before_[i].sa_handler == SIG_IGN;
        if (!ignored || kSignals[i] != SIGHUP) {  // nohup means: go on without the terminal
            sigaction(kSignals[i], &action, nullptr);
        }
    }
}

StopSignal::~StopSignal() {
    for (size_t i = 0; i < kSignals.size(); ++i) {
        sigaction(kSignals[i], &before_[i], nullptr);
    }
}

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
