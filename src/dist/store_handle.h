// LibTorch's TCPStore behind dist::Store.
#pragma once

#include <torch/csrc/distributed/c10d/Store.hpp>

#include "flux/dist/store.h"

namespace flux::dist {

struct Store::Handle {
    c10::intrusive_ptr<c10d::Store> store;
};

}  // namespace flux::dist
