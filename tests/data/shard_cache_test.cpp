#include "flux/data/shard_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <thread>

#include "data/packed_bytes.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/reference.h"

namespace flux::data {
namespace {

using testing::HasSubstr;

constexpr size_t kShardBytes = 20'000;

class ShardCacheTest : public testing::Test {
protected:
    /// What shard `i` holds.
    static std::string contents(int i) {
        std::string bytes(kShardBytes, '\0');
        for (size_t k = 0; k < bytes.size(); ++k) {
            bytes[k] = static_cast<char>(k * 31 + static_cast<size_t>(i) * 7 + k / 251);
        }
        return bytes;
    }
    Shard write(const std::string& name, const std::string& bytes) const {
        write_text(folder_.path() / name, bytes);
        return Shard(folder_.path() / name, kUnpackedShardBytes);
    }
    std::vector<Shard> packed_shards(int count) const {
        std::vector<Shard> shards;
        for (int i = 0; i < count; ++i) {
            const bool gzip = i % 2 == 0;
            shards.push_back(write(std::to_string(i) + (gzip ? ".tar.gz" : ".tar.zst"),
                                   gzip ? test::gzip(contents(i)) : test::zstd(contents(i))));
        }
        return shards;
    }
    std::vector<Shard> plain_shards(int count) const {
        std::vector<Shard> shards;
        for (int i = 0; i < count; ++i) {
            shards.push_back(write(std::to_string(i) + ".tar", contents(i)));
        }
        return shards;
    }
    static std::string read(const ShardReader& reader) {
        std::string bytes(kShardBytes + 10, '\0');
        bytes.resize(reader.read_at(0, {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()}));
        return bytes;
    }
    static std::ptrdiff_t open_descriptors() {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
    }

    test::TemporaryFolder folder_;
};

TEST_F(ShardCacheTest, AShardKnowsItsSizeWithoutHoldingItsBytes) {
    for (const Shard& shard : packed_shards(2)) {
        EXPECT_EQ(shard.size(), kShardBytes);
        EXPECT_EQ(shard.unpacked_bytes(), kShardBytes);
    }
    const Shard plain = plain_shards(1)[0];
    EXPECT_EQ(plain.size(), kShardBytes);
    EXPECT_EQ(plain.unpacked_bytes(), 0u);
}

TEST_F(ShardCacheTest, ReadsMoreCompressedShardsThanMemoryMayHold) {
    const auto shards = packed_shards(7);
    ShardCache cache({.unpacked_bytes = 3 * kShardBytes + 5});
    for (int round = 0; round < 40; ++round) {
        const int i = round * round % 7;
        EXPECT_EQ(read(*cache.open(shards[static_cast<size_t>(i)])), contents(i));
        EXPECT_LE(cache.unpacked_bytes(), 3 * kShardBytes);
    }
    EXPECT_EQ(cache.unpacked_bytes(), 3 * kShardBytes);
}

TEST_F(ShardCacheTest, ClosesTheLeastRecentlyUsed) {
    const auto shards = packed_shards(3);
    ShardCache cache({.unpacked_bytes = 2 * kShardBytes});
    for (const size_t i : {0, 1, 0, 2}) {  // 2 takes the place of 1
        cache.open(shards[i]);
    }
    for (const Shard& shard : shards) {
        std::filesystem::remove(shard.path());
    }
    EXPECT_EQ(read(*cache.open(shards[0])), contents(0));
    EXPECT_EQ(read(*cache.open(shards[2])), contents(2));
    EXPECT_THROW(cache.open(shards[1]), Error);
}

TEST_F(ShardCacheTest, WhatIsInUseStaysOpen) {
    const auto shards = packed_shards(5);
    ShardCache cache({.unpacked_bytes = 2 * kShardBytes});
    const auto first = cache.open(shards[0]);
    for (const Shard& shard : shards) {
        cache.open(shard);
    }
    EXPECT_EQ(cache.open(shards[0]), first);
    EXPECT_EQ(read(*first), contents(0));
}

TEST_F(ShardCacheTest, WaitsForRoom) {
    const auto shards = packed_shards(2);
    ShardCache cache({.unpacked_bytes = kShardBytes});
    auto first = cache.open(shards[0]);
    auto second = std::async(std::launch::async, [&] { return read(*cache.open(shards[1])); });
    EXPECT_EQ(second.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
    first.reset();
    EXPECT_EQ(second.get(), contents(1));
    EXPECT_EQ(cache.unpacked_bytes(), kShardBytes);
}

TEST_F(ShardCacheTest, ManyThreadsKeepWithinTheLimits) {
    auto shards = packed_shards(9);
    const ShardLimits limits{.unpacked_bytes = 3 * kShardBytes, .open_shards = 3};
    ShardCache cache(limits);
    std::atomic<int> wrong{0};
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 6; ++t) {
            threads.emplace_back([&, t] {
                for (int round = 0; round < 150; ++round) {
                    const int i = (round * round + 3 * t) % 9;
                    const auto reader = cache.open(shards[static_cast<size_t>(i)]);
                    const bool fits = cache.unpacked_bytes() <= limits.unpacked_bytes &&
                                      cache.open_shards() <= limits.open_shards;
                    wrong += fits && read(*reader) == contents(i) ? 0 : 1;
                }
            });
        }
    }
    EXPECT_EQ(wrong, 0);
}

TEST_F(ShardCacheTest, KeepsPlainShardsOpenUpToALimit) {
    const auto shards = plain_shards(10);
    const auto before = open_descriptors();
    {
        ShardCache cache({.open_shards = 4});
        for (int round = 0; round < 50; ++round) {
            const int i = round * round % 10;
            EXPECT_EQ(read(*cache.open(shards[static_cast<size_t>(i)])), contents(i));
        }
        EXPECT_EQ(open_descriptors(), before + 4);
        EXPECT_EQ(cache.unpacked_bytes(), 0u);
        EXPECT_EQ(cache.open(shards[1]), cache.open(shards[1]));
    }
    EXPECT_EQ(open_descriptors(), before);
}

TEST_F(ShardCacheTest, RefusesAShardLargerThanTheLimit) {
    const Shard large = packed_shards(1)[0];
    ShardCache cache({.unpacked_bytes = kShardBytes - 1});
    EXPECT_THAT([&] { cache.open(large); },
                testing::ThrowsMessage<Error>(testing::AllOf(
                    HasSubstr("0.tar.gz"), HasSubstr("20000 bytes"), HasSubstr("plain .tar"))));
}

TEST_F(ShardCacheTest, AFailureLeavesNothingBehind) {
    const Shard shard = packed_shards(1)[0];
    ShardCache cache({.unpacked_bytes = kShardBytes});
    const auto error_with = [&](const std::string& bytes) {
        return [&, bytes] {
            write_text(shard.path(), bytes);
            cache.open(shard);
        };
    };
    EXPECT_THAT(error_with(test::gzip(contents(0) + "more")),
                testing::ThrowsMessage<Error>(HasSubstr("has changed")));
    EXPECT_THAT(error_with(test::gzip("less")),
                testing::ThrowsMessage<Error>(HasSubstr("has become shorter")));
    EXPECT_THAT(error_with(test::gzip(contents(0)).substr(0, 200)),
                testing::ThrowsMessage<Error>(HasSubstr("damaged or truncated")));
    EXPECT_EQ(cache.unpacked_bytes(), 0u);
    EXPECT_EQ(cache.open_shards(), 0u);
    write_text(shard.path(), test::gzip(contents(0)));
    EXPECT_EQ(read(*cache.open(shard)), contents(0));
}

}  // namespace
}  // namespace flux::data
