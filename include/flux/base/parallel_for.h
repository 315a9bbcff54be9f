// The same work on many items by several threads: for files, indexes and tools, where the order of
// the results is the order of the items.
#pragma once

#include <cstdint>
#include <functional>

namespace flux {

/// Calls work(i) once for each i in [0, count), from up to `threads` threads. After the first
/// exception no further item is begun, and it is thrown here.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& work);

}  // namespace flux
