#include "flux/sample/schedule.h"

#include <cmath>

#include "flux/encoders/encoder.h"

namespace flux::sample {

std::vector<double> schedule(int64_t steps, std::optional<int64_t> shift_tokens) {
    std::vector<double> times;
    for (int64_t i = 0; i <= steps; ++i) {
        double t = 1.0 - static_cast<double>(i) / static_cast<double>(steps);
        if (shift_tokens && t > 0) {
            const double slope = (1.15 - 0.5) / (4096 - 256);
            const double mu = 0.5 + slope * static_cast<double>(*shift_tokens - 256);
            t = std::exp(mu) / (std::exp(mu) + 1 / t - 1);
        }
        times.push_back(t);
    }
    return times;
}

std::optional<int64_t> shift_tokens(config::TimeShift choice, std::string_view flavor,
                                    int64_t image_tokens) {
    switch (choice) {
        case config::TimeShift::kNone:
            return std::nullopt;
        case config::TimeShift::kReference:
            return encoders::kLatentChannels;
        case config::TimeShift::kAuto:
            break;
    }
    return flavor == "flux-dev" ? std::optional(image_tokens) : std::nullopt;
}

}  // namespace flux::sample
