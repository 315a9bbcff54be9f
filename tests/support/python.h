// The Python interpreter of tests that hold the program against other people's tools. Set-up
// installs them into .deps/venv; FLUX_PYTHON names another interpreter.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace flux::test {

/// FLUX_PYTHON, else that of .deps/venv, else python3.
std::filesystem::path python();

bool python_has(const std::string& package);

/// Runs the interpreter to its end, output to `log`; its exit code.
int run_python(const std::vector<std::string>& arguments, const std::filesystem::path& log);

}  // namespace flux::test

/// Leaves the test as skipped, with the reason, when the interpreter lacks the package.
#define FLUX_SKIP_WITHOUT_PYTHON(package)                                                 \
    if (!flux::test::python_has(package)) {                                               \
        GTEST_SKIP() << "needs Python's " package ": scripts/setup.sh, or set FLUX_PYTHON"; \
    }
