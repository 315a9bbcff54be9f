// What a call that must fail says.
#pragma once

#include <string>

#include "flux/base/error.h"

namespace flux::test {

/// The message of the Error that `act` throws; empty if it throws none. problem_of<ConfigError>
/// lets other errors through.
template <class Kind = Error, class Act>
std::string problem_of(const Act& act) {
    try {
        act();
    } catch (const Kind& problem) {
        return problem.what();
    }
    return {};
}

}  // namespace flux::test
