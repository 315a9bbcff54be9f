// A server with the files that scripts/download_*.sh ask for, and what they make of them.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/local_server.h"
#include "support/reference.h"

namespace flux::test {

namespace fs = std::filesystem;

inline constexpr const char* kAutoencoder = "black-forest-labs/FLUX.1-schnell";
inline constexpr const char* kShards = "pixparse/cc12m-wds";

inline std::string script(const std::string& name) {
    return fmt::format("{}/scripts/download_{}.sh", FLUX_SOURCE_DIR, name);
}

/// Bytes that no two files share.
inline std::string content(const std::string& name, size_t size) {
    std::string text;
    while (text.size() < size) {
        text += name + std::to_string(text.size());
    }
    return text.substr(0, size);
}

/// The first word that a command prints.
inline std::string word_of(const std::string& command) {
    std::array<char, 128> text{};
    FILE* pipe = ::popen(command.c_str(), "r");
    const bool any = std::fscanf(pipe, "%127s", text.data()) == 1;
    ::pclose(pipe);
    return any ? text.data() : "";
}

class RunDownload : public testing::Test {
protected:
    void serve(const std::vector<std::string>& faults = {}) {
        server_.emplace("python3", "flaky_server.py", served_, folder_.path() / "requests", faults);
    }
    void put(const fs::path& name, const std::string& text) const {
        fs::create_directories((served_ / name).parent_path());
        write_text(served_ / name, text);
    }
    std::string of_server(const fs::path& name) const { return read_text(served_ / name); }

    /// A file of a repository, with its row in the list. Large ones have a sha256, small ones
    /// git's.
    void add_to_hub(const std::string& repository, const std::string& name, const std::string& text,
                    bool large = true) {
        put(in_hub(repository, name), text);
        const std::string path = (served_ / in_hub(repository, name)).string();
        nlohmann::json row{{"type", "file"}, {"path", name}, {"size", text.size()}};
        row["oid"] =
            word_of(fmt::format("(printf 'blob {}\\0'; cat '{}') | sha1sum", text.size(), path));
        if (large) {
            row["lfs"] = {{"oid", word_of(fmt::format("sha256sum '{}'", path))},
                          {"size", text.size()},
                          {"pointerSize", 134}};
            row["oid"] = std::string(40, '0');  // that of the pointer, which we never see
        }
        rows_[repository].push_back(row);
        put_tree(repository);
    }
    void put_tree(const std::string& repository) {
        rows_[repository].push_back({{"type", "directory"}, {"path", "sub"}, {"size", 0}});
        put(tree(repository), rows_[repository].dump());
        rows_[repository].erase(rows_[repository].size() - 1);
    }
    static std::string kind(const std::string& repository) {
        return repository == kShards ? "datasets" : "models";
    }
    static fs::path tree(const std::string& repository) {
        return "api/" + kind(repository) + "/" + repository + "/tree/main?recursive=true";
    }
    static fs::path in_hub(const std::string& repository, const std::string& name) {
        return (repository == kShards ? "datasets/" : "") + repository + "/resolve/main/" + name;
    }

    /// A list as MLCommons publishes them, with files below `base`.
    void add_list(const std::string& name, const std::string& base,
                  const std::map<std::string, std::string>& files) {
        std::string sums;
        for (const auto& [file, text] : files) {
            put(base + "/" + file, text);
            const std::string path = (served_ / base / file).string();
            sums += word_of(fmt::format("md5sum '{}'", path)) + "  " + file + "\n";
        }
        put("metadata/" + name + ".uri", server_->url(base) + "\n");
        put("metadata/" + name + ".md5", sums);
    }

    /// Such a list as files on this side, which suffer no faults; the path of its .uri.
    std::string local_list(const std::map<std::string, std::string>& files) {
        add_list("list", "e", files);
        for (const std::string kind : {"uri", "md5"}) {
            write_text(folder_.path() / ("list." + kind), of_server("metadata/list." + kind));
        }
        return (folder_.path() / "list.uri").string();
    }

    std::string command(const std::string& name, const std::string& arguments) const {
        return fmt::format(
            "HF_ENDPOINT='{0}' MLCOMMONS_ENDPOINT='{0}' '{1}' --local_dir='{2}' --retry_delay=0 "
            "{3}",
            server_->url(), script(name), target_.string(), arguments);
    }
    /// The exit code; what the script said is in said().
    int run(const std::string& name, const std::string& arguments = "") const {
        return run_line(command(name, arguments));
    }
    int run_line(const std::string& line) const {
        return WEXITSTATUS(std::system(fmt::format("{} > '{}' 2>&1", line, log_.string()).c_str()));
    }
    std::string said() const { return read_text(log_); }
    std::string fetched(const fs::path& name) const { return read_text(target_ / name); }
    std::vector<std::string> requests(const std::string& part) const {
        std::istringstream log(server_->log());
        std::vector<std::string> found;
        for (std::string line; std::getline(log, line);) {
            if (line.find(part) != std::string::npos) {
                found.push_back(line);
            }
        }
        return found;
    }

    TemporaryFolder folder_;
    fs::path served_ = folder_.path() / "served";
    fs::path target_ = folder_.path() / "fetched";
    fs::path log_ = folder_.path() / "log";
    std::optional<LocalServer> server_;
    std::map<std::string, nlohmann::json> rows_;
};

}  // namespace flux::test
