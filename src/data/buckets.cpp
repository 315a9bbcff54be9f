#include "flux/data/buckets.h"

#include <algorithm>
#include <utility>

#include "flux/base/error.h"

namespace flux::data {
namespace {

constexpr size_t kNone = ~size_t{0};

class Sorter {
public:
    Sorter(std::span<const std::optional<PictureSize>> sizes, int side,
           const BucketSettings& settings)
        : sizes_(sizes),
          least_rows_(settings.least_rows),
          shapes_(bucket_shapes(side, settings.step)),
          open_(shapes_.size(), true),
          rows_(shapes_.size()) {
        for (size_t row = 0; row < sizes.size(); ++row) {
            place(row);
        }
    }

    BucketedRows sort() {
        for (size_t smallest = find_smallest(); smallest != kNone; smallest = find_smallest()) {
            open_[smallest] = false;
            for (const size_t row : std::exchange(rows_[smallest], {})) {
                place(row);
            }
        }
        return result();
    }

private:
    void place(size_t row) {
        if (const size_t bucket = nearest(sizes_[row]); bucket != kNone) {
            rows_[bucket].push_back(row);
        }
    }

    /// Ratios are compared by one division each, which rounds alike on every machine.
    size_t nearest(const std::optional<PictureSize>& size) const {
        size_t best = kNone;
        double least = 0;
        for (size_t i = 0; i < shapes_.size(); ++i) {
            const PictureShape& shape = shapes_[i];
            if (!open_[i] || (size && (size->width < shape.width || size->height < shape.height))) {
                continue;
            }
            const double a = (size ? static_cast<double>(size->width) : 1.0) * shape.height;
            const double b = (size ? static_cast<double>(size->height) : 1.0) * shape.width;
            const double distance = std::max(a, b) / std::min(a, b);
            if (best == kNone || distance < least) {
                best = i;
                least = distance;
            }
        }
        return best;
    }

    /// The bucket to give up next; kNone: all are large enough, or only one is left.
    size_t find_smallest() const {
        size_t smallest = kNone;
        int open = 0;
        for (size_t i = 0; i < shapes_.size(); ++i) {
            if (!open_[i]) {
                continue;
            }
            ++open;
            if (std::ssize(rows_[i]) < least_rows_ &&
                (smallest == kNone || rows_[i].size() < rows_[smallest].size())) {
                smallest = i;
            }
        }
        return open > 1 ? smallest : kNone;
    }

    BucketedRows result() const {
        BucketedRows result;
        std::vector<size_t> bucket_of(sizes_.size(), kNone);
        for (size_t i = 0; i < shapes_.size(); ++i) {
            if (rows_[i].empty()) {
                continue;
            }
            for (const size_t row : rows_[i]) {
                bucket_of[row] = result.buckets.shapes.size();
            }
            result.buckets.shapes.push_back(shapes_[i]);
        }
        for (size_t row = 0; row < sizes_.size(); ++row) {
            if (bucket_of[row] != kNone) {
                result.kept.push_back(static_cast<int64_t>(row));
                result.buckets.of_row.push_back(static_cast<uint16_t>(bucket_of[row]));
            }
        }
        return result;
    }

    std::span<const std::optional<PictureSize>> sizes_;
    const int64_t least_rows_;
    const std::vector<PictureShape> shapes_;
    std::vector<bool> open_;
    std::vector<std::vector<size_t>> rows_;
};

}  // namespace

std::vector<PictureShape> bucket_shapes(int side, int step) {
    if (step < 1 || side < step || side % step != 0) {
        fail("buckets of {} pixels around a side of {}: the side must be a multiple", step, side);
    }
    std::vector<PictureShape> shapes{PictureShape(side)};
    const int64_t area = int64_t{side} * side;
    for (int longer = side + step; longer <= 2 * side; longer += step) {
        const auto shorter = static_cast<int>(area / longer / step * step);
        if (shorter > 0) {
            shapes.push_back({longer, shorter});
            shapes.push_back({shorter, longer});
        }
    }
    return shapes;
}

BucketedRows sort_into_buckets(std::span<const std::optional<PictureSize>> sizes, int side,
                               const BucketSettings& settings) {
    return Sorter(sizes, side, settings).sort();
}

std::string to_text(const Buckets& buckets) {
    constexpr size_t kNamed = 8;
    std::vector<std::pair<int64_t, PictureShape>> counted;
    for (const PictureShape& shape : buckets.shapes) {
        counted.emplace_back(0, shape);
    }
    for (const uint16_t bucket : buckets.of_row) {
        ++counted[bucket].first;
    }
    std::stable_sort(counted.begin(), counted.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::string text = fmt::format("{} buckets:", counted.size());
    for (size_t i = 0; i < std::min(kNamed, counted.size()); ++i) {
        const auto& [count, shape] = counted[i];
        text += fmt::format("{} {}x{} ({} pictures)", i == 0 ? "" : ",", shape.width, shape.height,
                            count);
    }
    return counted.size() > kNamed ? text + ", ..." : text;
}

}  // namespace flux::data
