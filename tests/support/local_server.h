// A server script of this folder while it lives: it prints its port, then serves on 127.0.0.1.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace flux::test {

class LocalServer {
public:
    /// `script` of tests/support serves `folder`, writes a line a request to `log`, and spoils
    /// requests as `faults` say.
    LocalServer(const std::string& python, const std::string& script,
                const std::filesystem::path& folder, const std::filesystem::path& log,
                const std::vector<std::string>& faults);
    ~LocalServer();
    LocalServer(const LocalServer&) = delete;
    LocalServer& operator=(const LocalServer&) = delete;

    std::string url(const std::string& name = {}) const;
    const std::string& port() const { return port_; }
    std::string log() const;

private:
    std::filesystem::path log_;
    std::string port_;
    pid_t process_ = -1;
};

}  // namespace flux::test
