#include "flux/metrics/wandb_forwarder.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/log.h"
#include "wandb_script.h"

extern char** environ;

namespace flux::metrics {
namespace {

constexpr std::chrono::seconds kFarewell{10};
constexpr std::chrono::milliseconds kLook{50};

/// Starts python3 with `words`. Its standard input is `input`, both outputs are `output`. Returns
/// an error number, 0 if it runs.
int start_python(std::vector<std::string> words, int input, int output, pid_t& process) {
    words.insert(words.begin(), "python3");
    std::vector<char*> arguments;
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    // A group of its own: Ctrl-C is for the program, which lets it finish.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    const int code =
        ::posix_spawnp(&process, arguments[0], &actions, &attributes, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return code;
}

std::string status_text(int status) {
    return WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status))
                               : fmt::format("exit code {}", WEXITSTATUS(status));
}

}  // namespace

void check_wandb() {
    const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t process = -1;
    // find_spec() does not run the package, which takes seconds. A mere folder wandb/, such as runs
    // leave behind, has no origin.
    const int code = start_python(
        {"-c",
         "import sys; sys.path[:1] == [''] and sys.path.pop(0); import importlib.util; "
         "found = importlib.util.find_spec('wandb'); "
         "sys.exit(found is None or found.origin is None)"},
        nothing, nothing, process);
    ::close(nothing);
    if (code != 0) {
        fail_config(
            "metrics.enable_wandb = true: python3 cannot be started: {}: install it, or write "
            "TensorBoard files and send them later (metrics.enable_tensorboard, `wandb sync`)",
            std::strerror(code));
    }
    int status = 0;
    while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) {
        fail_config(
            "metrics.enable_wandb = true: the python3 on PATH has no package wandb: `python3 -m "
            "pip install wandb`, or start in the environment that has it");
    }
}

WandbForwarder::WandbForwarder(const std::filesystem::path& folder)
    : log_(folder / "wandb_forward.log") {
    const int log = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log < 0) {
        fail("{}: cannot open: {}", log_.string(), std::strerror(errno));
    }
    std::array<int, 2> ends{-1, -1};
    int code = ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0 ? 0 : errno;
    if (code == 0) {
        code =
            start_python({"-c", kWandbScript, folder.string(), "--follow"}, ends[0], log, process_);
        ::close(ends[0]);
        input_ = ends[1];
    }
    ::close(log);
    if (code != 0) {
        close_input();
        fail("metrics.enable_wandb: python3 cannot be started: {}", std::strerror(code));
    }
}

WandbForwarder::~WandbForwarder() { close_input(); }

void WandbForwarder::close_input() {
    if (input_ >= 0) {
        ::close(std::exchange(input_, -1));
    }
}

/// Says so if it has ended and was not to.
bool WandbForwarder::ended() {
    int status = 0;
    if (process_ < 0 || ::waitpid(process_, &status, WNOHANG) == 0) {
        return process_ < 0;
    }
    process_ = -1;
    if (status != 0 || input_ >= 0) {
        log::warning(
            "the forwarder to Weights & Biases has ended ({}; see {}): the run goes on without it; "
            "send the rest later with scripts/wandb_forward.py",
            status_text(status), log_.string());
    }
    return true;
}

void WandbForwarder::watch() { ended(); }

void WandbForwarder::finish() {
    constexpr std::string_view kDone = "done";  // what the script waits for
    if (ended()) {
        return;
    }
    (void)!::send(input_, kDone.data(), kDone.size(), MSG_NOSIGNAL);
    close_input();
    const auto until = std::chrono::steady_clock::now() + kFarewell;
    while (!ended()) {
        if (std::chrono::steady_clock::now() >= until) {
            log::warning("Weights & Biases takes longer than {} s: process {} goes on by itself",
                         kFarewell.count(), std::exchange(process_, -1));
        }
        std::this_thread::sleep_for(kLook);
    }
}

}  // namespace flux::metrics
