#include "flux/train/stop_signal.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <string_view>

namespace flux::train {
namespace {

constexpr std::array kStopSignals{SIGTERM, SIGUSR1, SIGINT, SIGHUP};

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

/// SIGHUP stays ignored where it is: nohup means to go on without the terminal.
void handle_stop_signals(void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    for (const int signal : kStopSignals) {
        struct sigaction before {};
        sigaction(signal, nullptr, &before);
        if (signal != SIGHUP || before.sa_handler != SIG_IGN) {
            sigaction(signal, &action, nullptr);
        }
    }
}

}  // namespace

void end_at_stop_signals() { handle_stop_signals(end_at_once); }

StopSignal::StopSignal() {
    last_signal = 0;
    handle_stop_signals(remember);
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
