// Communicators between CPUs.
#pragma once

#include "flux/dist/communicator.h"

namespace flux::dist {

std::unique_ptr<Communicator> make_gloo_communicator(Store& store, const GroupSettings& settings);

}  // namespace flux::dist
