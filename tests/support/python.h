// The Python that tests ask what other programs make of our files: FLUX_PYTHON, else that of
// .deps/venv, where set-up puts such programs, else python3.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace flux::test {

std::string python();

/// Whether python() has the module.
bool python_has(const std::string& module);

struct PythonRun {
    int exit_code = 0;
    std::string out;  // stdout
};

PythonRun run_python(std::vector<std::string> arguments);

/// Runs a script of tests/support and returns the JSON that it prints. Throws Error with what it
/// said instead.
nlohmann::json ask_python(const std::string& script, const std::vector<std::string>& arguments);

}  // namespace flux::test

/// Leaves the test as skipped, with the reason, where Python lacks the module.
#define FLUX_SKIP_WITHOUT_PYTHON_MODULE(module)                                              \
    if (!flux::test::python_has(module)) {                                                   \
        GTEST_SKIP() << "needs the Python package " module ": run scripts/setup.sh, or set " \
                     << "FLUX_PYTHON to a Python that has it";                               \
    }
