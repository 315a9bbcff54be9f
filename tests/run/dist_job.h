// A small job of several processes, and what it leaves behind.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "run/job_words.h"

namespace flux::test {

/// A small model on generated pictures; the learning rate does not depend on the number of steps.
Words small_job(const std::filesystem::path& folder, int64_t steps);

/// The training loss of every step.
std::vector<double> losses(const std::filesystem::path& folder);

/// Waits until the run has made so many steps.
void await_step(const std::filesystem::path& folder, size_t steps);

/// How often the ranks of a job have said an error.
size_t errors_in(const std::string& logs);

}  // namespace flux::test
