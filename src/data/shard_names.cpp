#include "data/shard_names.h"

#include <algorithm>
#include <array>

namespace flux::data {

bool is_shard_name(std::string_view name) {
    constexpr std::array<std::string_view, 4> kEndings = {".tar", ".tar.gz", ".tgz", ".tar.zst"};
    return std::any_of(kEndings.begin(), kEndings.end(),
                       [&](std::string_view ending) { return name.ends_with(ending); });
}

}  // namespace flux::data
