#include "flux/train/stop_signal.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>

namespace flux::train {
namespace {

constexpr std::array kStopSignals{SIGTERM, SIGUSR1, SIGINT, SIGHUP};

volatile std::sig_atomic_t last_signal = 0;
volatile std::sig_atomic_t interrupted = 0;  // by SIGINT
volatile std::sig_atomic_t speaks = 0;

// Handlers do only what a signal handler may, and leave errno as it was.

void say(std::string_view message) {
    const int before = errno;
    (void)!::write(STDERR_FILENO, message.data(), message.size());
    errno = before;
}

void remember(int signal) {
    if (signal == SIGINT && interrupted != 0) {
        if (speaks != 0) {
            say("asked again: ended at once; what came after the last checkpoint is lost\n");
        }
        std::signal(SIGINT, SIG_DFL);
        std::raise(SIGINT);
    }
    if (speaks != 0 && last_signal == 0) {
        say("asked to stop: the run ends after the step or validation at work and saves its state; "
            "a second Ctrl-C ends it at once\n");
    }
    if (signal == SIGINT) {
        interrupted = 1;
    }
    last_signal = signal;
}

void end_at_once(int) {
    say("stopped before the first step: there is nothing to save; the same command begins "
        "again\n");
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

void end_at_stop_signals() {
    handle_stop_signals(end_at_once);
    // Who reads the log may be gone, as `tee` at a Ctrl-C: then it is not written, and the run goes
    // on to save. A handler, not SIG_IGN, which programs that are started would inherit.
    std::signal(SIGPIPE, [](int) {});
}

StopSignal::StopSignal(Answer answer) {
    last_signal = 0;
    interrupted = 0;
    speaks = answer == Answer::kSaid ? 1 : 0;
    handle_stop_signals(remember);
}

StopSignal::~StopSignal() { fall_silent(); }

void StopSignal::fall_silent() { speaks = 0; }

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
