#include "flux/base/nearest.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace flux {
namespace {

/// Levenshtein distance.
size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t replaced = diagonal + (a[i - 1] != b[j - 1] ? 1 : 0);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
        }
    }
    return row.back();
}

}  // namespace

std::optional<std::string> nearest(std::string_view name, std::span<const std::string> known) {
    size_t best = std::max<size_t>(2, name.size() / 3) + 1;
    std::optional<std::string> found;
    for (const std::string& candidate : known) {
        if (const size_t distance = edit_distance(name, candidate); distance < best) {
            best = distance;
            found = candidate;
        }
    }
    return found;
}

std::string did_you_mean(std::string_view name, std::span<const std::string> known) {
    const auto close = nearest(name, known);
    return close ? fmt::format("; did you mean {}?", *close) : "";
}

}  // namespace flux
