// `bench checkpoint`: saves and loads the state of a configuration's training (weights and moments)
// as training does, beside writing and reading as many bytes of one file.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands/bench_tools.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/checkpoint/load.h"
#include "flux/checkpoint/save.h"
#include "flux/config/validate.h"
#include "flux/model/mmdit.h"
#include "flux/optim/adamw.h"
#include "flux/train/job.h"
#include "flux/train/train_state.h"

namespace flux::commands {
namespace {

namespace fs = std::filesystem;

struct Options {
    std::string out = ".";
    int64_t repeats = 3;
    std::string json;
};

double seconds_of(const std::function<void()>& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// An open file that is closed.
class OpenFile {
public:
    OpenFile(const fs::path& path, int flags)
        : path_(path), handle_(::open(path.c_str(), flags, 0600)) {
        check(handle_, "open");
    }
    ~OpenFile() { ::close(handle_); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    int handle() const { return handle_; }
    void check(int64_t result, const char* what) const {
        if (result < 0) {
            fail("{}: cannot {}: {}", path_.string(), what, std::strerror(errno));
        }
    }

private:
    fs::path path_;
    int handle_;
};

/// Takes the file out of the page cache.
void drop_cache(const fs::path& path) {
    const OpenFile file(path, O_RDONLY);
    ::posix_fadvise(file.handle(), 0, 0, POSIX_FADV_DONTNEED);
}

constexpr size_t kBlock = size_t{4} << 20;

/// What `dd conv=fdatasync` does.
void write_plain(const fs::path& path, uint64_t bytes) {
    const std::vector<char> block(kBlock, 'x');
    const OpenFile file(path, O_WRONLY | O_CREAT | O_TRUNC);
    for (uint64_t left = bytes; left > 0;) {
        const ssize_t written =
            ::write(file.handle(), block.data(), std::min<uint64_t>(left, kBlock));
        file.check(written, "write");
        left -= static_cast<uint64_t>(written);
    }
    file.check(::fdatasync(file.handle()), "write");
}

void read_plain(const fs::path& path) {
    std::vector<char> block(kBlock);
    const OpenFile file(path, O_RDONLY);
    ssize_t got = 0;
    do {
        got = ::read(file.handle(), block.data(), block.size());
        file.check(got, "read");
    } while (got > 0);
}

struct Speeds {
    std::vector<double> save_s, load_s, write_s, read_s;
    uint64_t bytes = 0;
};

Speeds measure(const config::JobConfig& config, const Options& options) {
    model::Mmdit model(train::model_dimensions(config), {}, units::RecomputePolicy::none());
    model.parameters().initialize(1);
    optim::AdamW optimizer(config.optimizer, model.parameters().shards());
    const ScratchFolder scratch(options.out);
    const fs::path plain = scratch.path() / "plain";
    Speeds speeds;
    for (int64_t i = 1; i <= options.repeats; ++i) {  // in turn: a disk has moods
        fs::path saved;
        checkpoint::RunState run;
        run.step = i;
        speeds.save_s.push_back(seconds_of([&] {
            saved =
                checkpoint::save(scratch.path(), run,
                                 train::checkpoint_pieces(model.parameters(), &optimizer, nullptr),
                                 /*keep_latest_k=*/1);
        }));
        speeds.bytes = 0;
        for (const auto& entry : fs::directory_iterator(saved)) {
            speeds.bytes += entry.file_size();
            drop_cache(entry.path());
        }
        speeds.write_s.push_back(seconds_of([&] { write_plain(plain, speeds.bytes); }));
        speeds.load_s.push_back(seconds_of([&] {
            checkpoint::Checkpoint from(saved);
            train::restore(from, model.parameters(), &optimizer);
        }));
        drop_cache(plain);
        speeds.read_s.push_back(seconds_of([&] { read_plain(plain); }));
    }
    return speeds;
}

void report(const Speeds& speeds, const Options& options) {
    const double gigabytes = static_cast<double>(speeds.bytes) * 1e-9;
    const double save = gigabytes / median_of(speeds.save_s);
    const double load = gigabytes / median_of(speeds.load_s);
    const double write = gigabytes / median_of(speeds.write_s);
    const double read = gigabytes / median_of(speeds.read_s);
    const nlohmann::ordered_json line{{"bench", "checkpoint"},      {"gigabytes", gigabytes},
                                      {"save_gbs", save},           {"write_gbs", write},
                                      {"load_gbs", load},           {"read_gbs", read},
                                      {"save_share", save / write}, {"load_share", load / read}};
    print_line(line, options.json);
}

}  // namespace

int bench_checkpoint(const Words& words) {
    Options options;
    const std::vector<config::Flag> flags{
        {"out", "DIR", "where the disk is measured (default: here); nothing stays", &options.out},
        {"repeats", "N", "of each; medians are shown (default 3)", &options.repeats},
        {"json", "FILE", "also writes the figures there", &options.json}};
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train bench checkpoint --job.config_file FILE [--section.key=value "
            "...]\n\n"
            "Saves (to the disk, not its cache) and loads (from the disk) weights and moments, "
            "beside one file of as many bytes.\n\n{}",
            config::flags_help(flags));
        return 0;
    }
    check_between("bench checkpoint", "--repeats", options.repeats, 1, 1000);
    check_free(options.json);
    const config::LoadedConfig loaded = config::load_config(command_line);
    config::with_places(loaded, [&] {
        config::validate(loaded);
        report(measure(loaded.config, options), options);
    });
    return 0;
}

}  // namespace flux::commands
