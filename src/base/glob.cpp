#include "flux/base/glob.h"

#include <fnmatch.h>

#include <algorithm>

namespace flux {

bool matches_glob(const std::string& pattern, const std::string& name) {
    return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

bool matches_any_glob(const std::vector<std::string>& patterns, const std::string& name) {
    return std::any_of(patterns.begin(), patterns.end(),
                       [&](const std::string& pattern) { return matches_glob(pattern, name); });
}

}  // namespace flux
