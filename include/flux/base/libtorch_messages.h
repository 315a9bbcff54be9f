// LibTorch logs and warns on its own, with traces for its developers. Here people read one message.
#pragma once

namespace flux {

/// LibTorch's warnings to this thread become lines of our log. What it logs besides (the store's
/// and sockets' retries, traces of failures that also reach us as exceptions) is silent, unless
/// TORCH_CPP_LOG_LEVEL asks for it; what it says before it ends the process always shows.
void route_libtorch_messages();

}  // namespace flux
