#include "commands/scratch_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

#include "flux/base/error.h"

namespace flux::commands {
namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP};

std::atomic<int> signal_pipe = -1;

/// A handler may do no more than hand the signal on.
void hand_on(int signal) {
    const auto byte = static_cast<char>(signal);
    (void)!::write(signal_pipe, &byte, 1);
}

/// SIGHUP stays ignored where it is: nohup means to go on without the terminal.
void handle(void (*handler)(int)) {
    for (const int signal : kSignals) {
        struct sigaction action {}, before {};
        action.sa_handler = handler;
        action.sa_flags = SA_RESTART;
        sigaction(signal, nullptr, &before);
        if (before.sa_handler != SIG_IGN) {
            sigaction(signal, &action, nullptr);
        }
    }
}

}  // namespace

ScratchFolder::ScratchFolder(const std::filesystem::path& below) {
    std::string name = (below / "flux_bench.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
        fail("{}: cannot create a temporary folder: {}; choose a folder that can be written", name,
             std::strerror(errno));
    }
    path_ = name;
    if (::pipe2(wake_.data(), O_CLOEXEC) != 0) {
        remove();
        fail("{}: cannot watch for signals: {}", name, std::strerror(errno));
    }
    signal_pipe = wake_[1];
    watch_ = std::thread([this] { await_signal(); });
    handle(hand_on);
}

ScratchFolder::~ScratchFolder() {
    handle(SIG_DFL);
    signal_pipe = -1;
    ::close(wake_[1]);
    watch_.join();
    ::close(wake_[0]);
    remove();
}

/// Other threads may still be writing: under another name nothing new comes in.
void ScratchFolder::remove() const {
    std::error_code ignored;
    const std::filesystem::path going = path_.string() + ".removed";
    std::filesystem::rename(path_, going, ignored);
    std::filesystem::remove_all(going, ignored);
}

void ScratchFolder::await_signal() const {
    char signal = 0;
    ssize_t got = 0;
    do {
        got = ::read(wake_[0], &signal, 1);
    } while (got < 0 && errno == EINTR);
    if (got == 1) {
        remove();
        handle(SIG_DFL);
        ::kill(::getpid(), signal);
    }
}

}  // namespace flux::commands
