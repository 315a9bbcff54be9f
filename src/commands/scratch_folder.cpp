#include "commands/scratch_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "flux/base/error.h"

namespace flux::commands {
namespace {

constexpr std::array kSignals{SIGINT, SIGTERM, SIGHUP};

constexpr char kNoSignal = 0;  // the folder goes by itself

/// Into which signals are written. Never closed: a handler may still be running.
const std::array<int, 2>& signal_pipe() {
    static const std::array<int, 2> ends = [] {
        std::array<int, 2> made{};
        if (::pipe2(made.data(), O_CLOEXEC) != 0) {
            fail("cannot watch for signals: {}", std::strerror(errno));
        }
        return made;
    }();
    return ends;
}

/// A handler may do no more than hand the signal on.
void hand_on(int signal) {
    const int before = errno;
    const auto byte = static_cast<char>(signal);
    (void)!::write(signal_pipe()[1], &byte, 1);
    errno = before;
}

/// SIGHUP stays ignored where it is: nohup means to go on without the terminal.
void handle(void (*handler)(int)) {
    for (const int signal : kSignals) {
        struct sigaction action {
        }, before{};
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
    signal_pipe();
    handle(hand_on);  // what comes before the thread is there waits for it
    std::string name = (below / "flux_bench.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
        const int code = errno;
        handle(SIG_DFL);
        fail("{}: cannot create a temporary folder: {}; choose a folder that can be written", name,
             std::strerror(code));
    }
    path_ = name;
    watch_ = std::thread([this] { await_signal(); });
}

ScratchFolder::~ScratchFolder() {
    handle(SIG_DFL);
    (void)!::write(signal_pipe()[1], &kNoSignal, 1);
    watch_.join();
    remove();
}

/// Other threads may still be writing: a file under the folder's name keeps them from making it
/// anew.
void ScratchFolder::remove() const {
    std::error_code ignored;
    const std::filesystem::path going = path_.string() + ".removed";
    std::filesystem::rename(path_, going, ignored);
    std::ofstream(path_).close();
    std::filesystem::remove_all(going, ignored);
    std::filesystem::remove(path_, ignored);
}

void ScratchFolder::await_signal() const {
    char signal = kNoSignal;
    while (::read(signal_pipe()[0], &signal, 1) < 0 && errno == EINTR) {
    }
    if (signal != kNoSignal) {
        remove();
        handle(SIG_DFL);
        ::kill(::getpid(), signal);
    }
}

}  // namespace flux::commands
