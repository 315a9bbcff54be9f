#include "flux/data/shapes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/data/registry.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::data {
namespace {

std::array<uint8_t, 3> pixel(const Image& image, int x, int y) {
    const uint8_t* at = &image.rgb[3 * (size_t(y) * image.width + x)];
    return {at[0], at[1], at[2]};
}

TEST(Shapes, CentreIsObjectAndCornersAreBackground) {
    for (const int side : {16, 17, 32, 64, 100, 256}) {
        for (int64_t index = 0; index < (side > 64 ? 200 : 2000); ++index) {
            const ShapeScene scene = shape_scene(5, index);
            const Image image = draw_shape(scene, side);
            const auto object = kShapeColors[static_cast<size_t>(scene.color)].rgb;
            const auto background = kShapeColors[static_cast<size_t>(scene.background)].rgb;
            ASSERT_NE(object, background);
            const std::string what = shape_caption(scene) + " " + std::to_string(side);
            ASSERT_EQ(pixel(image, side / 2, side / 2), object) << what;
            ASSERT_EQ(pixel(image, (side - 1) / 2, (side - 1) / 2), object) << what;
            for (const int x : {0, side - 1}) {
                for (const int y : {0, side - 1}) {
                    ASSERT_EQ(pixel(image, x, y), background) << what;
                }
            }
        }
    }
}

TEST(Shapes, CaptionsNameEverything) {
    const ShapeScene scene{ShapeKind::kCircle, true, 0, 7, 0, 0};
    EXPECT_EQ(shape_caption(scene), "a large red circle on a white background");
    std::map<std::string, int> count;
    for (int64_t index = 0; index < 20'000; ++index) {
        ++count[shape_caption(shape_scene(1, index))];
    }
    EXPECT_EQ(count.size(), 8u * 7 * 4 * 2);
    for (const auto& [caption, times] : count) {
        EXPECT_GT(times, 10) << caption;  // 45 on average
    }
}

TEST(Shapes, EdgesAreSmooth) {
    const Image image = draw_shape({ShapeKind::kCircle, true, 6, 7, 0, 0}, 64);
    std::set<uint8_t> values(image.rgb.begin(), image.rgb.end());
    EXPECT_GT(values.size(), 10u);
}

TEST(Shapes, RowsDependOnSeedAndRowOnly) {
    const ShapesDataset a({.img_size = 32, .seed = 3});
    const ShapesDataset b({.img_size = 32, .seed = 4});
    EXPECT_EQ(a.size(), kShapesTrainingRows);
    EXPECT_EQ(a.read(7, 0).image.rgb, a.read(7, 5).image.rgb);
    int same = 0;
    for (int64_t row = 0; row < 50; ++row) {
        same += a.read(row, 0).caption == b.read(row, 0).caption ? 1 : 0;
    }
    EXPECT_LT(same, 5);
}

TEST(Shapes, ValidationIsAnotherRangeWithTimesteps) {
    const ShapesDataset training({.img_size = 16, .seed = 3});
    const ShapesDataset validation({.img_size = 16, .seed = 3, .validation = true});
    EXPECT_EQ(validation.size(), kShapesValidationRows);
    EXPECT_EQ(training.read(training.size() - 1, 0).key, "001048575");
    EXPECT_EQ(validation.read(0, 0).key, "001048576");
    EXPECT_EQ(validation.read(11, 0).timestep, 3);
    EXPECT_EQ(training.read(11, 0).timestep, -1);
    EXPECT_EQ(
        ShapesDataset({.img_size = 16, .seed = 0, .validation = true, .subset_size = 10}).size(),
        10);
}

TEST(Shapes, CaptionIsThatOfTheSample) {
    const ShapesDataset dataset({.img_size = 16, .seed = 3, .validation = true});
    for (int64_t row = 0; row < 20; ++row) {
        EXPECT_EQ(dataset.caption(row), dataset.read(row, 0).caption);
    }
}

TEST(Shapes, TheFingerprintIsThatOfTheRows) {
    const auto fingerprint = [](const ShapesDataset::Settings& settings) {
        return ShapesDataset(settings).fingerprint();
    };
    const uint64_t value = fingerprint({.seed = 3});
    EXPECT_EQ(value, 15709599528943899202u);  // stored in checkpoints: must not change
    EXPECT_EQ(fingerprint({.img_size = 128, .seed = 3}), value);
    EXPECT_NE(fingerprint({.seed = 4}), value);
    EXPECT_NE(fingerprint({.seed = 3, .validation = true}), value);
    EXPECT_NE(fingerprint({.seed = 3, .subset_size = 10}), value);
}

TEST(Shapes, TarShardsHoldTheSamePictures) {
    const test::TemporaryFolder folder;
    const ShapesTarSettings settings{.out_dir = folder.path() / "a",
                                     .samples = 25,
                                     .samples_per_shard = 10,
                                     .img_size = 48,
                                     .seed = 9,
                                     .validation = true};
    EXPECT_EQ(write_shapes_tar(settings), 3);
    ShapesTarSettings again = settings;
    again.out_dir = folder.path() / "b";
    write_shapes_tar(again);
    for (const char* name : {"shapes-00000.tar", "shapes-00001.tar", "shapes-00002.tar"}) {
        EXPECT_EQ(read_text(settings.out_dir / name), read_text(again.out_dir / name));
    }
    const ShapesDataset drawn({.img_size = 48, .seed = 9, .validation = true});
    const auto read = make_dataset({.name = "webdataset",
                                    .path = settings.out_dir.string(),
                                    .img_size = 48,
                                    .validation = true});
    ASSERT_EQ(read->size(), 25);
    for (int64_t row = 0; row < 25; ++row) {
        const Sample expected = drawn.read(row, 0);
        const Sample sample = read->read(row, 0);
        EXPECT_EQ(sample.image.rgb, expected.image.rgb);
        EXPECT_EQ(sample.caption, expected.caption);
        EXPECT_EQ(sample.key, expected.key);
        EXPECT_EQ(sample.timestep, expected.timestep);
    }
}

TEST(Shapes, TarShardsAreNotMixedWithOthers) {
    const test::TemporaryFolder folder;
    const ShapesTarSettings settings{.out_dir = folder.path(), .samples = 2, .img_size = 16};
    write_shapes_tar(settings);
    const std::string before = read_text(folder.path() / "shapes-00000.tar");
    EXPECT_THAT(test::problem_of([&] { write_shapes_tar(settings); }),
                testing::HasSubstr("shapes-00000.tar: is there already"));
    EXPECT_EQ(read_text(folder.path() / "shapes-00000.tar"), before);
}

TEST(Shapes, TarShardsRefuseBadNumbers) {
    EXPECT_THROW(write_shapes_tar({.out_dir = "/nowhere", .samples = 0}), ConfigError);
    EXPECT_THROW(write_shapes_tar({.out_dir = "/nowhere", .samples = 513, .validation = true}),
                 ConfigError);
    EXPECT_THROW(write_shapes_tar({.out_dir = "/proc/nowhere", .samples = 1}), Error);
}

}  // namespace
}  // namespace flux::data
