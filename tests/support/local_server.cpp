#include "support/local_server.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/argv.h"

namespace flux::test {

LocalServer::LocalServer(const std::string& python, const std::string& script,
                         const std::filesystem::path& folder, const std::filesystem::path& log,
                         const std::vector<std::string>& faults)
    : log_(log) {
    std::vector<std::string> words{python, FLUX_SOURCE_DIR "/tests/support/" + script,
                                   folder.string(), log.string()};
    words.insert(words.end(), faults.begin(), faults.end());
    const std::vector<char*> argv = argv_of(words);
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) {
        throw Error("no pipe");
    }
    process_ = ::fork();
    if (process_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        ::dup2(ends[1], STDOUT_FILENO);
        ::close(ends[0]);
        ::execvp(argv[0], argv.data());
        ::_exit(127);
    }
    ::close(ends[1]);
    for (char c = 0; ::read(ends[0], &c, 1) == 1 && c != '\n';) {
        port_ += c;
    }
    ::close(ends[0]);
}

LocalServer::~LocalServer() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
}

std::string LocalServer::url(const std::string& name) const {
    return "http://127.0.0.1:" + port_ + (name.empty() ? "" : "/" + name);
}

std::string LocalServer::log() const {
    return std::filesystem::exists(log_) ? read_text(log_) : std::string();
}

}  // namespace flux::test
