#include "flux/train/profiler.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <set>

#include "flux/base/log.h"

namespace flux::train {
namespace {

namespace profiling = torch::autograd::profiler;
using profiling::ActivityType;
using torch::profiler::impl::ProfilerConfig;
using torch::profiler::impl::ProfilerState;

}  // namespace

Profiler::Profiler(const config::Profiling& settings, std::filesystem::path folder, int rank,
                   bool on_gpu)
    : settings_(settings), folder_(std::move(folder)), rank_(rank), on_gpu_(on_gpu) {}

std::unique_ptr<Profiler::Recording> Profiler::record(int64_t step) const {
    if (!settings_.enable_profiling || step % settings_.profile_freq != 0) {
        return nullptr;
    }
    const auto path = folder_ / settings_.save_traces_folder / fmt::format("iteration_{}", step) /
                      fmt::format("rank{}_trace.json", rank_);
    return std::unique_ptr<Recording>(new Recording(path, on_gpu_));
}

Profiler::Recording::Recording(std::filesystem::path path, bool on_gpu) : path_(std::move(path)) {
    const ProfilerConfig config(ProfilerState::KINETO);
    std::set<ActivityType> activities{ActivityType::CPU};
    if (on_gpu) {
        activities.insert(ActivityType::CUDA);
    }
    profiling::prepareProfiler(config, activities);
    profiling::enableProfiler(config, activities,
                              {at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE});
}

Profiler::Recording::~Recording() {
    try {
        const auto result = profiling::disableProfiler();
        std::filesystem::create_directories(path_.parent_path());
        result->save(path_.string());
        log::info("trace: {}", path_.string());
    } catch (const std::exception& problem) {  // a picture of the run, not the run
        log::warning("{}: the trace was not written: {}", path_.string(), problem.what());
    }
}

}  // namespace flux::train
