// Collective operations among a group of processes: NCCL on GPUs, Gloo on CPUs, nothing to do for
// one process.
//
// Every operation starts at once and is waited for later, so that it runs beside the computation.
// All ranks of a group must start the same operations in the same order. On a GPU an operation
// takes its turn after what the current stream holds when it is started, and wait() makes the
// current stream wait, not the host.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "flux/dist/store.h"

namespace flux::dist {

/// An operation under way. Its tensors must live, unchanged, until wait().
class Pending {
public:
    Pending() = default;
    explicit Pending(std::function<void()> finish) : finish_(std::move(finish)) {}
    Pending(Pending&& other) noexcept : finish_(std::exchange(other.finish_, nullptr)) {}
    Pending& operator=(Pending&& other) noexcept {
        finish_ = std::exchange(other.finish_, nullptr);
        return *this;
    }

    bool is_open() const { return finish_ != nullptr; }
    /// Once; afterwards and for an empty one nothing happens. Throws LostPeer.
    void wait() {
        if (finish_) {
            std::exchange(finish_, nullptr)();
        }
    }

private:
    std::function<void()> finish_;
};

/// Bytes that a rank has sent, by the ring algorithm's count: what every algorithm must send at
/// least, n being the group's size:
///   all-gather (n - 1) * input, reduce-scatter (n - 1) / n * input, all-reduce 2 (n - 1) / n *
///   data.
struct Traffic {
    int64_t all_gather = 0;
    int64_t reduce_scatter = 0;
    int64_t all_reduce = 0;
    int64_t operations = 0;

    int64_t total() const { return all_gather + reduce_scatter + all_reduce; }

    // One operation, from its bytes on this rank: of the part that it gives or gets, or of `data`.
    void add_all_gather(int64_t part, int64_t size) {
        all_gather += part * (size - 1);
        ++operations;
    }
    void add_reduce_scatter(int64_t part, int64_t size) {
        reduce_scatter += part * (size - 1);
        ++operations;
    }
    void add_all_reduce(int64_t data, int64_t size) {
        all_reduce += 2 * data * (size - 1) / size;
        ++operations;
    }
};

class Communicator {
public:
    virtual ~Communicator() = default;
    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;

    int rank() const { return rank_; }
    int size() const { return size_; }
    /// Where the tensors must be; any device for one process.
    c10::Device device() const { return device_; }

    /// Every rank's `input` [n], in rank order, in `output` [size * n]. `input` may be this rank's
    /// part of `output`.
    Pending all_gather(const at::Tensor& output, const at::Tensor& input);
    /// This rank's part of the sum of all ranks' `input` [size * n] in `output` [n].
    Pending reduce_scatter(const at::Tensor& output, const at::Tensor& input);
    /// The sum of all ranks' `data`, in place; bit-equal on all ranks.
    Pending all_reduce(const at::Tensor& data);

    const Traffic& traffic() const { return traffic_; }

    /// Longest wait for the other ranks from now on.
    virtual void set_timeout(std::chrono::milliseconds timeout) = 0;

protected:
    Communicator(int rank, int size, c10::Device device)
        : rank_(rank), size_(size), device_(device) {}

private:
    virtual Pending start_all_gather(const at::Tensor& output, const at::Tensor& input) = 0;
    virtual Pending start_reduce_scatter(const at::Tensor& output, const at::Tensor& input) = 0;
    virtual Pending start_all_reduce(const at::Tensor& data) = 0;

    int rank_;
    int size_;
    c10::Device device_;
    Traffic traffic_;
};

struct GroupSettings {
    std::string name;  // the same on all its ranks, another one for every group
    int rank = 0;      // within the group
    int size = 1;
    c10::Device device = c10::Device(c10::DeviceType::CPU);
    std::chrono::milliseconds timeout{};
};

/// A group of its own; all its ranks must call. Throws LostPeer if they do not within the timeout.
std::unique_ptr<Communicator> make_communicator(Store& store, const GroupSettings& settings);

/// The group of one process.
std::unique_ptr<Communicator> make_lone_communicator();

}  // namespace flux::dist
