// The output of a command, as a file.
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <utility>

#include "data/download.h"
#include "flux/base/error.h"

extern char** environ;

namespace flux::data {
namespace {

constexpr int kPollMs = 100;

/// A shell in a process group of its own, whose output is read; ended with the object.
class Command {
public:
    explicit Command(const std::string& text) {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
            fail("pipe:{}: {}", text, std::strerror(errno));
        }
        output_ = ends[0];
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
        std::string shell = "sh", option = "-c", command = text;
        std::array<char*, 4> words{shell.data(), option.data(), command.data(), nullptr};
        const int code =
            ::posix_spawn(&process_, "/bin/sh", &actions, &attributes, words.data(), environ);
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
        ::close(ends[1]);
        if (code != 0) {
            process_ = -1;
            ::close(output_);
            fail("pipe:{}: cannot be started: {}", text, std::strerror(code));
        }
    }
    ~Command() {
        ::close(output_);
        if (process_ > 0) {
            ::kill(-process_, SIGKILL);
            wait();
        }
    }
    Command(const Command&) = delete;
    Command& operator=(const Command&) = delete;

    int output() const { return output_; }

    /// Its exit status, 128 + signal if a signal ended it.
    int wait() {
        int status = 0;
        while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
        }
        process_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

private:
    pid_t process_ = -1;
    int output_ = -1;
};

}  // namespace

void spool(const std::string& text, CacheFile& file, const RemoteSettings& settings) {
    Command command(text);
    file.restart({});
    std::array<char, size_t{1} << 16> buffer;
    auto last_output = std::chrono::steady_clock::now();
    for (;;) {
        pollfd ready{command.output(), POLLIN, 0};
        const int count = ::poll(&ready, 1, kPollMs);
        if (settings.stop.stop_requested()) {
            fail("pipe:{}: stopped", text);
        }
        if (count == 0) {
            const std::chrono::duration<double> idle =
                std::chrono::steady_clock::now() - last_output;
            if (idle.count() >= settings.stall_timeout_s) {
                fail("pipe:{}: no output for {} s: ended", text, settings.stall_timeout_s);
            }
            continue;
        }
        last_output = std::chrono::steady_clock::now();
        const ssize_t got = count < 0 ? -1 : ::read(command.output(), buffer.data(), buffer.size());
        if (got < 0 && errno != EINTR) {
            fail("pipe:{}: cannot be read: {}", text, std::strerror(errno));
        }
        if (got == 0) {
            break;
        }
        if (got > 0) {
            file.append({buffer.data(), static_cast<size_t>(got)});
        }
    }
    if (const int status = command.wait(); status != 0) {
        const uint64_t size = file.size();
        file.restart({});
        fail("pipe:{}: ended with status {} after {} bytes of output", text, status, size);
    }
}

}  // namespace flux::data
