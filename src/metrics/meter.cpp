#include "flux/metrics/meter.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <sstream>
#include <string>

#include "flux/base/error.h"

namespace flux::metrics {
namespace {

struct Peak {
    std::string_view name;  // part of the driver's name, in lower case
    double tflops;
};

// Dense bf16, as the makers' data sheets give it. Longer names first: "GB200" contains "B200".
constexpr std::array<Peak, 7> kPeaks = {{
    {"gb300", 2500},
    {"gb200", 2500},
    {"b200", 2250},
    {"h200", 989},
    {"h100", 989},
    {"mi300x", 1307},
    {"a100", 312},
}};

/// The given field of /proc/self/stat, counted from 1 as in proc(5). The second one is a name in
/// parentheses that may contain anything, so counting begins after it.
std::string stat_field(int number) {
    std::ifstream file("/proc/self/stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const size_t end_of_name = text.rfind(')');
    if (end_of_name == std::string::npos) {
        fail("/proc/self/stat: cannot be read: is /proc mounted?");
    }
    std::istringstream fields(text.substr(end_of_name + 1));
    std::string field;
    for (int i = 3; i <= number; ++i) {
        fields >> field;
    }
    return field;
}

constexpr int kStatStartTime = 22;  // in clock ticks since the system's start

}  // namespace

double process_seconds() {
    static const double started =
        std::stod(stat_field(kStatStartTime)) / static_cast<double>(::sysconf(_SC_CLK_TCK));
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    const double up = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
    return std::max(0.0, up - started);
}

ThroughputMeter::Reading ThroughputMeter::take() {
    Reading reading;
    reading.seconds = step_.seconds();
    if (reading.seconds > 0) {
        reading.samples_per_s = static_cast<double>(samples_) / reading.seconds;
        reading.flops_per_s = flops_ / reading.seconds;
        reading.data_wait = std::min(1.0, data_wait_.seconds() / reading.seconds);
    }
    step_.reset();
    data_wait_.reset();
    samples_ = 0;
    flops_ = 0;
    return reading;
}

MemoryUse memory_use(size_t used_bytes, size_t total_bytes) {
    constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
    const double used = static_cast<double>(used_bytes);
    return {.gib = used / kGib,
            .percent = total_bytes == 0 ? 0 : 100 * used / static_cast<double>(total_bytes)};
}

MemoryUse host_memory() {
    std::ifstream file("/proc/self/statm");
    size_t all_pages = 0;
    size_t resident_pages = 0;
    if (!(file >> all_pages >> resident_pages)) {
        fail("/proc/self/statm: cannot be read: is /proc mounted?");
    }
    const auto page_bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const auto total_pages = static_cast<size_t>(::sysconf(_SC_PHYS_PAGES));
    return memory_use(resident_pages * page_bytes, total_pages * page_bytes);
}

std::optional<double> peak_tflops(std::string_view device_name) {
    std::string name(device_name);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (const Peak& peak : kPeaks) {
        if (name.find(peak.name) != std::string::npos) {
            return peak.tflops;
        }
    }
    return std::nullopt;
}

}  // namespace flux::metrics
