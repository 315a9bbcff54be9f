#include "flux/train/stop_signal.h"

#include <csignal>
#include <initializer_list>

namespace flux::train {
namespace {

volatile std::sig_atomic_t last_signal = 0;

constexpr std::initializer_list<int> kSignals{SIGTERM, SIGUSR1, SIGINT};

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
    for (const int signal : kSignals) {
        struct sigaction action {};
        action.sa_handler = remember;
        action.sa_flags = SA_RESTART;
        sigaction(signal, &action, nullptr);
    }
}

StopSignal::~StopSignal() {
    for (const int signal : kSignals) {
        std::signal(signal, SIG_DFL);
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
        default:
            return "SIGINT";
    }
}

}  // namespace flux::train
