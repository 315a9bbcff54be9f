// An exponential moving average of the weights, kept in flat shards beside them: less noisy than
// the last step's, and what pictures are drawn with.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <vector>

#include "flux/units/parameter_store.h"

namespace flux::optim {

class Ema {
public:
    /// fp32, one flat tensor a shard, where the shard lies. `decay`: in (0, 1). The values are
    /// undefined until begin() or a checkpoint fills them.
    Ema(double decay, std::span<const units::FlatShard> shards);

    /// Begins at the shards' weights.
    void begin(std::span<const units::FlatShard> shards);

    /// average = decay * average + (1 - decay) * weights, after an optimizer step. When `skip`
    /// (fp32 scalar tensor) is 1 nothing changes.
    void update(std::span<const units::FlatShard> shards, const at::Tensor& skip);

    /// What exchange() needs: memory for the largest shard.
    at::Tensor room() const;
    /// Exchanges the average and the weights; a second time puts both back to the bit. Allocates
    /// nothing, so that memory which runs out leaves no half of it.
    void exchange(units::ParameterStore& parameters, const at::Tensor& room);

    std::vector<at::Tensor>& values() { return values_; }

private:
    double decay_;
    std::vector<at::Tensor> values_;
};

/// Calls `use` while the average stands in for the weights; just so if `ema` is null.
bool with_average(Ema* ema, units::ParameterStore& parameters, const std::function<bool()>& use);

}  // namespace flux::optim
