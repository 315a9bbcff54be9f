// Saves a run's checkpoints, at once or while training goes on.
#pragma once

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "flux/checkpoint/save.h"
#include "flux/config/job_config.h"

namespace flux::checkpoint {

struct SaverSettings {
    std::filesystem::path folder;
    int64_t keep_latest_k = 0;  // 0: all
    config::AsyncMode mode = config::AsyncMode::kDisabled;
    SaveGroup group{};
};

class Saver {
public:
    explicit Saver(SaverSettings settings);
    /// Waits for the checkpoint under way.
    ~Saver();
    Saver(const Saver&) = delete;
    Saver& operator=(const Saver&) = delete;

    /// In an asynchronous mode: waits for the former checkpoint, copies the pieces to host memory
    /// and returns; a failure, of whatever kind, is logged and training goes on. Else, and
    /// with `now`: returns when the checkpoint is complete; throws as checkpoint::save() does.
    void save(const RunState& run, std::vector<Piece> pieces, bool now);

    /// Whether a checkpoint is under way in the background.
    bool is_saving() const { return saving_; }

private:
    void finish();
    void stage(std::vector<Piece>& pieces);
    void write(const RunState& run, const std::vector<Piece>& pieces);

    SaverSettings settings_;
    std::vector<at::Tensor> staged_;  // host memory, kept from save to save
    std::atomic<bool> saving_{false};
    std::thread thread_;
};

}  // namespace flux::checkpoint
