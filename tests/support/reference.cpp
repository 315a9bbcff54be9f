#include "support/reference.h"

#include <cstdlib>

#include "flux/base/error.h"

namespace flux::test {

std::optional<std::filesystem::path> reference_dir() {
    const char* value = std::getenv("FLUX_REFERENCE_DIR");
    if (value == nullptr || *value == '\0') {
        return std::nullopt;
    }
    if (!std::filesystem::is_directory(value)) {
        fail("FLUX_REFERENCE_DIR = {}: is not a folder", value);
    }
    return value;
}

std::filesystem::path model_fixtures() {
    const auto reference = reference_dir();
    return reference ? *reference / "model"
                     : std::filesystem::path(FLUX_SOURCE_DIR) / "tests/data/model";
}

TemporaryFolder::TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "flux_test.XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
        fail("{}: cannot create a temporary folder", name);
    }
    path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

}  // namespace flux::test
