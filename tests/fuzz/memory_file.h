// The fuzzer's bytes as a file that lies in memory, for code that takes a path.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>

namespace flux::fuzz {

class MemoryFile {
public:
    explicit MemoryFile(std::span<const uint8_t> bytes)
        : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
        size_t done = 0;
        while (descriptor_ >= 0 && done < bytes.size()) {
            const ssize_t count = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
            if (count < 0) {
                break;
            }
            done += static_cast<size_t>(count);
        }
        if (descriptor_ < 0 || done < bytes.size()) {
            std::abort();  // no memory for the harness itself
        }
    }
    ~MemoryFile() { ::close(descriptor_); }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

private:
    int descriptor_;
};

}  // namespace flux::fuzz
