#include "flux/units/recompute.h"

#include <cmath>

namespace flux::units {

bool RecomputePolicy::recomputes(size_t i) const {
    // 1e-9: 1/3 three times must reach 1.
    const auto total = [&](size_t units) {
        return std::floor(fraction * static_cast<double>(units) + 1e-9);
    };
    return total(i + 1) > total(i);
}

}  // namespace flux::units
