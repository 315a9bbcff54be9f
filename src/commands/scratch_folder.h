// A folder of a benchmark's own, which goes with it.
#pragma once

#include <filesystem>
#include <thread>

namespace flux::commands {

/// Created below another folder, and removed with all it holds: by the destructor, or when SIGINT,
/// SIGTERM or SIGHUP ends the process. One at a time.
class ScratchFolder {
public:
    /// Throws Error naming the place and the reason.
    explicit ScratchFolder(const std::filesystem::path& below);
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }

private:
    void remove() const;
    void await_signal() const;

    std::filesystem::path path_;
    std::thread watch_;
};

}  // namespace flux::commands
