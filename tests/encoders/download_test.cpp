// scripts/download_encoders.sh against a folder in place of a server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <sstream>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/reference.h"

namespace flux::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class DownloadEncoders : public testing::Test {
protected:
    /// The files that the script asks for: path at the server, path in the target folder.
    static std::vector<std::pair<fs::path, fs::path>> files() {
        std::istringstream script(
            read_text(fs::path(FLUX_SOURCE_DIR) / "scripts/download_encoders.sh"));
        std::vector<std::pair<fs::path, fs::path>> found;
        bool inside = false;
        for (std::string line; std::getline(script, line);) {
            std::istringstream words(line);
            std::string repository, name, target;
            if (line == "files='") {
                inside = true;
            } else if (inside && words >> repository >> name >> target) {
                found.emplace_back(fs::path(repository) / "resolve/main" / name, target);
            } else {
                inside = inside && line != "'";
            }
        }
        return found;
    }

    DownloadEncoders() {
        for (const auto& [remote, local] : files()) {
            fs::create_directories((server_ / remote).parent_path());
            write_text(server_ / remote, "content of " + remote.string());
        }
    }

    int run() {
        const std::string command = fmt::format(
            "HF_TOKEN=secret HF_ENDPOINT='file://{}' '{}/scripts/download_encoders.sh' "
            "'{}' > '{}' 2>&1",
            server_.string(), FLUX_SOURCE_DIR, target_.string(), log_.string());
        return WEXITSTATUS(std::system(command.c_str()));
    }

    TemporaryFolder folder_;
    fs::path server_ = folder_.path() / "server";
    fs::path target_ = folder_.path() / "models";
    fs::path log_ = folder_.path() / "log";
};

TEST_F(DownloadEncoders, FetchesEveryFileAndGoesOnWhereItBrokeOff) {
    ASSERT_FALSE(files().empty());
    const auto [remote, local] = files().back();
    fs::create_directories((target_ / local).parent_path());
    write_text(target_ / (local.string() + ".part"),
               read_text(server_ / remote).substr(0, 7));  // the rest is appended to it
    ASSERT_EQ(run(), 0) << read_text(log_);
    for (const auto& [from, to] : files()) {
        EXPECT_EQ(read_text(target_ / to), read_text(server_ / from)) << to;
        EXPECT_FALSE(fs::exists(target_ / (to.string() + ".part")));
    }
    ASSERT_EQ(run(), 0) << read_text(log_);
    EXPECT_THAT(read_text(log_), HasSubstr((target_ / local).string() + ": complete"));
}

TEST_F(DownloadEncoders, LeavesOtherFilesAloneAndNamesWhatIsMissing) {
    const auto [remote, local] = files().front();
    fs::create_directories((target_ / local).parent_path());
    write_text(target_ / local, "mine");
    EXPECT_EQ(run(), 1);
    EXPECT_THAT(read_text(log_), HasSubstr((target_ / local).string() + ": has 4 bytes"));
    EXPECT_EQ(read_text(target_ / local), "mine");
    fs::remove(target_ / local);
    fs::remove(server_ / remote);
    EXPECT_EQ(run(), 1);
    EXPECT_THAT(read_text(log_), HasSubstr(remote.string() + ": cannot be read"));
}

}  // namespace
}  // namespace flux::test
