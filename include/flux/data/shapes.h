// The built-in data set: captioned coloured shapes, drawn on the fly from (seed, index), for tests,
// trials and the default job. "a large red circle on a white background".
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "flux/data/dataset.h"

namespace flux::data {

inline constexpr int64_t kShapesTrainingRows = 1'048'576;  // pictures 0 .. 1,048,575
inline constexpr int64_t kShapesValidationRows = 512;      // the 512 pictures after those

struct NamedColor {
    std::string_view name;
    std::array<uint8_t, 3> rgb;
};

/// red green blue yellow orange purple black white, with their CSS values.
inline constexpr std::array<NamedColor, 8> kShapeColors = {{{"red", {255, 0, 0}},
                                                            {"green", {0, 128, 0}},
                                                            {"blue", {0, 0, 255}},
                                                            {"yellow", {255, 255, 0}},
                                                            {"orange", {255, 165, 0}},
                                                            {"purple", {128, 0, 128}},
                                                            {"black", {0, 0, 0}},
                                                            {"white", {255, 255, 255}}}};

enum class ShapeKind { kCircle, kSquare, kTriangle, kCross };

/// One picture's content. Lengths are shares of the picture's side.
struct ShapeScene {
    ShapeKind kind;
    bool large;
    int color;             // index into kShapeColors
    int background;        // another one
    double shift_x = 0.0;  // of the object's centre, in [-1, 1] of the allowed jitter
    double shift_y = 0.0;
};

ShapeScene shape_scene(uint64_t seed, int64_t index);
std::string shape_caption(const ShapeScene& scene);

/// The centre pixel lies inside the object, the corner pixels in the background, at any side >= 16.
Image draw_shape(const ShapeScene& scene, int side);

class ShapesDataset : public Dataset {
public:
    struct Settings {
        int img_size = 64;
        uint64_t seed = 0;
        bool validation = false;  // rows carry timestep = row % kValidationTimesteps
        int64_t subset_size = 0;  // > 0: only the first so many
    };
    explicit ShapesDataset(const Settings& settings);

    int64_t size() const override { return size_; }
    PayloadShape payload() const override { return PictureShape{settings_.img_size}; }
    Sample read(int64_t row, uint32_t epoch) const override;
    std::string caption(int64_t row) const override;
    uint64_t fingerprint() const override;
    std::string describe(int64_t row) const override;
    std::string source(int64_t row) const override;

private:
    Settings settings_;
    int64_t size_;
    int64_t first_index_;
};

struct ShapesTarSettings {
    std::filesystem::path out_dir{};
    int64_t samples = 0;
    int64_t samples_per_shard = 1000;
    int img_size = 256;
    uint64_t seed = 0;
    bool validation = false;  // the validation pictures, with their timesteps in the json members
};

/// Writes the same pictures as tar shards "shapes-00000.tar", ... (png, txt and json a sample):
/// same settings, same bytes. Returns the number of shards. Throws Error if a file cannot be
/// written.
int64_t write_shapes_tar(const ShapesTarSettings& settings);

}  // namespace flux::data
