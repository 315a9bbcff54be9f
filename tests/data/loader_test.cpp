#include "flux/data/loader.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <set>
#include <thread>

#include "flux/base/error.h"
#include "flux/base/storage_error.h"
#include "flux/data/shapes.h"
#include "support/problem.h"

namespace flux::data {
namespace {

/// Tiny pictures; the rows that `is_bad` names cannot be read.
class NumberedDataset : public Dataset {
public:
    NumberedDataset(int64_t size, std::function<bool(int64_t)> is_bad)
        : size_(size), is_bad_(std::move(is_bad)) {}

    int64_t size() const override { return size_; }
    PayloadShape payload() const override { return PictureShape{2}; }
    Sample read(int64_t row, uint32_t epoch) const override {
        if (is_bad_(row)) {
            throw Error(describe(row) + ": is bad");
        }
        // Threads overtake each other.
        std::this_thread::sleep_for(std::chrono::microseconds((row * 7919) % 300));
        Sample sample{.row = row, .key = std::to_string(row), .caption = "c", .timestep = row % 8};
        sample.image = {2, 2, std::vector<uint8_t>(12, static_cast<uint8_t>(row + epoch))};
        return sample;
    }
    std::string caption(int64_t) const override { return "c"; }
    uint64_t fingerprint() const override { return 0; }
    std::string describe(int64_t row) const override { return "row " + std::to_string(row); }
    std::string source(int64_t row) const override { return row % 2 == 0 ? "even" : "odd"; }

private:
    int64_t size_;
    std::function<bool(int64_t)> is_bad_;
};

bool never(int64_t) { return false; }

std::vector<Batch> take(Loader& loader, int count) {
    std::vector<Batch> batches;
    for (int i = 0; i < count; ++i) {
        auto batch = loader.next();
        if (!batch) {
            break;
        }
        batches.push_back(std::move(*batch));
    }
    return batches;
}

std::vector<int64_t> rows_of(const std::vector<Batch>& batches) {
    std::vector<int64_t> rows;
    for (const Batch& batch : batches) {
        rows.insert(rows.end(), batch.rows.begin(), batch.rows.end());
    }
    return rows;
}

std::string error_of(Loader& loader, int batches = 1000) {
    return test::problem_of([&] { take(loader, batches); });
}

TEST(Loader, DoesNotDependOnTheNumberOfThreads) {
    const NumberedDataset dataset(50, [](int64_t row) { return row % 10 == 3; });
    std::vector<std::vector<Batch>> runs;
    for (const int workers : {0, 1, 4}) {
        Loader loader(dataset, {.batch_size = 8,
                                .seed = 5,
                                .num_workers = workers,
                                .prefetch_factor = 3,
                                .max_bad_fraction = 0.5});
        runs.push_back(take(loader, 20));
        EXPECT_GT(loader.bad_samples(), 10);
    }
    for (size_t i = 0; i < 20; ++i) {
        for (size_t run = 1; run < runs.size(); ++run) {
            EXPECT_TRUE(at::equal(runs[0][i].payload.pictures.images,
                                  runs[run][i].payload.pictures.images));
            EXPECT_EQ(runs[0][i].rows, runs[run][i].rows);
            EXPECT_EQ(runs[0][i].keys, runs[run][i].keys);
        }
        EXPECT_EQ(runs[0][i].first_sample, static_cast<int64_t>(8 * i));
        EXPECT_EQ(runs[0][i].size(), 8);
    }
}

TEST(Loader, ABatchThatIsHeldKeepsItsPictures) {
    const NumberedDataset dataset(100, never);
    Loader loader(dataset, {.batch_size = 2, .shuffle = config::Shuffle::kNone, .num_workers = 1});
    const at::Tensor held = loader.next()->payload.pictures.images.select(0, 1);  // a view, row 1
    for (int i = 0; i < 20; ++i) {
        loader.next();
    }
    EXPECT_TRUE(held.eq(1).all().item<bool>());
}

TEST(Loader, PicturesArePlanar) {
    const ShapesDataset dataset({.img_size = 16, .seed = 1});
    Loader loader(dataset, {.batch_size = 2, .shuffle = config::Shuffle::kNone});
    const Batch batch = *loader.next();
    EXPECT_EQ(batch.payload.pictures.images.sizes(), (std::vector<int64_t>{2, 3, 16, 16}));
    const Sample sample = dataset.read(1, 0);
    const auto* images = batch.payload.pictures.images.const_data_ptr<uint8_t>();
    for (size_t i = 0; i < 256; ++i) {
        for (size_t c = 0; c < 3; ++c) {
            ASSERT_EQ(images[(3 + c) * 256 + i], sample.image.rgb[3 * i + c]);
        }
    }
    EXPECT_EQ(batch.payload.pictures.captions[1], sample.caption);
    EXPECT_EQ(batch.timesteps[1], -1);
}

TEST(Loader, ResumesAtAnySample) {
    const NumberedDataset dataset(50, [](int64_t row) { return row == 7; });
    const LoaderSettings settings{.batch_size = 4, .seed = 2, .max_bad_fraction = 0.5};
    Loader whole(dataset, settings);
    const auto all = take(whole, 30);
    LoaderSettings later = settings;
    later.first_sample = 4 * 13;
    Loader resumed(dataset, later);
    EXPECT_EQ(rows_of(take(resumed, 17)), rows_of({all.begin() + 13, all.end()}));
}

TEST(Loader, SlicesOfSeveralProcessesMakeTheSameGroups) {
    const NumberedDataset dataset(40, never);
    Loader one(dataset, {.batch_size = 6, .seed = 2});
    Loader first(dataset, {.batch_size = 3, .group_size = 6, .group_offset = 0, .seed = 2});
    Loader second(dataset, {.batch_size = 3, .group_size = 6, .group_offset = 3, .seed = 2});
    for (int i = 0; i < 10; ++i) {
        const Batch whole = *one.next();
        EXPECT_EQ(rows_of({*first.next(), *second.next()}), whole.rows);
    }
}

TEST(Loader, AFinitePassEndsWithAShortBatch) {
    const NumberedDataset dataset(11, never);
    for (const int workers : {0, 2}) {
        Loader loader(dataset, {.batch_size = 4,
                                .end = 11,
                                .shuffle = config::Shuffle::kNone,
                                .num_workers = workers});
        const auto batches = take(loader, 10);
        ASSERT_EQ(batches.size(), 3u);
        EXPECT_EQ(batches[2].rows, (std::vector<int64_t>{8, 9, 10}));
        EXPECT_EQ(loader.next(), std::nullopt);
    }
}

TEST(Loader, ValidationLeavesBadRowsOut) {
    const NumberedDataset dataset(8, [](int64_t row) { return row == 1 || row >= 6; });
    Loader loader(dataset, {.batch_size = 2,
                            .end = 8,
                            .shuffle = config::Shuffle::kNone,
                            .substitute = false,
                            .max_bad_fraction = 1.0});
    const auto batches = take(loader, 10);
    EXPECT_EQ(rows_of(batches), (std::vector<int64_t>{0, 2, 3, 4, 5}));
    EXPECT_EQ(batches[0].payload.pictures.images.size(0), 1);
    EXPECT_EQ(batches[0].payload.pictures.images.const_data_ptr<uint8_t>()[0], 0);
    EXPECT_EQ(loader.bad_samples(), 3);
}

TEST(Loader, MoreBadSamplesThanAnEpochMayHaveEndTheRun) {
    const NumberedDataset dataset(50, [](int64_t row) { return row == 14; });
    const LoaderSettings settings{.batch_size = 10, .shuffle = config::Shuffle::kNone};
    Loader loader(dataset, settings);
    EXPECT_EQ(take(loader, 1).size(), 1u);
    const std::string error = error_of(loader);
    EXPECT_THAT(error, testing::HasSubstr("1 of 15 read in epoch 0, which has 50"));
    EXPECT_THAT(error, testing::HasSubstr("allows 1 %"));
    EXPECT_THAT(error, testing::HasSubstr("even (1 bad reads, the first: row 14: is bad)"));
    LoaderSettings tolerant = settings;
    tolerant.max_bad_fraction = 0.02;
    Loader goes_on(dataset, tolerant);
    EXPECT_EQ(take(goes_on, 30).size(), 30u);
}

TEST(Loader, TooManyBadSamplesEndTheRunAfterAThousand) {
    const NumberedDataset dataset(1'000'000, [](int64_t row) { return row % 20 == 0; });
    Loader loader(dataset, {.batch_size = 100, .seed = 1});
    EXPECT_THAT(error_of(loader, 10), testing::HasSubstr("of 1000 read in epoch 0"));
    const NumberedDataset good(1'000'000, [](int64_t row) { return row % 200 == 0; });
    Loader goes_on(good, {.batch_size = 100, .seed = 1});
    EXPECT_EQ(error_of(goes_on, 20), "");
}

TEST(Loader, ProcessesTogetherJudgeByWhatAllHaveRead) {
    const NumberedDataset dataset(200, [](int64_t row) { return row == 1; });
    const LoaderSettings settings{
        .batch_size = 2, .group_size = 4, .shuffle = config::Shuffle::kNone};
    Loader loader(dataset, settings);
    take(loader, 2);  // ahead of what is told
    EXPECT_EQ(loader.own_bad_samples(), 1);
    EXPECT_EQ(loader.bad_samples(), 0);
    loader.add_of_all(4, 2);
    EXPECT_EQ(loader.bad_samples(), 2);
    EXPECT_THROW(loader.add_of_all(4, 1), TooManyBadSamples);  // 3 of 200 are more than 1 %
    const NumberedDataset large(1'000'000, [](int64_t row) { return row % 20 == 0; });
    Loader half(large, {.batch_size = 100, .group_size = 200, .seed = 1});
    take(half, 9);
    half.add_of_all(900, 40);
    EXPECT_THROW(half.add_of_all(100, 0), TooManyBadSamples);  // a thousand: enough to judge by
    Loader goes_on(large, {.batch_size = 100, .group_size = 200, .seed = 1});
    take(goes_on, 9);
    goes_on.add_of_all(9900, 45);
    EXPECT_EQ(error_of(goes_on, 5), "");
}

TEST(Loader, ProcessesTogetherEndEpochsAlikeHoweverFarTheyHaveRead) {
    const NumberedDataset dataset(20, [](int64_t) { return false; });
    for (const int batches : {1, 6}) {  // within the first epoch, and in the second
        Loader loader(dataset, {.batch_size = 2, .group_size = 4, .max_bad_fraction = 0.1});
        take(loader, batches);
        for (int step = 1; step <= 7; ++step) {  // the sixth is the second epoch's first
            loader.add_of_all(4, step >= 5 ? 1 : 0);
        }
        EXPECT_THROW(loader.add_of_all(4, 1), TooManyBadSamples) << batches;
    }
}

TEST(Loader, TheShareOfAFewSamplesIsNotJudged) {
    const NumberedDataset dataset(100, [](int64_t row) { return row == 95; });
    Loader resumed(
        dataset,
        {.batch_size = 5, .first_sample = 90, .end = 110, .shuffle = config::Shuffle::kNone});
    EXPECT_EQ(take(resumed, 10).size(), 4u);
    EXPECT_EQ(resumed.bad_samples(), 1);
}

TEST(Loader, AllBadIsAnErrorNotAHang) {
    for (const bool substitute : {true, false}) {
        for (const double fraction : {0.01, 1.0}) {
            const NumberedDataset dataset(6, [](int64_t) { return true; });
            Loader loader(
                dataset, {.batch_size = 4, .substitute = substitute, .max_bad_fraction = fraction});
            EXPECT_THAT(error_of(loader), testing::HasSubstr("is bad"));
        }
    }
}

TEST(Loader, NoSubstituteIsTriedTwice) {
    std::multiset<int64_t> tried;
    const NumberedDataset dataset(7, [&](int64_t row) {
        tried.insert(row);
        return true;
    });
    Loader loader(dataset, {.batch_size = 1, .num_workers = 0, .max_bad_fraction = 1.0});
    EXPECT_THAT(error_of(loader), testing::HasSubstr("7 samples in a row are bad"));
    EXPECT_EQ(tried, (std::multiset<int64_t>{0, 1, 2, 3, 4, 5, 6}));
}

// A validation or a stored set would lack what a file server did not give for a while.
TEST(Loader, WhatStorageFailsToGiveIsReplacedButNotLeftOut) {
    const NumberedDataset dataset(40, [](int64_t row) -> bool {
        if (row == 3) {
            throw StorageError("row 3: Input/output error");
        }
        return false;
    });
    Loader whole(dataset, {.batch_size = 8,
                           .end = 40,
                           .shuffle = config::Shuffle::kNone,
                           .substitute = false,
                           .max_bad_fraction = 1.0});
    EXPECT_THROW(take(whole, 10), StorageError);
    Loader endless(dataset, {.batch_size = 8, .max_bad_fraction = 1.0});
    EXPECT_EQ(take(endless, 10).size(), 10u);
    EXPECT_GT(endless.bad_samples(), 0);
}

TEST(Loader, OtherFailuresEndTheRunAtOnce) {
    const NumberedDataset dataset(6, [](int64_t row) -> bool {
        if (row == 3) {
            throw std::bad_alloc();
        }
        return false;
    });
    Loader loader(dataset, {.batch_size = 2, .shuffle = config::Shuffle::kNone});
    EXPECT_EQ(take(loader, 1).size(), 1u);
    EXPECT_THROW(loader.next(), std::bad_alloc);
}

TEST(Loader, StopsPromptlyWhenFull) {
    const ShapesDataset dataset({.img_size = 64, .seed = 1});
    const auto start = std::chrono::steady_clock::now();
    {
        Loader loader(dataset, {.batch_size = 4, .num_workers = 4});
        loader.next();
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    { const Loader unused(dataset, {.batch_size = 1000, .num_workers = 4}); }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Loader, RefusesSettingsThatMakeNoSense) {
    const NumberedDataset dataset(6, never);
    EXPECT_THROW(Loader(dataset, {.batch_size = 0}), Error);
    EXPECT_THROW(Loader(dataset, {.batch_size = 4, .group_size = 6, .group_offset = 3}), Error);
    EXPECT_THROW(Loader(dataset, {.num_workers = -1}), Error);
    EXPECT_THROW(Loader(dataset, {.prefetch_factor = 0}), Error);
    EXPECT_THROW(Loader(dataset, {.max_bad_fraction = 2}), Error);
}

}  // namespace
}  // namespace flux::data
