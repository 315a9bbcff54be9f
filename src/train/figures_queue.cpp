#include "flux/train/figures_queue.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <utility>

namespace flux::train {

int64_t figures_lag(c10::Device device) { return device.is_cuda() ? 2 : 0; }

FiguresQueue::FiguresQueue(int64_t lag, c10::Device device) : lag_(lag), device_(device) {
    const auto options = at::TensorOptions().dtype(at::kFloat).pinned_memory(device.is_cuda());
    for (int64_t i = 0; i <= lag; ++i) {
        slots_.push_back(at::empty({kStepScalars}, options));
    }
}

void FiguresQueue::add(const StartedStep& step, const at::Tensor& scalars) {
    TORCH_CHECK(unread_.size() < slots_.size(), "step ", step.step, ": ", unread_.size(),
                " steps before it are unread, there is room for ", slots_.size());
    Entry entry{.step = step, .slot = next_slot_++ % slots_.size(), .copied = std::nullopt};
    slots_[entry.slot].copy_(scalars, /*non_blocking=*/true);
    if (!device_.is_cpu()) {
        entry.copied.emplace(device_.type());
        entry.copied->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
    }
    unread_.push_back(std::move(entry));
}

std::optional<ReadStep> FiguresQueue::take(bool all) {
    if (unread_.empty() || (!all && std::cmp_less_equal(unread_.size(), lag_))) {
        return std::nullopt;
    }
    const Entry entry = std::move(unread_.front());
    unread_.pop_front();
    if (entry.copied) {
        entry.copied->synchronize();
    }
    const float* const scalars = slots_[entry.slot].const_data_ptr<float>();
    return ReadStep{.started = entry.step,
                    .loss = scalars[0],
                    .grad_norm = scalars[1],
                    .skipped = scalars[2] != 0,
                    .stop = scalars[3] > 0,
                    .bad = std::llround(scalars[4])};
}

}  // namespace flux::train
