// The measurements behind a train line: time spent in named work, throughput, memory in use, and
// the peak speed of a GPU that MFU is measured against.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace flux::metrics {

/// Seconds since this process was started by the system (not since its first use of a clock).
double process_seconds();

/// Adds up the time of the work that its scopes enclose.
class WorkTimer {
public:
    class Scope {
    public:
        explicit Scope(WorkTimer& timer) : timer_(timer), start_(Clock::now()) {}
        ~Scope() { timer_.total_ += Clock::now() - start_; }
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

    private:
        using Clock = std::chrono::steady_clock;
        WorkTimer& timer_;
        Clock::time_point start_;
    };

    /// `const auto scope = timer.measure();` counts until the end of the block.
    [[nodiscard]] Scope measure() { return Scope(*this); }
    double seconds() const { return std::chrono::duration<double>(total_).count(); }
    void reset() { total_ = {}; }

private:
    std::chrono::steady_clock::duration total_{};
};

/// Throughput between two log lines. Validation, checkpoints and sampling lie outside its scopes
/// and so do not slow the figures down; waiting for data lies inside a step.
class ThroughputMeter {
public:
    struct Reading {
        double seconds = 0;        // spent in steps
        double samples_per_s = 0;  // 0 without a step
        double flops_per_s = 0;
        double data_wait = 0;  // share of the step time, 0..1
    };

    [[nodiscard]] WorkTimer::Scope step() { return step_.measure(); }
    [[nodiscard]] WorkTimer::Scope data_wait() { return data_wait_.measure(); }
    void add_samples(int64_t count) { samples_ += count; }
    /// Work of this process's passes: samples may differ in it.
    void add_flops(double count) { flops_ += count; }

    /// The figures since the last call.
    Reading take();

private:
    WorkTimer step_, data_wait_;
    int64_t samples_ = 0;
    double flops_ = 0;
};

struct MemoryUse {
    double gib = 0;
    double percent = 0;  // of what there is
};

MemoryUse memory_use(size_t used_bytes, size_t total_bytes);

/// Resident memory of this process against the memory of the machine.
MemoryUse host_memory();

/// Dense bf16 peak of one GPU in TFLOP/s by the name its driver reports ("NVIDIA H200"); nothing
/// for a device that is not in the table.
std::optional<double> peak_tflops(std::string_view device_name);

}  // namespace flux::metrics
