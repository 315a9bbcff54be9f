// s3:// shards against moto's S3 server, with requests that it spoils, and gs:// shards against an
// emulator. FLUX_OBJECT_STORES names a virtual environment that has them (pip install
// 'moto[s3,server]' gcp-storage-emulator); else these tests skip.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "data/noise_shard.h"
#include "flux/base/file.h"
#include "flux/data/object_store.h"
#include "flux/data/webdataset.h"
#include "support/local_server.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class CloseAtTheEnd : public testing::Environment {
public:
    void TearDown() override { close_object_stores(); }
};
[[maybe_unused]] const auto* const close_at_the_end =
    testing::AddGlobalTestEnvironment(new CloseAtTheEnd);

class Objects : public testing::Test {
protected:
    void SetUp() override {
        const char* python = std::getenv("FLUX_OBJECT_STORES");
        if (python == nullptr) {
            GTEST_SKIP() << "needs an S3 server: set FLUX_OBJECT_STORES to a virtual environment "
                            "with moto[s3,server] and gcp-storage-emulator";
        }
        python_ = std::string(python) + "/bin/python";
        ::setenv("AWS_ACCESS_KEY_ID", "someone", 1);
        ::setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
        ::setenv("AWS_DEFAULT_REGION", "us-east-1", 1);
        fs::create_directories(folder("served"));
        remote_ = quick_remote(folder("cache"));
        for (int shard = 0; shard < 3; ++shard) {
            write_noise_shard(folder("served") / fmt::format("a/s-{:04}.tar", shard), 5 * shard, 5);
        }
        write_text(folder("served") / "a/README.md", "not a shard");
        write_noise_shard(folder("served") / "b/t.tar", 50, 5);
    }
    fs::path folder(const std::string& name) const { return scratch_.path() / name; }
    void serve(const std::vector<std::string>& faults = {}) {
        server_.emplace(python_, "object_server.py", folder("served"), folder("log"), faults);
        remote_.s3_endpoint = server_->url();
    }
    std::string error_of(const std::string& item) const {
        return test::problem_of(
            [&] { fetch_shards(list_shards(std::vector{item}, remote_), remote_); });
    }
    void expect_same(const std::string& address, const std::string& name) const {
        EXPECT_TRUE(read_text(fetch_shard(address, remote_)) == read_text(folder("served") / name))
            << address;
    }

    test::TemporaryFolder scratch_;
    RemoteSettings remote_;
    std::optional<test::LocalServer> server_;
    std::string python_;
};

TEST_F(Objects, AreNamedByAddressRangePatternOrFolder) {
    serve();
    const std::string first = "s3://shards/a/s-0000.tar", last = "s3://shards/a/s-0002.tar";
    const auto listed = [&](const std::string& item) {
        return list_shards(std::vector{item}, remote_);
    };
    EXPECT_THAT(listed(first), testing::ElementsAre(first));
    EXPECT_THAT(listed("s3://shards/a/s-*.tar"),
                testing::ElementsAre(first, "s3://shards/a/s-0001.tar", last));
    EXPECT_THAT(listed("s3://shards/a/s-000[02].tar"), testing::ElementsAre(first, last));
    EXPECT_THAT(listed("s3://shards/a/"), testing::SizeIs(3));
    EXPECT_THAT(listed("s3://shards/a"), testing::SizeIs(3));
    EXPECT_THAT(listed("s3://shards/*/*.tar"), testing::SizeIs(4));
    EXPECT_THAT(error_of("s3://shards/c/*.tar"), HasSubstr("names no object"));
    EXPECT_THAT(error_of("s3://shards/a/s-9.tar"), HasSubstr("there is no such object"));
    EXPECT_THAT(error_of("s3:///a.tar"), HasSubstr("names no bucket"));
    const WebDataset dataset(WebDatasetSettings{.path = "s3://shards/a/s-{0000..0002}.tar",
                                                .img_size = 32,
                                                .max_image_pixels = 1 << 20,
                                                .remote = remote_});
    ASSERT_EQ(dataset.size(), 15);
    EXPECT_EQ(dataset.caption(14), "picture 14");
    const std::string before = server_->log();
    expect_same(last, "a/s-0002.tar");  // from the cache
    EXPECT_EQ(server_->log(), before);
}

TEST_F(Objects, ComeWholeOverABadNetwork) {
    serve({"503", "cut:3000", "503", "503", "cut:1", "cut:9000"});
    expect_same("s3://shards/a/s-0000.tar", "a/s-0000.tar");
    expect_same("s3://shards/b/t.tar", "b/t.tar");
}

TEST_F(Objects, ThatChangeUnderWayAreFetchedAnew) {
    serve({"change"});
    EXPECT_EQ(read_text(fetch_shard("s3://shards/b/t.tar", remote_)), "another object");
}

TEST_F(Objects, RefusalNamesAddressAndRemedy) {
    serve({"403"});
    EXPECT_THAT(error_of("s3://shards/b/t.tar"),
                testing::AllOf(HasSubstr("s3://shards/b/t.tar: "), HasSubstr("access is refused"),
                               HasSubstr("AWS_ACCESS_KEY_ID")));
    EXPECT_THAT(error_of("s3://anonymous@shards/b/t.tar"), HasSubstr("access is refused"));
    EXPECT_THAT(error_of("s3://none/b/t.tar"), HasSubstr("no such"));
}

TEST_F(Objects, OfGoogleToo) {
    server_.emplace(python_, "google_object_server.py", folder("served"), folder("log"),
                    std::vector<std::string>{});
    remote_.gs_endpoint = server_->url();
    EXPECT_THAT(list_shards(std::vector<std::string>{"gs://shards/a/s-*.tar"}, remote_),
                testing::ElementsAre("gs://shards/a/s-0000.tar", "gs://shards/a/s-0001.tar",
                                     "gs://shards/a/s-0002.tar"));
    expect_same("gs://shards/a/s-0001.tar", "a/s-0001.tar");
    EXPECT_THAT(error_of("gs://shards/a/s-9.tar"), HasSubstr("there is no such object"));
}

}  // namespace
}  // namespace flux::data
