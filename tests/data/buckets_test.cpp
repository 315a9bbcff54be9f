// Which shape each picture gets, and that every step's batch has one shape.
#include "flux/data/buckets.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/tar_bytes.h"
#include "flux/base/error.h"
#include "flux/data/bucket_order.h"
#include "flux/data/image_transform.h"
#include "flux/data/loader.h"
#include "flux/data/registry.h"
#include "support/reference.h"

namespace flux::data {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(BucketShapes, LieAroundTheAreaOfTheSquare) {
    EXPECT_THAT(bucket_shapes(1024, 64), Contains(PictureShape(1280, 768)));
    EXPECT_THAT(bucket_shapes(1024, 128), Contains(PictureShape(768, 1280)));
    for (const int step : {16, 64, 128}) {
        const auto shapes = bucket_shapes(1024, step);
        EXPECT_EQ(shapes.front(), PictureShape(1024));
        for (const PictureShape& shape : shapes) {
            EXPECT_EQ(shape.width % step + shape.height % step, 0);
            EXPECT_LE(shape.width * shape.height, 1024 * 1024);
            EXPECT_GT(shape.width * shape.height, 1024 * (1024 - 2 * step));
            EXPECT_EQ(std::count(shapes.begin(), shapes.end(), shape), 1);
        }
    }
    EXPECT_THROW(bucket_shapes(1000, 64), Error);
}

using Sizes = std::vector<std::optional<PictureSize>>;

TEST(SortIntoBuckets, TakesTheNearestShapeThatDoesNotEnlarge) {
    // 256, step 64: 256x256, 320x192, 384x128, 448x128, 512x128, and the same standing.
    const Sizes sizes = {{{500, 500}}, {{640, 400}}, {{400, 640}}, {{255, 300}},
                         std::nullopt, {{384, 200}}, {{320, 192}}, {{2000, 100}}};
    const BucketedRows sorted = sort_into_buckets(sizes, 256, {.step = 64});
    EXPECT_THAT(sorted.kept, ElementsAre(0, 1, 2, 4, 5, 6));
    std::vector<PictureShape> shapes;
    for (int64_t row = 0; row < 6; ++row) {
        shapes.push_back(sorted.buckets.shape(row));
    }
    EXPECT_THAT(shapes,
                ElementsAre(PictureShape(256), PictureShape(320, 192), PictureShape(192, 320),
                            PictureShape(256), PictureShape(320, 192), PictureShape(320, 192)));
    EXPECT_EQ(sorted.buckets.shapes.size(), 3u);
}

TEST(SortIntoBuckets, GivesUpSmallBuckets) {
    Sizes sizes(10, PictureSize{320, 192});
    sizes.insert(sizes.end(), 10, PictureSize{300, 300});
    sizes.insert(sizes.end(), 3, PictureSize{384, 200});  // 320x192
    sizes.insert(sizes.end(), 3, PictureSize{600, 256});  // 384x128, given up: 320x192
    sizes.insert(sizes.end(), 2, PictureSize{512, 128});  // 512x128, given up: fits nowhere else
    const BucketedRows sorted = sort_into_buckets(sizes, 256, {.step = 64, .least_rows = 6});
    EXPECT_THAT(sorted.buckets.shapes, ElementsAre(PictureShape(256), PictureShape(320, 192)));
    EXPECT_EQ(sorted.kept.size(), 26u);
    EXPECT_EQ(std::count(sorted.buckets.of_row.begin(), sorted.buckets.of_row.end(), 1), 16);
    const BucketedRows one = sort_into_buckets(sizes, 256, {.step = 64, .least_rows = 100});
    EXPECT_EQ(one.buckets.shapes.size(), 1u);
}

/// 7, 22 and 71 rows of three shapes, mixed.
Buckets three_buckets() {
    Buckets buckets{{PictureShape(4), PictureShape(6, 2), PictureShape(2, 6)}, {}};
    for (int row = 0; row < 100; ++row) {
        buckets.of_row.push_back(row % 14 == 3 ? 0 : row % 4 == 1 ? 1 : 2);
    }
    return buckets;
}

TEST(BucketOrder, EveryStepHasOneShapeAndEveryPassEveryRow) {
    const Buckets buckets = three_buckets();
    for (const int64_t group : {1, 3, 8, 16, 150}) {
        const BucketOrder order(buckets, group, 9);
        std::map<std::pair<uint16_t, uint32_t>, std::multiset<int64_t>> passes;
        int64_t samples = 0;  // of 40 epochs: at their end no group of a bucket has been overtaken
        for (uint16_t bucket = 0; bucket < 3; ++bucket) {
            const auto rows = std::count(buckets.of_row.begin(), buckets.of_row.end(), bucket);
            samples += 40 * rows / group * group;
        }
        for (int64_t sample = 0; sample < samples; ++sample) {
            const Position position = order.at(sample);
            const uint16_t bucket = buckets.of_row[static_cast<size_t>(position.row)];
            ASSERT_EQ(buckets.shape(position.row), order.shape_at(sample - sample % group));
            passes[{bucket, position.epoch}].insert(position.row);
        }
        std::map<uint16_t, uint32_t> last;
        for (const auto& [key, rows] : passes) {
            last[key.first] = std::max(last[key.first], key.second);
        }
        EXPECT_EQ(last.size(), 3u);
        for (const auto& [key, rows] : passes) {
            const auto size = static_cast<size_t>(
                std::count(buckets.of_row.begin(), buckets.of_row.end(), key.first));
            const std::set<int64_t> different(rows.begin(), rows.end());
            EXPECT_EQ(different.size(), rows.size()) << "group " << group;
            EXPECT_TRUE(key.second == last[key.first] || rows.size() == size) << "group " << group;
            // What a bucket lacks at the end of the 40th pass is less than a group.
            const auto done = static_cast<int64_t>(passes[{key.first, last[key.first]}].size()) +
                              int64_t{last[key.first]} * static_cast<int64_t>(size);
            EXPECT_GT(done, 40 * static_cast<int64_t>(size) - group);
            EXPECT_LE(done, 40 * static_cast<int64_t>(size));
        }
    }
}

TEST(BucketOrder, MixesShapesAndDependsOnTheSeed) {
    const Buckets buckets = three_buckets();
    const BucketOrder order(buckets, 4, 1), same(buckets, 4, 1), other(buckets, 4, 2);
    int changes = 0, different = 0;
    for (int64_t sample = 0; sample < 400; ++sample) {
        EXPECT_EQ(order.at(sample).row, same.at(sample).row);
        different += order.at(sample).row != other.at(sample).row ? 1 : 0;
        changes += order.shape_at(sample) != order.shape_at(sample + 4) ? 1 : 0;
    }
    EXPECT_GT(different, 300);
    EXPECT_GT(changes, 80);
}

TEST(PlanResize, CoversAnyShape) {
    const PictureShape shape(320, 192);
    EXPECT_EQ(plan_resize(640, 384, shape), (ResizePlan{320, 192}));
    EXPECT_EQ(plan_resize(1000, 384, shape), (ResizePlan{500, 192}));
    EXPECT_EQ(plan_resize(640, 500, shape), (ResizePlan{320, 250}));
    for (int width = 320; width < 700; width += 7) {
        for (int height = 192; height < 700; height += 5) {
            const ResizePlan plan = plan_resize(width, height, shape);
            ASSERT_TRUE(plan.width >= 320 && plan.height >= 192);
            ASSERT_TRUE(plan.width == 320 || plan.height == 192);
        }
    }
    Raster raster{.width = 640, .height = 384, .mode = Mode::kRgb, .data = {}, .palette = {}};
    raster.data.assign(size_t{640} * 384 * 3, 7);
    const Image image = to_cropped_rgb(raster, shape, {0, 0});
    EXPECT_EQ(image.width, 320);
    EXPECT_EQ(image.height, 192);
    EXPECT_EQ(image.rgb, std::vector<uint8_t>(size_t{320} * 192 * 3, 7));
    EXPECT_THROW(to_cropped_rgb(raster, shape, {1, 0}), Error);
}

class BucketLoader : public testing::Test {
protected:
    /// 60 pictures of four sizes; every tenth is damaged behind its head.
    BucketLoader() {
        const std::vector<std::pair<int, int>> sizes = {{40, 40}, {64, 36}, {36, 64}, {70, 30}};
        std::string tar;
        for (size_t i = 0; i < 60; ++i) {
            const auto [width, height] = sizes[i * 7 % 11 % 4];
            std::string png = encode_png(
                Image{width, height,
                      std::vector<uint8_t>(size_t(3) * width * height, static_cast<uint8_t>(i))}
                    .view());
            if (i % 10 == 9) {
                png.resize(40);
            }
            const std::string key = fmt::format("{:03}", i);
            tar += test::tar_member(key + ".png", png) + test::tar_member(key + ".txt", key);
        }
        write_text(folder_.path() / "a.tar", tar + test::tar_end());
    }

    std::unique_ptr<Dataset> open(int64_t least_rows = 8, int step = 16) const {
        return make_dataset({.name = "webdataset",
                             .path = folder_.path().string(),
                             .img_size = 32,
                             .seed = 3,
                             .buckets = {.step = step, .least_rows = least_rows}});
    }

    test::TemporaryFolder folder_;
};

LoaderSettings settings(int64_t ranks, int64_t rank, int64_t batch, int64_t first = 0) {
    return {.batch_size = batch,
            .first_sample = first,
            .group_size = ranks * batch,
            .group_offset = rank * batch,
            .step_size = 8,
            .seed = 3,
            .max_bad_fraction = 0.5};
}

/// Samples [first, first + 20 steps of 8) as `ranks` processes see them.
std::map<int64_t, std::pair<int64_t, at::Tensor>> samples_of(const Dataset& dataset, int64_t ranks,
                                                             int64_t batch, int64_t first = 0) {
    std::map<int64_t, std::pair<int64_t, at::Tensor>> samples;
    for (int64_t rank = 0; rank < ranks; ++rank) {
        Loader loader(dataset, settings(ranks, rank, batch, first));
        for (int64_t i = 0; i < 160 / (ranks * batch); ++i) {
            const Batch part = *loader.next();
            const at::Tensor& images = part.payload.pictures.images;
            for (int64_t k = 0; k < part.size(); ++k) {
                const int64_t row = part.rows[static_cast<size_t>(k)];
                const PictureShape shape = dataset.buckets()->shape(row);
                EXPECT_EQ(images.size(2), shape.height);
                EXPECT_EQ(images.size(3), shape.width);
                samples.emplace(part.first_sample + k, std::pair{row, images.select(0, k)});
            }
        }
    }
    EXPECT_EQ(samples.size(), 160u);
    return samples;
}

TEST_F(BucketLoader, IsTheSameForAnyNumberOfProcessesAndAfterAResume) {
    const auto dataset = open();
    EXPECT_GE(dataset->buckets()->shapes.size(), 3u);
    const auto whole = samples_of(*dataset, 1, 8);
    for (const int64_t ranks : {1, 2, 4}) {
        for (const auto& [sample, seen] : samples_of(*dataset, ranks, 8 / ranks / 2)) {
            EXPECT_EQ(seen.first, whole.at(sample).first);
            EXPECT_TRUE(at::equal(seen.second, whole.at(sample).second));
        }
    }
    for (const int64_t step : {1, 5, 7, 12}) {
        for (const auto& [sample, seen] : samples_of(*dataset, 2, 2, 8 * step)) {
            if (sample < 160) {
                EXPECT_EQ(seen.first, whole.at(sample).first);
            }
        }
    }
    std::set<PictureShape, decltype([](const PictureShape& a, const PictureShape& b) {
                 return std::pair(a.width, a.height) < std::pair(b.width, b.height);
             })>
        shapes;
    for (const auto& [sample, seen] : whole) {
        shapes.insert(dataset->buckets()->shape(seen.first));
        EXPECT_NE(dataset->describe(seen.first).back(), '9');  // replaced from its own bucket
    }
    EXPECT_EQ(shapes.size(), dataset->buckets()->shapes.size());
}

// Also where a batch is a single picture: a bucket of one damaged row would have no substitute.
TEST_F(BucketLoader, BucketsTooSmallForSubstitutesAreGivenUp) {
    const auto png = [](int width, int height) {
        return encode_png(
            Image{width, height, std::vector<uint8_t>(size_t(3) * width * height)}.view());
    };
    std::string tar;
    for (int i = 0; i < 20; ++i) {
        tar += test::tar_member(fmt::format("{}.png", i),
                                i == 7 ? png(64, 36).substr(0, 40) : png(40, 40)) +
               test::tar_member(fmt::format("{}.txt", i), "x");
    }
    write_text(folder_.path() / "a.tar", tar + test::tar_end());
    const auto dataset = open(1);
    EXPECT_EQ(dataset->buckets()->shapes.size(), 1u);
    LoaderSettings single = settings(1, 0, 1);
    single.step_size = 1;
    Loader loader(*dataset, single);
    for (int i = 0; i < 40; ++i) {
        EXPECT_EQ(loader.next()->size(), 1);
    }
}

TEST_F(BucketLoader, CountsBadSamplesByTheRunsEpochs) {
    const auto dataset = open();
    LoaderSettings strict = settings(1, 0, 8);
    strict.max_bad_fraction = 0.05;
    Loader loader(*dataset, strict);
    EXPECT_THAT(
        [&] {
            for (int i = 0; i < 16; ++i) {
                loader.next();
            }
        },
        testing::ThrowsMessage<Error>(HasSubstr("too many bad samples")));
}

TEST_F(BucketLoader, RefusesWhatWouldMixShapes) {
    const auto dataset = open();
    LoaderSettings wrong = settings(1, 0, 3);
    EXPECT_THAT([&] { Loader loader(*dataset, wrong); },
                testing::ThrowsMessage<Error>(HasSubstr("no batch has two shapes")));
    wrong = settings(1, 0, 8);
    wrong.shuffle = config::Shuffle::kNone;
    EXPECT_THAT([&] { Loader loader(*dataset, wrong); },
                testing::ThrowsMessage<Error>(HasSubstr("training.shuffle must be global")));
}

TEST_F(BucketLoader, ChangesTheFingerprint) {
    EXPECT_EQ(open()->fingerprint(), open()->fingerprint());
    EXPECT_NE(open()->fingerprint(), open(8, 0)->fingerprint());
    EXPECT_NE(open()->fingerprint(), open(60)->fingerprint());
    EXPECT_EQ(open(8, 0)->buckets(), nullptr);
}

TEST(Buckets, RefusedWhereSizesAreNotKnown) {
    const auto open = [](const std::string& name, bool validation = false) {
        return [=] {
            make_dataset({.name = name, .buckets = {.step = 64}, .validation = validation});
        };
    };
    EXPECT_THAT(open("shapes"),
                testing::ThrowsMessage<ConfigError>(HasSubstr("training.buckets = 64")));
    EXPECT_THAT(open("cc12m_preprocessed"),
                testing::ThrowsMessage<ConfigError>(HasSubstr("is encoded already")));
    EXPECT_THAT(open("coco", true), testing::ThrowsMessage<ConfigError>(HasSubstr("squares")));
}

}  // namespace
}  // namespace flux::data
