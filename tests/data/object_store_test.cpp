// Remote shards against a real server that drops connections, sends short bodies and is busy.
#include "flux/data/object_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "data/brace_expand.h"
#include "data/download.h"
#include "data/noise_shard.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/data/webdataset.h"
#include "support/local_server.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using Faults = std::vector<std::string>;

class Server : public test::LocalServer {
public:
    Server(const fs::path& folder, const fs::path& log, const Faults& faults)
        : LocalServer("python3", "flaky_server.py", folder, log, faults) {}
};

class ObjectStore : public testing::Test {
protected:
    void SetUp() override {
        fs::create_directories(folder("served"));
        remote_ = quick_remote(folder("cache"));
    }
    fs::path folder(const std::string& name) const { return scratch_.path() / name; }

    void make_shard(const std::string& name, int first, int count) const {
        write_noise_shard(folder("served") / name, first, count);
    }

    Server serve(const Faults& faults = {}) const {
        return Server(folder("served"), folder("log"), faults);
    }
    fs::path fetch_one(const std::string& item) const {
        return fetch_shards(std::vector{item}, remote_).at(0);
    }
    std::string error_of(const std::string& item) const {
        return test::problem_of([&] { fetch_one(item); });
    }
    void expect_same(const fs::path& fetched, const std::string& name) const {
        EXPECT_TRUE(read_text(fetched) == read_text(folder("served") / name)) << name;
    }
    WebDataset open(const std::string& path) const {
        return WebDataset(WebDatasetSettings{.path = path,
                                             .img_size = 32,
                                             .max_image_pixels = 1 << 20,
                                             .index_threads = 2,
                                             .remote = remote_});
    }

    test::TemporaryFolder scratch_;
    RemoteSettings remote_;
};

TEST_F(ObjectStore, AnEpochOverABadNetworkDeliversEverySampleOnce) {
    for (int shard = 0; shard < 3; ++shard) {
        make_shard(fmt::format("s-{:04}.tar", shard), 20 * shard, 20);
    }
    const Server server = serve(
        {"503", "drop:5000", "reset", "short:3000", "429", "drop:1", "short:700", "whole", "ok"});
    const WebDataset remote = open(server.url("s-{0000..0002}.tar"));
    const WebDataset local = open((folder("served") / "s-{0000..0002}.tar").string());
    EXPECT_EQ(remote.fingerprint(), local.fingerprint());
    ASSERT_EQ(remote.size(), 60);
    std::set<std::string> keys;
    for (int64_t row = 0; row < remote.size(); ++row) {
        const Sample sample = remote.read(row, 0);
        EXPECT_TRUE(sample.image.rgb == local.read(row, 0).image.rgb);
        EXPECT_EQ(sample.caption, fmt::format("picture {}", row));
        keys.insert(sample.key);
    }
    EXPECT_EQ(keys.size(), 60u);
}

TEST_F(ObjectStore, ALaterStartGoesOnInsideTheShard) {
    make_shard("a.tar", 0, 10);
    remote_.attempts = 1;
    {
        const Server server = serve({"drop:4000", "503"});
        const std::string error = error_of(server.url("a.tar"));
        EXPECT_THAT(error, HasSubstr("HTTP status 503"));
        EXPECT_THAT(error, HasSubstr("start again to go on at byte 4000"));
        expect_same(fetch_one(server.url("a.tar")), "a.tar");
        EXPECT_THAT(server.log(), HasSubstr("/a.tar bytes=4000-"));
        const std::string before = server.log();
        fetch_one(server.url("a.tar"));  // from the cache
        EXPECT_EQ(server.log(), before);
    }
}

TEST_F(ObjectStore, AChangedShardIsFetchedAnew) {
    make_shard("a.tar", 0, 10);
    remote_.attempts = 1;
    const Server server = serve({"drop:4000", "503"});
    error_of(server.url("a.tar"));
    fs::remove(folder("served") / "a.tar");
    make_shard("a.tar", 50, 12);
    expect_same(fetch_one(server.url("a.tar")), "a.tar");
}

TEST_F(ObjectStore, WithoutAValidatorALaterStartBeginsAtTheFront) {
    write_text(folder("served") / "a.tar", std::string(9000, 'x'));
    remote_.attempts = 1;
    const Server server = serve({"bare+drop:4000", "503", "bare+drop:5000", "bare+ok"});
    EXPECT_THAT(error_of(server.url("a.tar")), HasSubstr("at byte 4000"));
    write_text(folder("served") / "a.tar", std::string(9000, 'y'));
    expect_same(fetch_one(server.url("a.tar")), "a.tar");
    EXPECT_THAT(server.log(), HasSubstr("/a.tar bytes=5000-"));  // of one start the parts fit
}

TEST_F(ObjectStore, AnotherSizeIsAnotherShard) {
    make_shard("a.tar", 0, 10);
    const Server server = serve({"bare+drop:4000", "bare+longer", "bare+ok"});
    expect_same(fetch_one(server.url("a.tar")), "a.tar");
}

TEST_F(ObjectStore, RepliesInChunksEndWhereTheySay) {
    make_shard("a.tar", 0, 10);
    make_shard("b.tar", 0, 10);
    write_text(folder("served") / "empty.tar", "");
    const Server server = serve({"chunked+drop:3000", "503", "chunked"});
    expect_same(fetch_one(server.url("a.tar")), "a.tar");
    EXPECT_THAT(server.log(), HasSubstr("/a.tar bytes=3000-"));
    const Server once(folder("served"), folder("once_log"), {"chunked"});
    expect_same(fetch_one(once.url("b.tar")), "b.tar");
    expect_same(fetch_one(once.url("empty.tar")), "empty.tar");
    const Server emptied(folder("served"), folder("emptied_log"), {"drop:3000", "chunked"});
    fetch_one(emptied.url("b.tar"));
    expect_same(fetch_one(emptied.url("b.tar")), "b.tar");
    const Server sizeless(folder("served"), folder("sizeless_log"), Faults(9, "sizeless"));
    EXPECT_THAT(error_of(sizeless.url("b.tar")), HasSubstr("tells no size"));
}

TEST_F(ObjectStore, GivesUpWithAReason) {
    make_shard("a.tar", 0, 2);
    const Server server = serve(Faults(20, "503"));
    EXPECT_THAT(error_of(server.url("a.tar")), HasSubstr("given up after 3 attempts"));
    EXPECT_THAT(error_of(server.url("none.tar")), HasSubstr("HTTP status 404"));
    EXPECT_THAT(error_of("http://127.0.0.1:1/a.tar"), HasSubstr("given up"));
    EXPECT_THAT([&] { open("hf://a b/c"); },
                testing::ThrowsMessage<ConfigError>(HasSubstr("must be hf://owner/name")));
    {
        const Server slow(folder("served"), folder("slow_log"), Faults(20, "short:100"));
        remote_.most_attempts = 4;
        EXPECT_THAT(error_of(slow.url("a.tar")), HasSubstr("given up after 4 attempts: 400 of"));
    }
    remote_.cache_dir.clear();
    EXPECT_THAT(error_of(server.url("a.tar")), HasSubstr("no folder is set"));
}

TEST(WhatIsMissing, FollowsFromTheReply) {
    const HttpReply ended{.status = 200, .marks_end = true};  // as over HTTP/2
    EXPECT_EQ(what_is_missing(ended, 7), "");
    EXPECT_THAT(what_is_missing({.status = 200}, 7), HasSubstr("tells no size"));
    EXPECT_THAT(what_is_missing({.status = 206, .marks_end = true}, 7), HasSubstr("tells no size"));
    EXPECT_EQ(what_is_missing({.status = 206, .total = 9}, 9), "");
    EXPECT_EQ(what_is_missing({.status = 206, .total = 9}, 7), "7 of 9 bytes have come");
    EXPECT_EQ(what_is_missing({.status = 200, .marks_end = true, .failure = "cut"}, 7), "cut");
    EXPECT_EQ(what_is_missing({.status = 404}, 7), "HTTP status 404");
}

class CacheFolder : public testing::Test {
protected:
    CacheFolder() {
        for (const char* name : kNames) {
            const char* value = std::getenv(name);
            before_.push_back(value == nullptr ? std::nullopt : std::optional<std::string>(value));
            ::unsetenv(name);
        }
    }
    ~CacheFolder() override {
        for (size_t i = 0; i < kNames.size(); ++i) {
            before_[i] ? ::setenv(kNames[i], before_[i]->c_str(), 1) : ::unsetenv(kNames[i]);
        }
    }
    static constexpr std::array kNames{"FLUX_CACHE_DIR", "XDG_CACHE_HOME", "HOME"};
    std::vector<std::optional<std::string>> before_;
};

TEST_F(CacheFolder, IsSharedByRuns) {
    const auto folder = [] { return remote_settings_from_environment().cache_dir; };
    EXPECT_EQ(folder(), "");
    ::setenv("HOME", "/home/x", 1);
    EXPECT_EQ(folder(), "/home/x/.cache/flux_train");
    ::setenv("XDG_CACHE_HOME", "relative", 1);  // is to be ignored
    EXPECT_EQ(folder(), "/home/x/.cache/flux_train");
    ::setenv("XDG_CACHE_HOME", "/caches", 1);
    EXPECT_EQ(folder(), "/caches/flux_train");
    ::setenv("FLUX_CACHE_DIR", "/shared/shards", 1);
    EXPECT_EQ(folder(), "/shared/shards");
}

TEST_F(ObjectStore, TheTokenStaysWithItsHost) {
    make_shard("a.tar", 0, 2);
    const Server other(folder("served"), folder("other_log"), {});
    const Server server = serve();
    remote_.endpoint = server.url();
    remote_.token = "secret";
    fetch_one(server.url("to/" + other.port() + "/a.tar"));
    EXPECT_THAT(server.log(), HasSubstr("Bearer secret"));
    EXPECT_THAT(other.log(), HasSubstr("/a.tar"));
    EXPECT_THAT(other.log(), testing::Not(HasSubstr("secret")));
    fetch_one(other.url("a.tar"));
    EXPECT_THAT(other.log(), testing::Not(HasSubstr("secret")));
}

TEST_F(ObjectStore, ASubsetFetchesOnlyTheShardsItNeeds) {
    for (int shard = 0; shard < 6; ++shard) {
        make_shard(fmt::format("s-{}.tar", shard), 5 * shard, 5);
    }
    const Server server = serve();
    const std::string path = server.url("s-{0..5}.tar");
    const WebDataset subset(WebDatasetSettings{.path = path,
                                               .img_size = 32,
                                               .subset_size = 7,
                                               .max_image_pixels = 1 << 20,
                                               .remote = remote_});
    EXPECT_EQ(subset.size(), 7);
    EXPECT_EQ(subset.caption(6), "picture 6");
    EXPECT_THAT(server.log(), HasSubstr("/s-1.tar"));
    EXPECT_THAT(server.log(), testing::Not(HasSubstr("/s-2.tar")));
    EXPECT_EQ(open(path).size(), 30);
}

TEST_F(ObjectStore, ARepositoryIsItsTarShards) {
    make_shard("datasets/owner/name/resolve/main/b-1.tar", 5, 5);
    make_shard("datasets/owner/name/resolve/main/b-0.tar", 0, 5);
    fs::create_directories(folder("served") / "api/datasets/owner");
    write_text(folder("served") / "api/datasets/owner/name",
               R"({"siblings": [{"rfilename": "b-1.tar"}, {"rfilename": "README.md"},
                  {"rfilename": "b-0.tar"}]})");
    const Server server = serve({"503"});
    remote_.endpoint = server.url();
    const WebDataset dataset = open("hf://owner/name");
    ASSERT_EQ(dataset.size(), 10);
    EXPECT_EQ(dataset.caption(0), "picture 0");
    EXPECT_EQ(dataset.caption(9), "picture 9");
}

TEST_F(ObjectStore, TheCacheIsBounded) {
    make_shard("a.tar", 0, 10);
    const Server server = serve();
    remote_.cache_bytes = 6000;
    EXPECT_THAT(error_of(server.url("a.tar")), HasSubstr("more than 6000 bytes"));
    remote_.cache_bytes = 1 << 20;
    expect_same(fetch_one(server.url("a.tar")), "a.tar");
    // what others put there since counts, and what they take away
    remote_.cache_bytes = 3 * fs::file_size(folder("served") / "a.tar");
    make_shard("b.tar", 0, 10);
    write_text(folder("cache") / "other", std::string(remote_.cache_bytes, 'x'));
    remote_.make_room = [&] {
        const uint64_t bytes = fs::file_size(folder("cache") / "other");
        return fs::remove(folder("cache") / "other") ? bytes : 0;
    };
    expect_same(fetch_one(server.url("b.tar")), "b.tar");
    remote_.make_room = {};
    make_shard("c.tar", 0, 20);
    EXPECT_THAT(error_of(server.url("c.tar")), HasSubstr("remote shards would take more than"));
    fs::remove_all(folder("cache"));
    expect_same(fetch_one(server.url("c.tar")), "c.tar");
}

TEST_F(ObjectStore, CommandsAreShardsToo) {
    make_shard("a.tar", 0, 3);
    const std::string cat = "pipe:cat " + (folder("served") / "a.tar").string();
    expect_same(fetch_one(cat), "a.tar");
    EXPECT_EQ(open(cat).size(), 3);
    EXPECT_THAT(error_of(cat + "; exit 3"), HasSubstr("ended with status 3"));
    EXPECT_THAT(error_of(cat + "; kill -9 $$"), HasSubstr("ended with status 137"));
    const std::string later = cat + ".later || true";
    EXPECT_EQ(read_text(fetch_one(later)), "");
    fs::copy_file(folder("served") / "a.tar", folder("served") / "a.tar.later");
    expect_same(fetch_one(later), "a.tar");  // nothing is not kept for good
    remote_.stall_timeout_s = 0.1;
    EXPECT_THAT(error_of("pipe:sleep 30"), HasSubstr("no output"));
}

TEST(BraceExpand, RangesAndLists) {
    EXPECT_THAT(expand_braces("a-{0008..0010}.tar"),
                testing::ElementsAre("a-0008.tar", "a-0009.tar", "a-0010.tar"));
    EXPECT_THAT(expand_braces("{x,y}/{9..10}"), testing::ElementsAre("x/9", "x/10", "y/9", "y/10"));
    EXPECT_THAT(expand_braces("a{b}c{"), testing::ElementsAre("a{b}c{"));
    EXPECT_THAT(expand_braces("{3..1}"), testing::ElementsAre("{3..1}"));
    EXPECT_THAT(expand_braces("{0..0}"), testing::ElementsAre("0"));
    EXPECT_THROW(expand_braces("{0..9999999}"), Error);
    EXPECT_THROW(expand_braces("{0..18446744073709551615}"), Error);
    EXPECT_THAT(split_list("a,{b,c}d,,e"), testing::ElementsAre("a", "{b,c}d", "e"));
    EXPECT_THAT(split_list("pipe:cut -d, x"), testing::ElementsAre("pipe:cut -d, x"));
    EXPECT_THAT(split_list("a.tar,,pipe:cut -d, x"),
                testing::ElementsAre("a.tar", "pipe:cut -d, x"));
    EXPECT_THAT(split_list("a-pipe:b,c"), testing::ElementsAre("a-pipe:b", "c"));
}

}  // namespace
}  // namespace flux::data
