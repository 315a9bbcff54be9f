#include "flux/data/shapes.h"

#include <algorithm>
#include <cmath>

#include "data/fingerprint.h"
#include "flux/base/error.h"
#include "flux/base/philox.h"
#include "flux/flow/validation_grid.h"

namespace flux::data {
namespace {

constexpr double kLargeExtent = 0.36;  // half the object's size
constexpr double kSmallExtent = 0.20;
constexpr double kMaxJitter = 0.08;
constexpr double kCrossArm = 0.4;  // half an arm's width, as a share of the half-extent

constexpr std::array<std::string_view, 4> kKindNames = {"circle", "square", "triangle", "cross"};

/// Elements of a picture's draw. They are part of a run's identity: never renumber one.
enum Element : uint32_t { kColor, kBackground, kKind, kSize, kShiftX, kShiftY };

/// How far the centre may move, in any direction, with its neighbourhood staying inside the object:
/// half the side of the largest such square.
double inner_extent(ShapeKind kind, double extent) {
    switch (kind) {
        case ShapeKind::kCircle:
            return extent / std::sqrt(2.0);
        case ShapeKind::kSquare:
            return extent;
        case ShapeKind::kTriangle:
            return extent / 3;
        case ShapeKind::kCross:
            return extent * kCrossArm;
    }
    return 0;
}

/// Distance to the outline, negative inside, roughly so near the corners. Lengths as shares of the
/// side, (x, y) from the object's centre, y downwards.
double outline_distance(ShapeKind kind, double extent, double x, double y) {
    const double ax = std::fabs(x);
    const double ay = std::fabs(y);
    switch (kind) {
        case ShapeKind::kCircle:
            return std::sqrt(x * x + y * y) - extent;
        case ShapeKind::kSquare:
            return std::max(ax, ay) - extent;
        case ShapeKind::kTriangle:  // apex on top, base below: the sides fall 2 for every 1
            return std::max((2 * ax - y - extent) / std::sqrt(5.0), y - extent);
        case ShapeKind::kCross:
            return std::min(std::max(ax - extent, ay - extent * kCrossArm),
                            std::max(ax - extent * kCrossArm, ay - extent));
    }
    return 0;
}

}  // namespace

ShapeScene shape_scene(uint64_t seed, int64_t index) {
    const Draw draw{seed, Purpose::kShapes, static_cast<uint64_t>(index)};
    constexpr int kColors = static_cast<int>(kShapeColors.size());
    ShapeScene scene{};
    scene.color = static_cast<int>(draw.below(kColors, kColor));
    const int other = static_cast<int>(draw.below(kColors - 1, kBackground));
    scene.background = other < scene.color ? other : other + 1;
    scene.kind = static_cast<ShapeKind>(draw.below(kKindNames.size(), kKind));
    scene.large = draw.below(2, kSize) == 1;
    scene.shift_x = 2.0 * draw.uniform(kShiftX) - 1.0;
    scene.shift_y = 2.0 * draw.uniform(kShiftY) - 1.0;
    return scene;
}

std::string shape_caption(const ShapeScene& scene) {
    return fmt::format("a {} {} {} on a {} background", scene.large ? "large" : "small",
                       kShapeColors[static_cast<size_t>(scene.color)].name,
                       kKindNames[static_cast<size_t>(scene.kind)],
                       kShapeColors[static_cast<size_t>(scene.background)].name);
}

Image draw_shape(const ShapeScene& scene, int side) {
    const double extent = scene.large ? kLargeExtent : kSmallExtent;
    const double pixel = 1.0 / side;
    const double jitter =
        std::clamp(std::min(inner_extent(scene.kind, extent) - 1.5 * pixel, 0.5 - extent - pixel),
                   0.0, kMaxJitter);
    const double center_x = 0.5 + jitter * scene.shift_x;
    const double center_y = 0.5 + jitter * scene.shift_y;
    const auto& object = kShapeColors[static_cast<size_t>(scene.color)].rgb;
    const auto& background = kShapeColors[static_cast<size_t>(scene.background)].rgb;
    Image image{side, side, std::vector<uint8_t>(size_t(side) * side * 3)};
    uint8_t* out = image.rgb.data();
    for (int y = 0; y < side; ++y) {
        for (int x = 0; x < side; ++x, out += 3) {
            const double distance = outline_distance(
                scene.kind, extent, (x + 0.5) * pixel - center_x, (y + 0.5) * pixel - center_y);
            const double cover = std::clamp(0.5 - distance * side, 0.0, 1.0);
            for (size_t c = 0; c < 3; ++c) {
                out[c] = static_cast<uint8_t>(
                    std::lround(background[c] + cover * (object[c] - background[c])));
            }
        }
    }
    return image;
}

ShapesDataset::ShapesDataset(const Settings& settings)
    : settings_(settings),
      size_(settings.validation ? kShapesValidationRows : kShapesTrainingRows),
      first_index_(settings.validation ? kShapesTrainingRows : 0) {
    if (settings.subset_size > 0) {
        size_ = std::min(size_, settings.subset_size);
    }
}

Sample ShapesDataset::read(int64_t row, uint32_t /*epoch*/) const {
    const int64_t index = first_index_ + row;
    const ShapeScene scene = shape_scene(settings_.seed, index);
    return {.row = row,
            .key = fmt::format("{:09}", index),
            .image = draw_shape(scene, settings_.img_size),
            .caption = shape_caption(scene),
            .timestep = settings_.validation ? row % flow::kValidationTimesteps : -1};
}

std::string ShapesDataset::caption(int64_t row) const {
    return shape_caption(shape_scene(settings_.seed, first_index_ + row));
}

uint64_t ShapesDataset::fingerprint() const {
    return Fingerprint("shapes")
        .add(settings_.seed)
        .add(static_cast<uint64_t>(first_index_))
        .add(static_cast<uint64_t>(size_))
        .value();
}

std::string ShapesDataset::describe(int64_t row) const {
    return fmt::format("shapes: picture {}", first_index_ + row);
}

std::string ShapesDataset::source(int64_t /*row*/) const { return "shapes"; }

}  // namespace flux::data
