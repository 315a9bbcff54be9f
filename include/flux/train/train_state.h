// What a checkpoint holds of a run: the parameters, their average and the optimizer's moments, by
// their published names.
#pragma once

#include <filesystem>
#include <vector>

#include "flux/checkpoint/load.h"
#include "flux/checkpoint/save.h"
#include "flux/optim/adamw.h"
#include "flux/optim/ema.h"
#include "flux/units/parameter_store.h"

namespace flux::train {

/// What this process has to save: parameters and, with `optimizer` and `ema`, their moments and
/// average. Each element is among the pieces of exactly one process.
std::vector<checkpoint::Piece> checkpoint_pieces(units::ParameterStore& parameters,
                                                 optim::AdamW* optimizer,
                                                 optim::Ema* ema = nullptr);

/// Fills this process's part of parameters and, with `optimizer`, moments and step count, with
/// `ema`, the average, which begins at the parameters, with a warning, where the checkpoint has
/// none. Throws Error naming the tensor and both shapes when the checkpoint is of another model.
void restore(checkpoint::Checkpoint& from, units::ParameterStore& parameters,
             optim::AdamW* optimizer, optim::Ema* ema = nullptr);

/// Fills this process's part of the parameters with the checkpoint's averaged ones, which it has.
void restore_average(checkpoint::Checkpoint& from, units::ParameterStore& parameters);

}  // namespace flux::train
