// What a checkpoint holds, as text for people.
#pragma once

#include <string>

#include "flux/checkpoint/load.h"

namespace flux::checkpoint {

/// Where its run stands, totals by kind, its files, and each tensor with shape, dtype and the
/// slices it lies in, with their checksums.
std::string inspection_text(const Checkpoint& checkpoint);

}  // namespace flux::checkpoint
