#include "support/python.h"

#include <cstdlib>

#include "support/process.h"
#include "support/reference.h"

namespace flux::test {

std::filesystem::path python() {
    if (const char* named = std::getenv("FLUX_PYTHON")) {
        return named;
    }
    const std::filesystem::path own =
        std::filesystem::path(FLUX_SOURCE_DIR) / ".deps/venv/bin/python";
    return std::filesystem::exists(own) ? own : "/usr/bin/python3";
}

bool python_has(const std::string& package) {
    const TemporaryFolder folder;
    return run_python({"-c", "import " + package}, folder.path() / "out") == 0;
}

int run_python(const std::vector<std::string>& arguments, const std::filesystem::path& log) {
    return wait_for(start_program(python(), arguments, log));
}

}  // namespace flux::test
