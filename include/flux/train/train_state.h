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

/// Pieces to save: parameters and, with `optimizer`, its moments.
std::vector<checkpoint::Piece> checkpoint_pieces(const units::ParameterStore& parameters,
                                                 optim::AdamW* optimizer);

/// Fills parameters and, with `optimizer`, moments and step count. Throws Error naming the tensor
/// and both shapes when the checkpoint is of another model.
void restore(checkpoint::Checkpoint& from, units::ParameterStore& parameters,
             optim::AdamW* optimizer);

}  // namespace flux::train
