// Shards read one after the other: the order, resuming in it, and a cache smaller than the set.
#include "flux/data/shard_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "data/noise_shard.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/data/loader.h"
#include "flux/data/registry.h"
#include "support/local_server.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Keys = std::vector<std::string>;

constexpr int kShards = 6;
constexpr int64_t kRows = 5 + 6 + 7 + 8 + 9 + 10;

class ShardStreamTest : public testing::Test {
protected:
    void SetUp() override {
        for (int shard = 0, first = 0; shard < kShards; ++shard) {
            write_noise_shard(folder("served") / fmt::format("s-{}.tar", shard), first, 5 + shard);
            first += 5 + shard;
        }
        settings_.shards = {.path = (folder("served") / "s-{0..5}.tar").string(),
                            .img_size = 32,
                            .seed = 7,
                            .max_image_pixels = 1 << 20,
                            .index_folder = folder("index"),
                            .remote = quick_remote(folder("cache"))};
        settings_.ahead = 1;
    }
    fs::path folder(const std::string& name) const { return scratch_.path() / name; }
    test::LocalServer& serve(const std::vector<std::string>& faults = {}) {
        server_.emplace("python3", "flaky_server.py", folder("served"), folder("log"), faults);
        settings_.shards.path = server_->url("s-{0..5}.tar");
        return *server_;
    }

    /// Keys of the samples from `first` on, with a set of their own as after a new start.
    Keys read(int64_t first, int64_t count, int workers = 2, int64_t batch = 4) const {
        const ShardStream stream(settings_);
        return read_from(stream, first, count, workers, batch);
    }
    static Keys read_from(const ShardStream& stream, int64_t first, int64_t count, int workers = 2,
                          int64_t batch = 4) {
        Loader loader(stream, {.batch_size = batch,
                               .first_sample = first,
                               .end = first + count,
                               .shuffle = config::Shuffle::kShards,
                               .seed = 7,
                               .num_workers = workers});
        Keys keys;
        while (const auto next = loader.next()) {
            keys.insert(keys.end(), next->keys.begin(), next->keys.end());
        }
        return keys;
    }
    int requests_of(int shard) const {
        const std::string log = server_->log(), name = fmt::format("/s-{}.tar", shard);
        int count = 0;
        for (size_t at = log.find(name); at != std::string::npos; at = log.find(name, at + 1)) {
            ++count;
        }
        return count;
    }

    test::TemporaryFolder scratch_;
    ShardStreamSettings settings_;
    std::optional<test::LocalServer> server_;
};

int shard_of_key(const std::string& key) {
    int number = std::stoi(key);
    int shard = 0;
    for (; number >= 5 + shard; ++shard) {
        number -= 5 + shard;
    }
    return shard;
}

/// Shards in the order in which the keys leave them.
std::vector<int> shards_of(const Keys& keys) {
    std::vector<int> shards;
    for (const std::string& key : keys) {
        if (const int shard = shard_of_key(key); shards.empty() || shards.back() != shard) {
            shards.push_back(shard);
        }
    }
    return shards;
}

TEST_F(ShardStreamTest, AnEpochHasEachSampleOnceShardByShardInAnotherOrderEachTime) {
    const Keys keys = read(0, 3 * kRows);
    std::set<std::vector<int>> orders;
    std::set<Keys> mixed;
    for (int epoch = 0; epoch < 3; ++epoch) {
        const Keys part(keys.begin() + epoch * kRows, keys.begin() + (epoch + 1) * kRows);
        EXPECT_EQ(std::set(part.begin(), part.end()).size(), size_t(kRows));
        EXPECT_EQ(shards_of(part).size(), size_t(kShards));
        EXPECT_FALSE(std::is_sorted(part.begin(), part.begin() + 5));
        orders.insert(shards_of(part));
        mixed.insert(part);
    }
    EXPECT_GE(orders.size(), 2u);
    EXPECT_EQ(mixed.size(), 3u);
    settings_.shards.seed = 8;
    EXPECT_NE(read(0, kRows), Keys(keys.begin(), keys.begin() + kRows));
}

TEST_F(ShardStreamTest, TheOrderDependsOnNothingButTheSeed) {
    const Keys keys = read(0, 2 * kRows);
    EXPECT_EQ(read(0, 2 * kRows, 0), keys);
    EXPECT_EQ(read(0, 2 * kRows, 5, 3), keys);
    settings_.ahead = 4;
    EXPECT_EQ(read(0, 2 * kRows), keys);
    serve();
    EXPECT_EQ(read(0, 2 * kRows), keys);
}

TEST_F(ShardStreamTest, AResumedRunGoesOnWhereItEnded) {
    const Keys keys = read(0, 2 * kRows);
    for (const int64_t first : {int64_t{1}, int64_t{17}, kRows - 1, kRows, kRows + 20}) {
        EXPECT_EQ(read(first, 2 * kRows - first), Keys(keys.begin() + first, keys.end())) << first;
        fs::remove_all(folder("index"));  // then the shards before are counted again
        EXPECT_EQ(read(first, 12), Keys(keys.begin() + first, keys.begin() + first + 12)) << first;
    }
}

TEST_F(ShardStreamTest, TheFirstBatchNeedsTheFirstShardsOnly) {
    serve();
    const Keys keys = read(0, 4, 1);
    int fetched = 0;
    for (int shard = 0; shard < kShards; ++shard) {
        fetched += requests_of(shard) > 0 ? 1 : 0;
    }
    EXPECT_GE(requests_of(shard_of_key(keys.front())), 1);
    EXPECT_LE(fetched, 4);  // two batches are read ahead, and a shard more
}

TEST_F(ShardStreamTest, AResumedRunFetchesOnlyWhatItNeeds) {
    serve();
    const Keys keys = read(0, kRows);
    fs::remove_all(folder("cache"));
    std::map<int, int> before;
    for (int shard = 0; shard < kShards; ++shard) {
        before[shard] = requests_of(shard);
    }
    EXPECT_EQ(read(kRows - 3, 3, 1), Keys(keys.end() - 3, keys.end()));
    EXPECT_EQ(requests_of(shards_of(keys).front()), before[shards_of(keys).front()]);
}

TEST_F(ShardStreamTest, ACacheSmallerThanTheSetKeepsWhatComesSoonest) {
    const Keys keys = read(0, 3 * kRows);
    serve({"503", "drop:5000", "ok", "short:3000"});
    const auto bytes = fs::file_size(folder("served") / "s-5.tar");
    settings_.shards.remote.cache_bytes = 5 * bytes;
    const ShardStream stream(settings_);
    EXPECT_EQ(read_from(stream, 0, 3 * kRows), keys);
    int requests = 0;
    for (int shard = 0; shard < kShards; ++shard) {
        requests += requests_of(shard);
    }
    EXPECT_GT(requests, kShards + 3);
    settings_.shards.remote.cache_bytes = 2000;
    fs::remove_all(folder("cache"));
    EXPECT_THAT([&] { read(0, 4); },
                ThrowsMessage<FetchError>(HasSubstr("dataloader.cache_size_gb")));
}

TEST_F(ShardStreamTest, WhatCannotBeFetchedEndsTheRunWhatCannotBeReadIsLeftOut) {
    const Keys all = read(0, kRows);
    write_text(folder("served") / "s-2.tar", "no shard");
    fs::remove_all(folder("index"));
    Keys without = all;
    std::erase_if(without, [](const std::string& key) { return shard_of_key(key) == 2; });
    EXPECT_EQ(read(0, std::ssize(without)), without);
    serve();
    fs::remove(folder("served") / "s-4.tar");
    fs::remove_all(folder("index"));
    EXPECT_THAT([&] { read(0, kRows); },
                ThrowsMessage<Error>(HasSubstr("s-4.tar: HTTP status 404")));
}

TEST_F(ShardStreamTest, AShardThatHasChangedIsRefused) {
    read(0, kRows);
    for (int shard = 0; shard < kShards; ++shard) {
        fs::remove(folder("served") / fmt::format("s-{}.tar", shard));
        write_noise_shard(folder("served") / fmt::format("s-{}.tar", shard), 900, 3);
    }
    EXPECT_THAT([&] { read(0, 4); }, ThrowsMessage<Error>(HasSubstr("the shard has changed")));
}

TEST_F(ShardStreamTest, ClosingDoesNotWaitForTheNetwork) {
    settings_.shards.path = "pipe:sleep 30; cat " + (folder("served") / "s-0.tar").string();
    settings_.shards.remote.stall_timeout_s = 60;
    const auto start = std::chrono::steady_clock::now();
    {
        const ShardStream stream(settings_);
        const Loader loader(stream, {.batch_size = 1, .shuffle = config::Shuffle::kShards});
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(ShardStreamTest, SubstitutesComeFromTheSameShard) {
    fs::remove(folder("served") / "s-3.tar");
    TarWriter tar(folder("served") / "s-3.tar");
    for (int i = 18; i < 26; ++i) {
        tar.add(fmt::format("{:06}.png", i),
                i < 22 ? std::string("no picture")
                       : encode_png(ImageView{std::vector<uint8_t>(32 * 32 * 3).data(), 32, 32}));
        tar.add(fmt::format("{:06}.txt", i), "x");
    }
    tar.finish();
    settings_.shards.path = (folder("served") / "s-{3..4}.tar").string();
    const ShardStream stream(settings_);
    Loader loader(stream, {.batch_size = 17,
                           .end = 17,
                           .shuffle = config::Shuffle::kShards,
                           .seed = 7,
                           .max_bad_fraction = 1});
    const auto batch = loader.next();
    EXPECT_EQ(loader.bad_samples(), 4);
    std::map<int, int> counts;
    for (const std::string& key : batch->keys) {
        ++counts[shard_of_key(key)];
    }
    EXPECT_EQ(counts, (std::map<int, int>{{3, 8}, {4, 9}}));
}

TEST(ShardOrder, IsForTarShards) {
    const auto open = [](const std::string& name, int64_t subset) {
        return [=] {
            make_dataset({.name = name, .path = "x", .subset_size = subset, .by_shards = true});
        };
    };
    EXPECT_THAT(open("shapes", 0), ThrowsMessage<ConfigError>(HasSubstr("not made of tar shards")));
    EXPECT_THAT(open("webdataset", 5), ThrowsMessage<ConfigError>(HasSubstr("subset_size = 5")));
}

}  // namespace
}  // namespace flux::data
