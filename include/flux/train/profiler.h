// Records what runs when in single steps, as Chrome traces (chrome://tracing, Perfetto): computing,
// gathers and reductions of every unit, on a GPU also its kernels.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "flux/config/job_config.h"

namespace flux::train {

class Profiler {
public:
    /// `folder`: where traces go, as iteration_<step>/rank<rank>_trace.json.
    Profiler(const config::Profiling& settings, std::filesystem::path folder, int rank,
             bool on_gpu);

    /// Records while it lives; nothing unless the 1-based step is one to record.
    class Recording {
    public:
        ~Recording();
        Recording(const Recording&) = delete;
        Recording& operator=(const Recording&) = delete;

    private:
        friend class Profiler;
        Recording(std::filesystem::path path, bool on_gpu);
        std::filesystem::path path_;
    };
    std::unique_ptr<Recording> record(int64_t step) const;

private:
    config::Profiling settings_;
    std::filesystem::path folder_;
    int rank_;
    bool on_gpu_;
};

}  // namespace flux::train
