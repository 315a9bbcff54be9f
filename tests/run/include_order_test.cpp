// The rule that keeps the program readable: a folder includes only itself and folders to its left.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <sstream>
#include <vector>

#include "flux/base/file.h"

namespace flux {
namespace {

const std::vector<std::string> kOrder{
    "base",     "kernels", "config",     "dist",    "units",  "model", "flow",  "data",
    "encoders", "optim",   "checkpoint", "metrics", "sample", "eval",  "train", "commands"};

size_t place(const std::string& folder) {
    return static_cast<size_t>(std::find(kOrder.begin(), kOrder.end(), folder) - kOrder.begin());
}

TEST(IncludeOrder, FoldersIncludeOnlyThoseToTheirLeft) {
    const std::regex include(R"re(#include "(?:flux/)?(\w+)/\w+\.h")re");
    size_t checked = 0;
    for (const char* root : {"include/flux", "src"}) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(
                 std::filesystem::path(FLUX_SOURCE_DIR) / root)) {
            const std::string folder = entry.path().parent_path().filename();
            if (!entry.is_regular_file() || place(folder) == kOrder.size()) {
                continue;
            }
            std::istringstream lines(read_text(entry.path()));
            for (std::string line; std::getline(lines, line);) {
                std::smatch match;
                if (std::regex_search(line, match, include)) {
                    EXPECT_LE(place(match[1]), place(folder)) << entry.path() << ": " << line;
                    ++checked;
                }
            }
        }
    }
    EXPECT_GT(checked, 100u);
}

TEST(IncludeOrder, HeadersOfOneFolderStayThere) {
    const std::regex include(R"re(#include "(\w+)/\w+\.h")re");
    size_t checked = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(
             std::filesystem::path(FLUX_SOURCE_DIR) / "src")) {
        if (!entry.is_regular_file()) {
            continue;
        }
        const std::string folder = entry.path().parent_path().filename();
        std::istringstream lines(read_text(entry.path()));
        for (std::string line; std::getline(lines, line);) {
            std::smatch match;
            if (std::regex_search(line, match, include) && match[1] != "flux") {
                EXPECT_EQ(match[1], folder) << entry.path() << ": " << line;
                ++checked;
            }
        }
    }
    EXPECT_GT(checked, 100u);
}

}  // namespace
}  // namespace flux
