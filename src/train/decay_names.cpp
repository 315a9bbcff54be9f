// The names by which optimizer.no_weight_decay may call parameters.
#include <algorithm>

#include "flux/base/error.h"
#include "flux/base/glob.h"
#include "flux/model/mmdit.h"
#include "flux/train/job.h"

namespace flux::train {

void check_no_weight_decay(const ResolvedJob& job) {
    const std::vector<std::string>& patterns = job.config.optimizer.no_weight_decay;
    if (patterns.empty()) {
        return;
    }
    std::vector<std::string> names;
    const auto units = model::make_units(job.model);
    for (const auto& unit : units) {
        for (const units::Parameter& parameter : unit->parameters()) {
            names.push_back(parameter.name);
        }
    }
    for (const std::string& pattern : patterns) {
        if (std::none_of(names.begin(), names.end(),
                         [&](const std::string& name) { return matches_glob(pattern, name); })) {
            fail_config(
                "optimizer.no_weight_decay: \"{}\" fits no parameter of this model: patterns are "
                "compared with whole published names, such as {} and {}",
                pattern, names.front(), names.back());
        }
    }
}

}  // namespace flux::train
