#include "flux/base/error.h"

#include <c10/util/Exception.h>

#include <new>
#include <string_view>
#include <system_error>

#include "flux/base/out_of_memory.h"

namespace flux {
namespace {

constexpr const char* kOutOfMemory =
    "out of memory: lower training.batch_size (training.global_batch_size keeps the step's size) "
    "or set activation_checkpoint.mode = \"full\" and activation_checkpoint.keep_results = false";

}  // namespace

bool is_out_of_memory(const std::exception& problem) {
    const std::string_view text = problem.what();
    return dynamic_cast<const std::bad_alloc*>(&problem) != nullptr ||
           dynamic_cast<const c10::OutOfMemoryError*>(&problem) != nullptr ||
           (dynamic_cast<const c10::Error*>(&problem) != nullptr &&
            (text.find("not enough memory") != std::string_view::npos ||
             text.find("can't allocate memory") != std::string_view::npos));
}

std::string failure_text(const std::exception& problem) {
    if (is_out_of_memory(problem)) {
        const auto* torch = dynamic_cast<const c10::Error*>(&problem);
        const std::string text =
            torch == nullptr ? problem.what() : torch->what_without_backtrace();
        return text.empty() || text.starts_with("std::bad_")
                   ? kOutOfMemory
                   : fmt::format("{}: {}", kOutOfMemory, text.substr(0, text.find('\n')));
    }
    // Of a file system's or a thread's failure the message names place and reason.
    if (dynamic_cast<const Error*>(&problem) != nullptr ||
        dynamic_cast<const std::system_error*>(&problem) != nullptr) {
        return problem.what();
    }
    if (const auto* torch = dynamic_cast<const c10::Error*>(&problem)) {
        // The first line of its stack says where; the others name addresses only.
        const std::string stack = torch->backtrace() ? torch->backtrace()->get() : "";
        return fmt::format("internal error: {} ({})", torch->what_without_backtrace(),
                           stack.substr(0, stack.find(" (most recent")));
    }
    return fmt::format("internal error: {}", problem.what());
}

}  // namespace flux
