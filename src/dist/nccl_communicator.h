// Communicators between GPUs.
#pragma once

#include "flux/dist/communicator.h"

namespace flux::dist {

/// Each has a stream of its own. Throws Error if NCCL cannot be loaded.
std::unique_ptr<Communicator> make_nccl_communicator(Store& store, const GroupSettings& settings);

}  // namespace flux::dist
