// Locks by number in one file, for processes that share the work of a folder, also over network
// file systems. A process that is killed gives its locks up.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace flux {

class NumberedLocks {
public:
    /// Given up with the object.
    class Held {
    public:
        ~Held() { release(); }
        Held(Held&& other) noexcept;
        Held& operator=(Held&&) = delete;

        void release();

    private:
        friend class NumberedLocks;
        Held(int descriptor, int64_t number) : descriptor_(descriptor), number_(number) {}

        int descriptor_;  // -1: released
        int64_t number_;
    };

    /// Creates `file` if there is none. If the file system cannot lock, a process that works alone
    /// goes on with a warning; among several, locking throws Error.
    NumberedLocks(std::filesystem::path file, bool alone);
    ~NumberedLocks();
    NumberedLocks(const NumberedLocks&) = delete;
    NumberedLocks& operator=(const NumberedLocks&) = delete;

    /// Nothing if another process holds it.
    std::optional<Held> try_lock(int64_t number);
    Held lock(int64_t number);  // waits

private:
    bool take(int64_t number, bool wait);

    std::filesystem::path file_;
    bool alone_;
    bool warned_ = false;
    int descriptor_ = -1;
};

}  // namespace flux
