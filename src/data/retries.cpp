#include "data/retries.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "flux/base/error.h"
#include "flux/base/log.h"

namespace flux::data {

void Retries::begin() {
    check_stop();
    size_before_ = file_.size();
}

void Retries::check_stop() const {
    if (settings_.stop.stop_requested()) {
        fail("{}: stopped at byte {}", url_, file_.size());
    }
}

void Retries::after_failure(const std::string& problem, double asked_s) {
    check_stop();
    ++attempts_;
    idle_ = file_.size() > size_before_ ? 0 : idle_ + 1;
    if (idle_ == settings_.attempts || attempts_ == settings_.most_attempts) {
        const bool idle = idle_ == settings_.attempts;
        fail("{}: given up after {} attempts{}: {}; start again to go on at byte {}", url_,
             idle ? idle_ : attempts_, idle ? " that brought nothing" : "", problem, file_.size());
    }
    const double doubled = settings_.first_delay_s * std::pow(2.0, std::min(idle_, 20));
    const double delay_s = std::min(std::max(doubled, asked_s), settings_.most_delay_s);
    log::warning("{}: {}; going on at byte {} in {:.1f} s", url_, problem, file_.size(), delay_s);
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait_for(lock, settings_.stop, std::chrono::duration<double>(delay_s),
                   [] { return false; });
    check_stop();
}

}  // namespace flux::data
