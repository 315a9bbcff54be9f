#include "flux/base/parallel_for.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace flux {

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& work) {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::exception_ptr failure;
    {
        std::vector<std::jthread> workers;
        for (int64_t i = 0; i < std::min<int64_t>(std::max(threads, 1), count); ++i) {
            workers.emplace_back([&] {
                try {
                    for (int64_t item = next++; item < count; item = next++) {
                        work(item);
                    }
                } catch (...) {
                    next = count;
                    const std::lock_guard lock(mutex);
                    failure = failure ? failure : std::current_exception();
                }
            });
        }
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
}

}  // namespace flux
