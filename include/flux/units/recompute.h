// Which units run again in backward instead of keeping their activations.
#pragma once

#include <cstddef>

namespace flux::units {

struct RecomputePolicy {
    /// Share of the units that run again, spread evenly: 0 none, 1 all, 0.5 every second.
    double fraction = 0.0;
    /// Whether such a unit keeps its Memo besides its input.
    bool keeps_results = true;

    static RecomputePolicy none() { return {.fraction = 0.0}; }
    static RecomputePolicy full() { return {.fraction = 1.0}; }
    static RecomputePolicy every_nth(int n) { return {.fraction = 1.0 / n}; }

    /// Unit `i`: the running total of recomputed units follows fraction * (i + 1).
    bool recomputes(size_t i) const;
};

}  // namespace flux::units
