#include "support/group.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "flux/base/file.h"
#include "support/argv.h"
#include "support/reference.h"

namespace flux::test {
namespace {

constexpr const char* kInGroup = "FLUX_TEST_IN_GROUP";

std::string current_test() {
    const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
    return std::string(test.test_suite_name()) + "." + test.name();
}

pid_t start_rank(int rank, int count, int port, const std::filesystem::path& log) {
    const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
    std::vector<std::string> words{program, "--gtest_filter=" + current_test()};
    const std::vector<char*> argv = argv_of(words);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto set = [](const char* name, const std::string& value) {
            ::setenv(name, value.c_str(), 1);
        };
        set(kInGroup, "1");
        set("RANK", std::to_string(rank));
        set("LOCAL_RANK", std::to_string(rank));
        set("WORLD_SIZE", std::to_string(count));
        set("LOCAL_WORLD_SIZE", std::to_string(count));
        set("MASTER_ADDR", "127.0.0.1");
        set("MASTER_PORT", std::to_string(port));
        set("OMP_NUM_THREADS", "1");
        const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
        ::dup2(out, STDOUT_FILENO);
        ::dup2(out, STDERR_FILENO);
        ::execv(program.c_str(), argv.data());
        ::_exit(127);
    }
    return child;
}

}  // namespace

bool in_group(int count) {
    if (std::getenv(kInGroup) != nullptr) {
        return true;
    }
    const TemporaryFolder folder;
    const int port = free_port();
    std::vector<pid_t> ranks;
    for (int rank = 0; rank < count; ++rank) {
        ranks.push_back(start_rank(rank, count, port, folder.path() / std::to_string(rank)));
    }
    for (int rank = 0; rank < count; ++rank) {
        int status = 0;
        ::waitpid(ranks[static_cast<size_t>(rank)], &status, 0);
        const std::string text = read_text(folder.path() / std::to_string(rank));
        EXPECT_EQ(status, 0) << "rank " << rank << ":\n" << text;
        for (size_t at = 0; (at = text.find("measured:", at)) != std::string::npos; ++at) {
            std::printf("rank %d: %s\n", rank, text.substr(at, text.find('\n', at) - at).c_str());
        }
    }
    return false;
}

int free_port() {
    const int descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    if (::bind(descriptor, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        ADD_FAILURE() << "no free port";
    }
    ::close(descriptor);
    return ntohs(address.sin_port);
}

std::string own_address() {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) {
        return "";
    }
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, ::freeifaddrs);
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) {
            continue;
        }
        const auto* address = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr);
        const std::string text = ::inet_ntoa(address->sin_addr);
        if (!text.starts_with("127.")) {
            return text;
        }
    }
    return "";
}

}  // namespace flux::test
