#include "commands/process_place.h"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "flux/base/error.h"

namespace flux::commands {
namespace {

struct Names {
    const char* rank;
    const char* count;
    const char* local_rank;
};

std::optional<int> number_of(const char* name) {
    const char* text = std::getenv(name);
    if (text == nullptr) {
        return std::nullopt;
    }
    const std::string_view all(text);
    int value = 0;
    const auto [end, error] = std::from_chars(all.data(), all.data() + all.size(), value);
    if (error != std::errc() || end != all.data() + all.size() || value < 0) {
        fail_config("environment: {}={}: must be a number from 0 on", name, all);
    }
    return value;
}

}  // namespace

ProcessPlace process_place() {
    for (const Names& names :
         {Names{"RANK", "WORLD_SIZE", "LOCAL_RANK"},
          Names{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"}}) {
        const auto rank = number_of(names.rank);
        const auto count = number_of(names.count);
        if (!rank && !count) {
            continue;
        }
        if (!rank || !count || *rank >= *count) {
            fail_config("environment: {}={}, {}={}: set both, the first below the second",
                        names.rank, rank ? std::to_string(*rank) : "", names.count,
                        count ? std::to_string(*count) : "");
        }
        return {*rank, *count, number_of(names.local_rank).value_or(*rank)};
    }
    return {};
}

}  // namespace flux::commands
