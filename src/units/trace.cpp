#include "flux/units/trace.h"

#include <ATen/record_function.h>
#include <fmt/format.h>

namespace flux::units {

struct TraceSpan::Record {
    explicit Record(at::StepCallbacks callbacks) : function(std::move(callbacks)) {}
    at::RecordFunction function;
};

TraceSpan::TraceSpan(std::string_view what, std::string_view name) {
    auto callbacks = at::getStepCallbacksUnlessEmpty(at::RecordScope::USER_SCOPE);
    if (callbacks) {
        record_ = std::make_unique<Record>(std::move(*callbacks));
        record_->function.before(fmt::format("{} {}", what, name));
    }
}

TraceSpan::~TraceSpan() = default;

}  // namespace flux::units
