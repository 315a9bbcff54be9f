// Names for stretches of work in a recorded trace (train/profiler.h).
#pragma once

#include <memory>
#include <string_view>

namespace flux::units {

/// From construction to destruction, under "<what> <name>". Costs a look at a flag while nothing is
/// recorded.
class TraceSpan {
public:
    TraceSpan(std::string_view what, std::string_view name);
    ~TraceSpan();
    TraceSpan(const TraceSpan&) = delete;
    TraceSpan& operator=(const TraceSpan&) = delete;

private:
    struct Record;
    std::unique_ptr<Record> record_;
};

}  // namespace flux::units
