// What a checkpoint holds of a run: the parameters and the optimizer's moments, by their published
// names.
#pragma once

#include <filesystem>
#include <vector>

#include "flux/checkpoint/load.h"
#include "flux/checkpoint/save.h"
#include "flux/optim/adamw.h"
#include "flux/units/parameter_store.h"

namespace flux::train {

/// What this process has to save: parameters and, with `optimizer`, its moments. Each element is
/// among the pieces of exactly one process.
std::vector<checkpoint::Piece> checkpoint_pieces(units::ParameterStore& parameters,
                                                 optim::AdamW* optimizer);

/// Fills this process's part of parameters and, with `optimizer`, moments and step count. Throws
/// Error naming the tensor and both shapes when the checkpoint is of another model.
void restore(checkpoint::Checkpoint& from, units::ParameterStore& parameters,
             optim::AdamW* optimizer);

}  // namespace flux::train
