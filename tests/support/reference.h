// Where the reference fixtures lie. FLUX_REFERENCE_DIR (absolute path of a folder with model/,
// data/, configs/) wins; without it the model fixtures come from tests/data/model and all other
// tests that need a fixture skip visibly.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

namespace flux::test {

/// The folder FLUX_REFERENCE_DIR names, or nothing. A value that is not a folder is an error.
std::optional<std::filesystem::path> reference_dir();

/// Folder of the model fixtures (mmdit_tiny.json, ...).
std::filesystem::path model_fixtures();

/// A fresh folder below the system's temporary folder, removed with the object.
class TemporaryFolder {
public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

}  // namespace flux::test

/// Leaves the test as skipped, with the reason, when the reference fixtures are not at hand.
#define FLUX_SKIP_WITHOUT_REFERENCE()                                                       \
    if (!flux::test::reference_dir()) {                                                     \
        GTEST_SKIP() << "needs fixtures: set FLUX_REFERENCE_DIR to the reference's folder"; \
    }
