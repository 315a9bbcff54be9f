// scripts/download_*.sh: what they fetch, from where, and what they refuse.
#include <gmock/gmock.h>

#include "run/download_job.h"

namespace flux::test {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::vector<std::string> kScripts{"encoders", "autoencoder",  "cc12m",
                                        "coco",     "preprocessed", "empty_encodings"};

TEST_F(RunDownload, EncodersComeFromFourRepositoriesAndTheTokenGoesToTheHubAlone) {
    serve();
    const std::vector<std::array<std::string, 3>> files{
        {kAutoencoder, "ae.safetensors", "autoencoder/ae.safetensors"},
        {"comfyanonymous/flux_text_encoders", "clip_l.safetensors", "clip/clip_l.safetensors"},
        {"comfyanonymous/flux_text_encoders", "t5xxl_fp16.safetensors",
         "t5/t5xxl_fp16.safetensors"},
        {"openai/clip-vit-large-patch14", "vocab.json", "clip/vocab.json"},
        {"openai/clip-vit-large-patch14", "merges.txt", "clip/merges.txt"},
        {"google/t5-v1_1-xxl", "spiece.model", "t5/spiece.model"}};
    for (const auto& [repository, name, local] : files) {
        add_to_hub(repository, name, content(name, 3000), name.ends_with(".safetensors"));
    }
    // The hub's large files lie elsewhere.
    const fs::path elsewhere = folder_.path() / "elsewhere";
    fs::create_directories(elsewhere);
    const LocalServer storage("python3", "flaky_server.py", elsewhere, folder_.path() / "storage",
                              {});
    const fs::path moved = in_hub(kAutoencoder, "ae.safetensors");
    write_text(elsewhere / "ae", of_server(moved));
    put(moved.string() + ".redirect", storage.url("ae"));
    put(moved.string() + ".login", "secret-token");

    ASSERT_EQ(run_line("HF_TOKEN=secret-token " + command("encoders", "")), 0) << said();
    for (const auto& [repository, name, local] : files) {
        EXPECT_EQ(fetched(local), content(name, 3000)) << local;
        EXPECT_FALSE(fs::exists(target_ / (local + ".part")));
    }
    EXPECT_THAT(said(), HasSubstr("t5_encoder = \"" + (target_ / "t5").string()));
    EXPECT_THAT(said(), Not(HasSubstr("secret-token")));
    EXPECT_THAT(server_->log(), HasSubstr("Bearer secret-token"));
    EXPECT_THAT(storage.log(), HasSubstr("/ae - -")) << "the token went to another server";
    EXPECT_THAT(storage.log(), Not(HasSubstr("secret-token")));

    const std::string before = storage.log();
    ASSERT_EQ(run_line("HF_TOKEN=secret-token " + command("encoders", "")), 0) << said();
    EXPECT_THAT(said(), HasSubstr("6 are complete, 0 B to fetch"));
    EXPECT_EQ(storage.log(), before) << "fetched again";
    EXPECT_EQ(requests("spiece.model -").size(), 1U) << "fetched again";
}

TEST_F(RunDownload, ALoginThatIsMissingShowsBeforeAnythingIsFetched) {
    serve();
    add_to_hub(kAutoencoder, "ae.safetensors", content("ae", 100));
    put(in_hub(kAutoencoder, "ae.safetensors").string() + ".login", "right");
    EXPECT_EQ(run_line("HF_TOKEN= " + command("autoencoder", "")), 1);
    EXPECT_THAT(said(), HasSubstr("asks for a login (HTTP 401): accept the terms at " +
                                  server_->url(kAutoencoder)));
    EXPECT_THAT(said(), HasSubstr("HF_TOKEN"));
    EXPECT_EQ(run("autoencoder", "--hf_token=wrong"), 1);
    EXPECT_THAT(said(), HasSubstr("refuses the access token (HTTP 403)"));
    EXPECT_THAT(said(), Not(HasSubstr("wrong")));
    EXPECT_FALSE(fs::exists(target_));
    ASSERT_EQ(run("autoencoder", "--hf_token right"), 0) << said();
    EXPECT_EQ(fetched("ae.safetensors"), content("ae", 100));
}

// As where a signature has run out: the token was good enough for the hub.
TEST_F(RunDownload, ARefusalByTheStorageIsNotTheTokensFault) {
    serve();
    add_to_hub(kAutoencoder, "ae.safetensors", content("ae", 100));
    const fs::path elsewhere = folder_.path() / "elsewhere";
    fs::create_directories(elsewhere);
    write_text(elsewhere / "ae?secret-signature.login", "signature");
    const LocalServer storage("python3", "flaky_server.py", elsewhere, folder_.path() / "storage",
                              {});
    put(in_hub(kAutoencoder, "ae.safetensors").string() + ".redirect",
        storage.url("ae?secret-signature"));
    EXPECT_EQ(run("autoencoder", "--hf_token=right"), 1);
    EXPECT_THAT(said(),
                HasSubstr("ae.safetensors: access is refused (HTTP 401) by " + storage.url()));
    EXPECT_THAT(said(), Not(HasSubstr("token")));
    EXPECT_THAT(said(), Not(HasSubstr("signature")));
}

TEST_F(RunDownload, AnotherRepositoryAndFileCanBeNamed) {
    serve();
    add_to_hub("someone/vae", "sub/flux vae#1.safetensors", content("vae", 100));
    ASSERT_EQ(run("autoencoder",
                  "--repo_id someone/vae --ae_path='sub/flux vae#1.safetensors' --hf_token=a"),
              0)
        << said();
    EXPECT_EQ(fetched("flux vae#1.safetensors"), content("vae", 100));
    EXPECT_EQ(run("autoencoder", "--repo_id someone/vae --ae_path=none.safetensors"), 1);
    EXPECT_THAT(said(), HasSubstr("someone/vae: has no file none.safetensors"));
    EXPECT_EQ(run("autoencoder", "--repo_id nobody"), 2);
}

TEST_F(RunDownload, RefusesADiskThatIsTooSmall) {
    serve();
    add_to_hub(kShards, "cc12m-train-0000.tar", content("shard", 100));
    rows_[kShards][0]["size"] = 90'000'000'000'000'000;
    put_tree(kShards);
    for (const std::string how : {"", " --dry-run"}) {
        EXPECT_EQ(run("cc12m", "--set raw" + how), 2);
        EXPECT_THAT(said(),
                    HasSubstr(target_.string() + ": needs 90.0 PB (90000000000000000 bytes)"));
        EXPECT_THAT(said(), HasSubstr(" free: make room, or name another folder with --local_dir"));
        EXPECT_FALSE(fs::exists(target_));
    }
}

TEST_F(RunDownload, ADryRunPrintsTheSizesAndWritesNothing) {
    serve();
    add_list("flux-1-cc12m-preprocessed", "flux_1/cc12m", {{"data-0.arrow", content("a", 4000)}});
    add_list("flux-1-coco-preprocessed", "flux_1/coco", {{"data-0.arrow", content("b", 3000)}});
    ASSERT_EQ(run("preprocessed", "--dry-run"), 0) << said();
    EXPECT_THAT(said(),
                HasSubstr(fmt::format("{}: 4000 bytes from {}",
                                      (target_ / "cc12m_preprocessed/data-0.arrow").string(),
                                      server_->url("flux_1/cc12m/data-0.arrow"))));
    EXPECT_THAT(said(), HasSubstr("sum: 2 files, 7000 bytes (7.0 kB); to fetch: 7000 bytes"));
    EXPECT_FALSE(fs::exists(target_));
    EXPECT_TRUE(requests("data-0.arrow -").empty());

    ASSERT_EQ(run("preprocessed", "--set coco"), 0) << said();
    EXPECT_EQ(fetched("coco_preprocessed/data-0.arrow"), content("b", 3000));
    ASSERT_EQ(run("preprocessed", "--dry_run"), 0) << said();
    EXPECT_THAT(said(), HasSubstr("/coco/data-0.arrow, complete"));
    EXPECT_THAT(said(), HasSubstr("to fetch: 4000 bytes"));
}

TEST_F(RunDownload, LeavesOtherFilesAloneAndVerifiesOnRequest) {
    serve();
    add_to_hub("someone/vae", "ae.safetensors", content("vae", 900));
    const std::string which = "--repo_id someone/vae";
    fs::create_directories(target_);
    write_text(target_ / "ae.safetensors", "mine");
    EXPECT_EQ(run("autoencoder", which), 1);
    EXPECT_THAT(said(), HasSubstr((target_ / "ae.safetensors").string() +
                                  ": has 4 bytes, not the server's 900: move it away"));
    EXPECT_EQ(fetched("ae.safetensors"), "mine");
    write_text(target_ / "ae.safetensors", content("other", 900));
    EXPECT_EQ(run("autoencoder", which), 0) << said();
    EXPECT_EQ(run("autoencoder", which + " --verify"), 1);
    EXPECT_THAT(said(), HasSubstr("ae.safetensors: its checksum is not "));
    EXPECT_EQ(fetched("ae.safetensors"), content("other", 900));
}

TEST_F(RunDownload, ListsOfManyPagesAreReadToTheEnd) {
    serve();
    add_to_hub(kShards, "cc12m-train-0000.tar", content("first", 1000));
    const fs::path second = tree(kShards).string() + "&cursor=2";
    put(tree(kShards).string() + ".headers", "Link: <" + server_->url(second) + ">; rel=\"next\"");
    const std::string first_page = of_server(tree(kShards));
    rows_.clear();
    add_to_hub(kShards, "cc12m-train-0001.tar", content("second", 1000));
    add_to_hub(kShards, "README.md", content("readme", 10), false);
    put(second, of_server(tree(kShards)));
    put(tree(kShards), first_page);
    ASSERT_EQ(run("cc12m", "--set=raw"), 0) << said();
    EXPECT_EQ(fetched("cc12m-wds/cc12m-train-0000.tar"), content("first", 1000));
    EXPECT_EQ(fetched("cc12m-wds/cc12m-train-0001.tar"), content("second", 1000));
    EXPECT_FALSE(fs::exists(target_ / "cc12m-wds/README.md"));
}

TEST_F(RunDownload, ListsWhosePagesNameEachOtherAreRefused) {
    serve();
    add_to_hub(kShards, "cc12m-train-0000.tar", content("first", 1000));
    const auto lead = [&](const fs::path& from, const fs::path& to) {
        put(from.string() + ".headers", "Link: <" + server_->url(to) + ">; rel=\"next\"");
    };
    const fs::path first = tree(kShards), second = first.string() + "&cursor=2";
    put(second, of_server(first));
    lead(first, second);
    lead(second, first);
    EXPECT_EQ(run_line("timeout 60 bash -c \"" + command("cc12m", "--set=raw") + "\""), 1);
    EXPECT_THAT(said(), HasSubstr(server_->url(first) + ": is named as the next page a second"));
}

TEST_F(RunDownload, NamesThatLeadOutOfTheFolderAreRefused) {
    serve();
    for (const std::string name : {"../evil", "/evil", "a/../../evil", "a\\b"}) {
        add_list("flux-1-empty-encodings", "e", {{"a", "text"}});
        put("metadata/flux-1-empty-encodings.md5", std::string(32, 'a') + "  " + name + "\n");
        EXPECT_EQ(run("empty_encodings"), 1) << name;
        EXPECT_THAT(said(), HasSubstr("cannot be one in the folder")) << name;
    }
    for (const std::string bad : {"", "not a sum  a\n", "<html></html>\n"}) {
        put("metadata/flux-1-empty-encodings.md5", bad);
        EXPECT_EQ(run("empty_encodings"), 1) << bad;
    }
    put("metadata/flux-1-empty-encodings.uri", "<html>a login page</html>");
    EXPECT_EQ(run("empty_encodings"), 1);
    EXPECT_THAT(said(), HasSubstr("must hold one address"));
    fs::remove(served_ / "metadata/flux-1-empty-encodings.uri");
    EXPECT_EQ(run("empty_encodings"), 1);
    EXPECT_THAT(said(), HasSubstr("is not there (HTTP 404)"));
    EXPECT_FALSE(fs::exists(target_));
}

TEST_F(RunDownload, NamesAreNeverCommands) {
    serve();
    const fs::path trace = folder_.path() / "trace";
    std::map<std::string, std::string> files;
    for (const std::string name : {"a$(touch ..trace)", "b]c[d", "e`touch ..trace`", "f;g&h i"}) {
        files[name] = content(name, 100);
    }
    files["x[$(touch " + trace.filename().string() + ")]"] = "text";
    add_list("flux-1-empty-encodings", "e", files);
    ASSERT_EQ(run_line("cd '" + folder_.path().string() + "' && " +
                       command("empty_encodings", "--verify")),
              0)
        << said();
    for (const auto& [name, text] : files) {
        EXPECT_EQ(fetched("empty_encodings/" + name), text) << name;
    }
    EXPECT_FALSE(fs::exists(trace));
    EXPECT_FALSE(fs::exists(folder_.path() / "..trace"));
}

TEST_F(RunDownload, CocoIsUnpackedAsTheCommandWantsIt) {
    serve({"drop:100"});
    const fs::path made = folder_.path() / "made";
    fs::create_directories(made / "val2014");
    fs::create_directories(made / "annotations");
    write_text(made / "val2014/COCO_val2014_000000000042.jpg", content("picture", 3000));
    write_text(made / "annotations/captions_val2014.json", "{}");
    write_text(made / "annotations/instances_val2014.json", "{}");
    put("zips/x", "");
    put("annotations/x", "");
    const std::string zip = fmt::format(
        "cd '{}' && python3 -m zipfile -c '{}/zips/val2014.zip' val2014 && python3 -m zipfile -c "
        "'{}/annotations/annotations_trainval2014.zip' annotations",
        made.string(), served_.string(), served_.string());
    ASSERT_EQ(std::system(zip.c_str()), 0);
    add_list("coco2014", ".",
             {{"zips/val2014.zip", of_server("zips/val2014.zip")},
              {"annotations/annotations_trainval2014.zip",
               of_server("annotations/annotations_trainval2014.zip")}});
    const std::string uri = "--set raw --uri " + server_->url("metadata/coco2014.uri");
    ASSERT_EQ(run("coco", uri), 0) << said();
    const fs::path raw = "coco2014_raw";
    EXPECT_EQ(fetched(raw / "val2014/COCO_val2014_000000000042.jpg"), content("picture", 3000));
    EXPECT_EQ(fetched(raw / "annotations/captions_val2014.json"), "{}");
    EXPECT_FALSE(fs::exists(target_ / raw / "annotations/instances_val2014.json"));
    EXPECT_FALSE(fs::exists(target_ / raw / "zips"));
    EXPECT_THAT(said(), HasSubstr("data coco --input-images-dir " + (target_ / raw).string()));
    const size_t before = server_->log().size();
    ASSERT_EQ(run("coco", uri), 0) << said();
    EXPECT_EQ(server_->log().size(), before) << "all was there";
}

TEST_F(RunDownload, WrongUseEndsWithTwo) {
    serve();
    for (const std::string& name : kScripts) {
        EXPECT_EQ(run(name, "--help"), 0) << name;
        EXPECT_THAT(said(), HasSubstr("scripts/download_" + name + ".sh")) << name;
        EXPECT_THAT(said(), HasSubstr("--local_dir DIR")) << name;
        EXPECT_EQ(run(name, "--colour=red"), 2) << name;
        EXPECT_THAT(said(), HasSubstr("unknown option --colour")) << name;
    }
    for (const std::string wrong : {"--set=some", "--jobs=0", "--jobs=many", "--retries",
                                    "--dry-run=1", "--local_dir=", "one two", "--uri=list.txt",
                                    "--uri=/none/list.uri", "--set=raw --uri=a.uri"}) {
        EXPECT_EQ(run("cc12m", wrong), 2) << wrong << said();
    }
    EXPECT_EQ(run("preprocessed", "--uri=a.uri"), 2);
    EXPECT_EQ(run("autoencoder", "--hf_token='a\"b'"), 2);
    EXPECT_THAT(said(), Not(HasSubstr("a\"b")));
    const size_t asked = server_->log().size();
    EXPECT_EQ(run("encoders", "--local_dir=/proc/self/status/encoders"), 2);
    EXPECT_THAT(said(), HasSubstr("/proc/self/status is no folder that can be written"));
    EXPECT_EQ(server_->log().size(), asked) << "the folder is looked at before the network";
    EXPECT_FALSE(fs::exists(target_));
}

TEST_F(RunDownload, ScriptsAreWellFormed) {
    if (word_of("command -v shellcheck").empty()) {
        GTEST_SKIP() << "needs shellcheck";
    }
    std::string line = fmt::format("cd '{}' && shellcheck -x", FLUX_SOURCE_DIR);
    for (const std::string& name : kScripts) {
        line += fmt::format(" scripts/download_{}.sh", name);
    }
    EXPECT_EQ(run_line(line), 0) << said();
}

}  // namespace
}  // namespace flux::test
