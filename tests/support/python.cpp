#include "support/python.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "support/argv.h"

namespace flux::test {

PythonRun run_python(std::vector<std::string> words) {
    words.insert(words.begin(), python());
    const std::vector<char*> argv = argv_of(words);
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) {
        fail("no pipe");
    }
    const pid_t child = ::fork();
    if (child == 0) {
        ::dup2(ends[1], STDOUT_FILENO);
        ::close(ends[0]);
        ::execvp(argv[0], argv.data());
        ::_exit(127);
    }
    ::close(ends[1]);
    PythonRun answer;
    std::array<char, 4096> piece{};
    for (ssize_t count = 0; (count = ::read(ends[0], piece.data(), piece.size())) > 0;) {
        answer.out.append(piece.data(), static_cast<size_t>(count));
    }
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    answer.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return answer;
}

std::string python() {
    const char* named = std::getenv("FLUX_PYTHON");
    if (named != nullptr && *named != '\0') {
        return named;
    }
    const std::string own = FLUX_SOURCE_DIR "/.deps/venv/bin/python";
    return std::filesystem::exists(own) ? own : "python3";
}

bool python_has(const std::string& module) {
    const std::string find =
        "import importlib.util, sys; "
        "sys.exit(importlib.util.find_spec(sys.argv[1]) is None)";
    return run_python({"-c", find, module}).exit_code == 0;
}

nlohmann::json ask_python(const std::string& script, const std::vector<std::string>& arguments) {
    std::vector<std::string> words{FLUX_SOURCE_DIR "/tests/support/" + script};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const PythonRun answer = run_python(words);
    const auto json = nlohmann::json::parse(answer.out, nullptr, /*allow_exceptions=*/false);
    if (answer.exit_code != 0 || json.is_discarded()) {
        fail("{} ended with {}: {}", script, answer.exit_code, answer.out);
    }
    return json;
}

}  // namespace flux::test
