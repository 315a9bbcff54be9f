#include "data/retries.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux::data {

void Retries::after_failure(const std::string& problem, double asked_s) {
    ++attempts_;
    idle_ = file_.size() > size_before_ ? 0 : idle_ + 1;
    if (idle_ == settings_.attempts || attempts_ == settings_.most_attempts) {
        fail(
            "{}: given up after {} attempts that brought nothing: {}; start again to go on at "
            "byte {}",
            url_, idle_, problem, file_.size());
    }
    const double doubled = settings_.first_delay_s * std::pow(2.0, std::min(idle_, 20));
    const double delay_s = std::min(std::max(doubled, asked_s), settings_.most_delay_s);
    log::warning("{}: {}; going on at byte {} in {:.1f} s", url_, problem, file_.size(), delay_s);
    std::this_thread::sleep_for(std::chrono::duration<double>(delay_s));
}

}  // namespace flux::data
