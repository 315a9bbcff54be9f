// Indexes of shards that are kept on disk: found again, and made anew when they do not fit.
#include "data/shard_index.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>

#include "data/index_file.h"
#include "data/packed_bytes.h"
#include "data/tar_bytes.h"
#include "flux/base/file.h"
#include "flux/base/png.h"
#include "flux/base/storage_error.h"
#include "flux/data/registry.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

std::string tar_of(int samples, int side = 16) {
    const std::string picture =
        encode_png(Image{side, side, std::vector<uint8_t>(size_t(3) * side * side, 1)}.view());
    std::string tar;
    for (int i = 0; i < samples; ++i) {
        tar += test::tar_member(std::to_string(i) + ".png", picture) +
               test::tar_member(std::to_string(i) + ".txt", "x");
    }
    return tar + test::tar_end();
}

class ShardIndexTest : public testing::Test {
protected:
    IndexedShard open() {
        ShardCache cache{ShardLimits{}};
        return index_shards({&shard_, 1}, cache, 1, folder_.path() / "index").front();
    }
    /// Whether an index of the shard as it is now can be found beside it.
    bool is_kept() const { return read_index_file(beside_, shard_, stamp_of(shard_)).has_value(); }

    test::TemporaryFolder folder_;
    fs::path shard_ = folder_.path() / "a.tar";
    fs::path beside_ = folder_.path() / ".a.tar.index";
};

void expect_equal(const IndexedShard& a, const IndexedShard& b) {
    EXPECT_EQ(a.shard->size(), b.shard->size());
    EXPECT_EQ(a.shard->packing(), b.shard->packing());
    EXPECT_EQ(a.index.damage, b.index.damage);
    EXPECT_EQ(a.index.has_end_mark, b.index.has_end_mark);
    ASSERT_EQ(a.index.samples.size(), b.index.samples.size());
    for (size_t i = 0; i < a.index.samples.size(); ++i) {
        const IndexedSample &x = a.index.samples[i], &y = b.index.samples[i];
        EXPECT_EQ(x.key, y.key);
        EXPECT_EQ(x.problem, y.problem);
        ASSERT_EQ(x.picture.has_value(), y.picture.has_value());
        EXPECT_TRUE(!x.picture || (x.picture->width == y.picture->width &&
                                   x.picture->height == y.picture->height));
        ASSERT_EQ(x.members.size(), y.members.size());
        for (size_t m = 0; m < x.members.size(); ++m) {
            EXPECT_EQ(x.members[m].extension, y.members[m].extension);
            EXPECT_EQ(x.members[m].offset, y.members[m].offset);
            EXPECT_EQ(x.members[m].size, y.members[m].size);
        }
    }
}

TEST_F(ShardIndexTest, IsTheSameFromDisk) {
    std::string tar = tar_of(200);
    tar.resize(tar.size() - 1024);  // without end mark; then damaged
    write_text(shard_, tar + test::tar_member("bad.jpg", "none") + std::string(512, 'x'));
    const IndexedShard scanned = open();
    ASSERT_TRUE(is_kept());
    EXPECT_FALSE(scanned.index.damage.empty());
    expect_equal(scanned, open());
}

// Damage that a scan would find cannot show in what was not scanned.
TEST_F(ShardIndexTest, ASecondStartDoesNotScan) {
    write_text(shard_, tar_of(200));
    const IndexedShard scanned = open();
    struct stat info {};
    ASSERT_EQ(::stat(shard_.c_str(), &info), 0);
    write_text(shard_, std::string(fs::file_size(shard_), 'x'));
    const timespec times[2] = {info.st_atim, info.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, shard_.c_str(), times, 0), 0);
    expect_equal(scanned, open());
    const timespec later[2] = {info.st_atim, {info.st_mtim.tv_sec + 1, 0}};
    ASSERT_EQ(::utimensat(AT_FDCWD, shard_.c_str(), later, 0), 0);
    EXPECT_FALSE(open().error.empty());
}

TEST_F(ShardIndexTest, OutdatedOnesAreMadeAnew) {
    write_text(shard_, tar_of(200));
    open();
    write_text(shard_, tar_of(150));
    EXPECT_FALSE(is_kept());
    EXPECT_EQ(open().index.samples.size(), 150u);
    EXPECT_TRUE(is_kept());
}

// A read that fails says nothing about what the archive holds: no index of half a shard may come
// of it. The file is shorter than the shard was, as after a copy over it.
TEST_F(ShardIndexTest, WhatCannotBeReadIsNotTakenForDamage) {
    std::string tar = tar_of(200);
    tar.resize(tar.size() - 1024);
    write_text(shard_, tar);
    const ShardReader reader(Shard(shard_, Packing::kNone, tar.size() + 512));
    EXPECT_THROW(index_tar(reader), StorageError);
    std::array<uint8_t, 16> out{};
    const ShardReader memory(Shard("/proc/self/mem", Packing::kNone, 4096));  // nothing at 0
    EXPECT_THAT([&] { memory.read_at(0, out); },
                testing::ThrowsMessage<StorageError>(testing::HasSubstr("Input/output error")));
}

TEST_F(ShardIndexTest, DamagedOnesAreMadeAnew) {
    write_text(shard_, tar_of(150));
    const IndexedShard scanned = open();
    const std::string good = read_text(beside_);
    for (size_t at = 0; at < good.size(); at += 1 + good.size() / 97) {
        std::string flipped = good;
        flipped[at] = static_cast<char>(flipped[at] ^ 4);
        write_text(beside_, flipped);
        EXPECT_FALSE(is_kept()) << "byte " << at;
        write_text(beside_, good.substr(0, at));
        EXPECT_FALSE(is_kept()) << "cut at " << at;
    }
    expect_equal(scanned, open());
    EXPECT_EQ(read_text(beside_), good);
}

TEST_F(ShardIndexTest, LiesInTheFolderWhereNothingCanBeWrittenBesideTheShard) {
    write_text(shard_, tar_of(150));
    fs::create_directory(beside_);  // also holds for root, whom permissions do not stop
    const IndexedShard scanned = open();
    ASSERT_EQ(std::distance(fs::directory_iterator(folder_.path() / "index"), {}), 1);
    const auto file = fs::directory_iterator(folder_.path() / "index")->path();
    EXPECT_TRUE(read_index_file(file, shard_, stamp_of(shard_)));
    expect_equal(scanned, open());
}

TEST_F(ShardIndexTest, KeepsTheSizeOfCompressedShards) {
    shard_ = folder_.path() / "a.tar.gz";
    write_text(shard_, test::gzip(tar_of(150)));
    const IndexedShard scanned = open();
    ASSERT_TRUE(fs::exists(folder_.path() / ".a.tar.gz.index"));
    expect_equal(scanned, open());
}

TEST_F(ShardIndexTest, SmallShardsAndToolsLeaveNothingBehind) {
    write_text(shard_, tar_of(20));
    open();
    EXPECT_FALSE(fs::exists(beside_));
    write_text(shard_, tar_of(200));
    make_dataset({.name = "webdataset", .path = shard_.string(), .img_size = 16});
    EXPECT_FALSE(fs::exists(beside_));
    const auto dataset = make_dataset({.name = "webdataset",
                                       .path = shard_.string(),
                                       .img_size = 16,
                                       .index_folder = folder_.path() / "index"});
    EXPECT_TRUE(fs::exists(beside_));
    const auto again = make_dataset({.name = "webdataset",
                                     .path = folder_.path() / "*",
                                     .img_size = 16,
                                     .index_folder = folder_.path() / "index"});
    EXPECT_EQ(again->fingerprint(), dataset->fingerprint());
    EXPECT_EQ(again->read(199, 0).image.rgb, dataset->read(199, 0).image.rgb);
}

}  // namespace
}  // namespace flux::data
