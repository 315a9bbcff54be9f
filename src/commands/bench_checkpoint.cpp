// `bench checkpoint`: saves and loads the state of a configuration's training (weights and moments)
// as training does, beside writing and reading as many bytes of one file; and training steps while
// a checkpoint is saved in the background, beside steps alone.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "commands/bench_tools.h"
#include "commands/scratch_folder.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/checkpoint/load.h"
#include "flux/checkpoint/save.h"
#include "flux/checkpoint/saver.h"
#include "flux/train/execution.h"
#include "flux/train/synthetic.h"
#include "flux/train/train_state.h"
#include "flux/train/train_step.h"

namespace flux::commands {
namespace {

namespace fs = std::filesystem;

struct Options {
    std::string out = ".";
    int64_t repeats = 3;
    int64_t steps = 0;
    std::string json;
};

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

/// How much of a file the page cache holds, 0 to 1.
double cached_share(const fs::path& path) {
    const MappedFile file(path);
    const auto bytes = file.bytes();
    const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    std::vector<unsigned char> pages((bytes.size() + page - 1) / page);
    if (pages.empty()) {
        return 0;
    }
    if (::mincore(const_cast<std::byte*>(bytes.data()), bytes.size(), pages.data()) != 0) {
        fail("{}: cannot see what is in the page cache: {}", path.string(), std::strerror(errno));
    }
    const auto there = std::count_if(pages.begin(), pages.end(),
                                     [](unsigned char flags) { return (flags & 1u) != 0; });
    return static_cast<double>(there) / static_cast<double>(pages.size());
}

/// Takes the file out of the page cache; returns the share that stays there nevertheless.
double drop_cache(const fs::path& path) {
    const OpenFile file(path, O_RDONLY);
    ::posix_fadvise(file.handle(), 0, 0, POSIX_FADV_DONTNEED);
    return cached_share(path);
}

constexpr size_t kBlock = size_t{4} << 20;

/// What `dd conv=fdatasync` does. The bytes are drawn: a disk may be quicker with equal ones.
void write_plain(const fs::path& path, uint64_t bytes) {
    std::vector<char> block(kBlock);
    std::generate(block.begin(), block.end(),
                  [draw = std::minstd_rand()]() mutable { return static_cast<char>(draw() >> 8); });
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

/// The state of a training, as it is saved.
struct State {
    explicit State(const train::ResolvedJob& job)
        : model(job.model, job.store(nullptr), train::recompute_policy(job.config),
                train::execution(job.config)),
          optimizer(job.config.optimizer, model.parameters().shards(), model.path()) {
        model.parameters().initialize(job.seed);
    }
    std::vector<checkpoint::Piece> pieces() {
        return train::checkpoint_pieces(model.parameters(), &optimizer, nullptr);
    }
    uint64_t bytes() {
        uint64_t sum = 0;
        for (const checkpoint::Piece& piece : pieces()) {
            sum += piece.data.nbytes();
        }
        return sum;
    }

    model::Mmdit model;
    optim::AdamW optimizer;
};

checkpoint::RunState run_at(int64_t step) {
    checkpoint::RunState run;
    run.step = step;
    return run;
}

struct Speeds {
    std::vector<double> save_s, load_s, write_s, read_s;
    uint64_t bytes = 0;
    double cached = 0;  // the largest share of a file that was in the page cache when it was read
};

/// In turn, and in the order A B B A: a disk has moods, and memory that was just freed is quicker
/// to get. Each round begins with both files removed.
Speeds measure_disk(State& state, const fs::path& folder, int64_t repeats) {
    const fs::path plain = folder / "plain";
    Speeds speeds;
    for (int64_t i = 1; i <= repeats; ++i) {
        fs::path saved;
        const auto save = [&] {
            speeds.save_s.push_back(seconds_of([&] {
                saved = checkpoint::save(folder, run_at(i), state.pieces(), /*keep_latest_k=*/0);
            }));
        };
        const auto write = [&] {
            speeds.write_s.push_back(seconds_of([&] { write_plain(plain, state.bytes()); }));
        };
        if (i % 2 == 1) {
            save();
            write();
        } else {
            write();
            save();
        }
        speeds.bytes = 0;
        for (const auto& entry : fs::directory_iterator(saved)) {
            speeds.bytes += entry.file_size();
            speeds.cached = std::max(speeds.cached, drop_cache(entry.path()));
        }
        speeds.cached = std::max(speeds.cached, drop_cache(plain));
        const auto load = [&] {
            speeds.load_s.push_back(seconds_of([&] {
                checkpoint::Checkpoint from(saved);
                train::restore(from, state.model.parameters(), &state.optimizer);
            }));
        };
        const auto read = [&] { speeds.read_s.push_back(seconds_of([&] { read_plain(plain); })); };
        if (i % 2 == 1) {
            load();
            read();
        } else {
            read();
            load();
        }
        fs::remove(plain);
        fs::remove_all(saved);
        ::syncfs(OpenFile(folder, O_RDONLY).handle());  // what freeing them costs is no one's
    }
    constexpr double kNoise = 0.01;
    if (speeds.cached > kNoise) {
        log::warning(
            "bench checkpoint: {:.0f} % of a file stayed in memory: what was read is no figure of "
            "the disk; choose a folder on another file system with --out",
            100 * speeds.cached);
    }
    return speeds;
}

/// Of each save in the background.
struct Background {
    double step_s = 0;            // without it, median
    std::vector<double> stall_s;  // until training goes on
    std::vector<double> save_s;   // until the checkpoint is complete, in whole steps
    std::vector<double> share;    // by which the steps beside it take longer
    std::vector<double> cost_s;   // of all that training lost
};

Background measure_background(State& state, const train::ResolvedJob& job, const fs::path& folder,
                              const Options& options) {
    const encoders::MicroBatch batch = train::synthetic_batch(job);
    const auto step = [&] {
        return seconds_of([&] {
            train::train_step({state.model, state.optimizer},
                              {.global_batch_size = job.global_batch_size,
                               .micro_batches = job.micro_batches(),
                               .max_norm = job.config.training.max_norm},
                              job.config.optimizer.lr, [&] { return batch; })
                .loss.item<double>();  // waits for the step
        });
    };
    const auto mode = job.config.checkpoint.async_mode;
    checkpoint::Saver saver(
        {.folder = folder,
         .keep_latest_k = 1,
         .mode = mode == config::AsyncMode::kDisabled ? config::AsyncMode::kAsync : mode});
    const auto await = [&] {
        while (saver.is_saving()) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    };
    saver.save(run_at(0), state.pieces(), /*now=*/false);  // its copies get their memory
    step();
    await();
    Background found;
    std::vector<double> alone;
    for (int64_t i = 1; i <= options.repeats; ++i) {
        for (int64_t n = 0; n < options.steps; ++n) {
            alone.push_back(step());
        }
        std::vector<double> beside;
        const double stall = seconds_of([&] { saver.save(run_at(i), state.pieces(), false); });
        do {
            beside.push_back(step());
        } while (saver.is_saving());
        const double all = std::accumulate(beside.begin(), beside.end(), 0.0);
        found.step_s = median_of(alone);
        const double undisturbed = found.step_s * static_cast<double>(beside.size());
        found.stall_s.push_back(stall);
        found.save_s.push_back(stall + all);
        found.share.push_back(all / undisturbed - 1);
        found.cost_s.push_back(stall + all - undisturbed);
    }
    return found;
}

nlohmann::ordered_json disk_json(const Speeds& speeds) {
    const double gigabytes = static_cast<double>(speeds.bytes) * 1e-9;
    const double save = gigabytes / median_of(speeds.save_s);
    const double load = gigabytes / median_of(speeds.load_s);
    const double write = gigabytes / median_of(speeds.write_s);
    const double read = gigabytes / median_of(speeds.read_s);
    return {{"bench", "checkpoint"},      {"gigabytes", gigabytes},    {"save_gbs", save},
            {"write_gbs", write},         {"load_gbs", load},          {"read_gbs", read},
            {"save_share", save / write}, {"load_share", load / read}, {"cached", speeds.cached},
            {"save_s", speeds.save_s},    {"write_s", speeds.write_s}, {"load_s", speeds.load_s},
            {"read_s", speeds.read_s}};
}

/// `interval`: steps from one save to the next.
void add_background(nlohmann::ordered_json& line, const Background& found, int64_t interval) {
    const double cost = median_of(found.cost_s);
    line["step_s"] = found.step_s;
    line["async_stall_s"] = median_of(found.stall_s);
    line["async_save_s"] = median_of(found.save_s);
    line["async_step_share"] = median_of(found.share);
    line["async_cost_s"] = cost;
    line["interval"] = interval;
    line["async_interval_share"] = cost / (static_cast<double>(interval) * found.step_s);
}

void check(const Options& options) {
    check_between("bench checkpoint", "--repeats", options.repeats, 1, 1000);
    check_between("bench checkpoint", "--steps", options.steps, 0, 1'000'000);
    check_free(options.json);
    check_alone("bench checkpoint");
}

}  // namespace

int bench_checkpoint(const Words& words) {
    Options options;
    const std::vector<config::Flag> flags{
        {"out", "DIR", "where the disk is measured (default: here); nothing stays", &options.out},
        {"repeats", "N", "of each; medians are shown (default 3)", &options.repeats},
        {"steps", "N",
         "training steps between saves in the background, beside which others are measured "
         "(default 0: none)",
         &options.steps},
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
    check(options);
    run_job(config::load_config(command_line), [&](const train::ResolvedJob& job, dist::World&) {
        State state(job);
        const ScratchFolder scratch(options.out);
        auto line = disk_json(measure_disk(state, scratch.path(), options.repeats));
        if (options.steps > 0) {
            add_background(line, measure_background(state, job, scratch.path(), options),
                           job.config.checkpoint.interval);
        }
        print_line(line, options.json);
    });
    return 0;
}

}  // namespace flux::commands
