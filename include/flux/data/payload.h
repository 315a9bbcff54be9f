// The memory of a batch's samples: laid out here, filled here sample by sample, and thinned out
// here when samples are left out.
#pragma once

#include <cstdint>
#include <vector>

#include "flux/data/loader.h"

namespace flux::data {

/// Room for `count` samples.
Payload make_payload(const PayloadShape& shape, int64_t count, bool pinned);

/// Hands out room again that nobody uses any more: fresh pages of a large batch cost several times
/// what filling them does. Page-locked memory comes from LibTorch's own cache, which knows when a
/// copy to the GPU has ended.
class PayloadPool {
public:
    explicit PayloadPool(bool pinned) : pinned_(pinned) {}

    Payload take(const PayloadShape& shape, int64_t count);

private:
    const bool pinned_;
    std::vector<Payload> known_;
};

/// Moves or copies a sample to its place. A sample of another shape is a bug of the data set. Safe
/// to call for different places from several threads.
void store_sample(Payload& payload, int64_t place, Sample& sample);

/// Only the samples at `places`, in this order.
Payload select_samples(const Payload& payload, const std::vector<int64_t>& places);

}  // namespace flux::data
