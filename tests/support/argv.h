// A command's words as exec() takes them.
#pragma once

#include <string>
#include <vector>

namespace flux::test {

/// Points into `words`, which must outlive it unchanged.
inline std::vector<char*> argv_of(std::vector<std::string>& words) {
    std::vector<char*> argv;
    for (std::string& word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    return argv;
}

}  // namespace flux::test
