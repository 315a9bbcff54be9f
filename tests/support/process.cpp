#include "support/process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/argv.h"
#include "support/reference.h"

namespace flux::test {
namespace {

pid_t start(const std::filesystem::path& program, const std::vector<std::string>& arguments,
            const std::filesystem::path& out, const std::filesystem::path& err,
            const Environment& environment = {}) {
    std::vector<std::string> words{program.string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const std::vector<char*> argv = argv_of(words);
    const pid_t child = ::fork();
    if (child == 0) {
        for (const auto& [name, value] : environment) {
            ::setenv(name.c_str(), value.c_str(), 1);
        }
        const int flags = O_WRONLY | O_CREAT | O_APPEND;
        ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
        ::dup2(::open(out.c_str(), flags, 0644), STDOUT_FILENO);
        ::dup2(::open(err.c_str(), flags, 0644), STDERR_FILENO);
        ::execv(program.c_str(), argv.data());
        ::_exit(127);
    }
    if (child < 0) {
        fail("cannot start {}", program.string());
    }
    return child;
}

}  // namespace

ProcessResult run_flux_train(const std::vector<std::string>& arguments) {
    const TemporaryFolder folder;
    const auto out = folder.path() / "out", err = folder.path() / "err";
    ProcessResult result;
    result.exit_code = wait_for(start(FLUX_TRAIN_BINARY, arguments, out, err));
    result.out = read_text(out);
    result.err = read_text(err);
    return result;
}

pid_t start_flux_train(const std::vector<std::string>& arguments, const std::filesystem::path& log,
                       const Environment& environment) {
    return start(FLUX_TRAIN_BINARY, arguments, log, log, environment);
}

pid_t start_program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                    const std::filesystem::path& log, const Environment& environment) {
    return start(program, arguments, log, log, environment);
}

std::filesystem::path flux_train_binary() { return FLUX_TRAIN_BINARY; }

int wait_for(pid_t process) {
    int status = 0;
    ::waitpid(process, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::vector<std::pair<int64_t, std::string>> metric(const std::filesystem::path& run_folder,
                                                    const std::string& key) {
    std::vector<std::pair<int64_t, std::string>> values;
    std::ifstream lines(run_folder / "metrics.jsonl");
    for (std::string line; std::getline(lines, line);) {
        const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
        if (json.contains(key)) {  // the last line of a running program may be torn
            values.emplace_back(json.at("step").get<int64_t>(), json.at(key).dump());
        }
    }
    return values;
}

}  // namespace flux::test
