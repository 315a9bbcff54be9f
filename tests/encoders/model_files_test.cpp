#include "flux/encoders/model_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "encoders/small_models.h"
#include "flux/base/file.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::encoders {
namespace {

namespace fs = std::filesystem;
using test::problem_of;
using testing::HasSubstr;

class ModelFilesTest : public testing::Test {
protected:
    ModelFilesTest() {
        for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"}) {
            ::unsetenv(name);
        }
        ::setenv("HF_HOME", (folder_.path() / "hf").c_str(), 1);
    }

    /// An empty file below the temporary folder.
    fs::path touch(const std::string& name, const std::string& text = "") {
        const fs::path path = folder_.path() / name;
        fs::create_directories(path.parent_path());
        write_text(path, text);
        return path;
    }
    ModelFiles find(ModelKind kind, const fs::path& value) {
        return find_model_files(kind, {"encoder.x", value.string()});
    }
    std::string problem(const fs::path& value, ModelKind kind = ModelKind::kT5) {
        return problem_of([&] { find(kind, value); });
    }

    test::TemporaryFolder folder_;
};

TEST_F(ModelFilesTest, FoldersHoldOneFileOrAnIndex) {
    const fs::path one = touch("one/model.safetensors");
    const fs::path config = touch("one/config.json", "{}");
    EXPECT_EQ(find(ModelKind::kT5, folder_.path() / "one").weights, one);
    EXPECT_EQ(find(ModelKind::kT5, folder_.path() / "one").config, config);
    const fs::path index = touch("many/model.safetensors.index.json");
    touch("many/model-00001-of-00002.safetensors");
    touch("many/model-00002-of-00002.safetensors");
    EXPECT_EQ(find(ModelKind::kT5, folder_.path() / "many").weights, index);
    const fs::path only = touch("other/t5xxl_fp16.safetensors");
    EXPECT_EQ(find(ModelKind::kT5, folder_.path() / "other").weights, only);
    EXPECT_TRUE(find(ModelKind::kT5, folder_.path() / "other").config.empty());
}

TEST_F(ModelFilesTest, FoldersWithoutOneSetOfWeightsAreRefused) {
    touch("two/a.safetensors");
    touch("two/b.safetensors");
    EXPECT_THAT(problem(folder_.path() / "two"),
                HasSubstr("holds a.safetensors and b.safetensors: name the file"));
    touch("pickled/pytorch_model.bin");
    EXPECT_THAT(problem(folder_.path() / "pickled"), HasSubstr("only weights as .bin"));
    fs::create_directories(folder_.path() / "empty");
    EXPECT_THAT(problem(folder_.path() / "empty"), HasSubstr("holds no safetensors file"));
    EXPECT_THAT(problem("/nowhere/t5"), HasSubstr("encoder.x = \"/nowhere/t5\": no such folder"));
    EXPECT_THAT(problem(""), HasSubstr("encoder.x = \"\""));
}

TEST_F(ModelFilesTest, PathsThatCannotBeLookedAtAreNamed) {
    EXPECT_THAT(problem(std::string(5000, 'x')), HasSubstr("no such folder or file"));
    fs::create_symlink("circle", folder_.path() / "circle");
    EXPECT_THAT(problem(folder_.path() / "circle/model"),
                HasSubstr("circle/model\": cannot be looked at: Too many levels"));
}

TEST_F(ModelFilesTest, PipelinesHaveAFolderForEachPart) {
    touch("pipeline/model_index.json");
    touch("pipeline/flux1-schnell.safetensors");
    const fs::path clip = touch("pipeline/text_encoder/model.safetensors");
    const fs::path t5 = touch("pipeline/text_encoder_2/model.safetensors.index.json");
    const fs::path vae = touch("pipeline/vae/diffusion_pytorch_model.safetensors");
    const fs::path pipeline = folder_.path() / "pipeline";
    EXPECT_EQ(find(ModelKind::kClip, pipeline).weights, clip);
    EXPECT_EQ(find(ModelKind::kT5, pipeline).weights, t5);
    EXPECT_EQ(find(ModelKind::kAutoencoder, pipeline).weights, vae);
    fs::remove_all(pipeline / "vae");
    EXPECT_THAT(problem(pipeline, ModelKind::kAutoencoder), HasSubstr("vae is missing"));
    const fs::path ae = touch("pipeline/ae.safetensors");
    EXPECT_EQ(find(ModelKind::kAutoencoder, pipeline).weights, ae);
}

TEST_F(ModelFilesTest, AConfigBesideASingleFileMustDescribeIt) {
    const fs::path file = touch("x/t5xxl_fp16.safetensors");
    const fs::path config = touch("x/config.json", R"({"model_type": "clip"})");
    EXPECT_TRUE(find(ModelKind::kT5, file).config.empty());
    EXPECT_EQ(find(ModelKind::kClip, file).config, config);
    touch("x/config.json", R"({"model_type": "t5"})");
    EXPECT_EQ(find(ModelKind::kT5, file).config, config);
}

TEST_F(ModelFilesTest, RepositoriesAreFoundInTheCache) {
    const std::string model = "models--google--t5-v1_1-xxl/";
    touch("hf/hub/" + model + "refs/main", "0123abcd\n");
    const fs::path weights = touch("hf/hub/" + model + "snapshots/0123abcd/model.safetensors");
    EXPECT_EQ(find(ModelKind::kT5, "google/t5-v1_1-xxl").weights, weights);
    EXPECT_EQ(cached_snapshot("google/t5-v1_1-xxl"), weights.parent_path());
    EXPECT_EQ(cached_snapshot("google/t5-v1_1-small"), "");
    const std::string absent = problem("google/t5-v1_1-small");
    EXPECT_THAT(absent, HasSubstr("encoder.x = \"google/t5-v1_1-small\""));
    EXPECT_THAT(absent, HasSubstr((folder_.path() / "hf/hub").string()));
    EXPECT_THAT(absent, HasSubstr("scripts/download_encoders.sh"));
    ::setenv("HF_HUB_CACHE", (folder_.path() / "elsewhere").c_str(), 1);
    EXPECT_THAT(problem("google/t5-v1_1-xxl"), HasSubstr("elsewhere"));
}

TEST_F(ModelFilesTest, ACacheThatPointsElsewhereIsRefused) {
    const std::string model = "hf/hub/models--a--b/";
    for (const std::string reference : {"../../x", "/etc", "", "missing", "a\nb"}) {
        touch(model + "refs/main", reference);
        EXPECT_THAT(problem("a/b"), HasSubstr("refs/main: names no folder")) << reference;
    }
}

TEST_F(ModelFilesTest, TokenizersAreFoundBesideTheWeights) {
    const auto folder_for = [&](ModelKind kind, const std::string& weights,
                                const std::string& option = "") {
        return find_tokenizer_folder(kind, find(kind, folder_.path() / weights),
                                     {"encoder.x_tokenizer", option});
    };
    touch("a/text_encoder_2/model.safetensors");
    touch("a/text_encoder/model.safetensors");
    EXPECT_THAT(problem_of([&] { folder_for(ModelKind::kT5, "a/text_encoder_2"); }),
                HasSubstr("name its folder with encoder.x_tokenizer"));
    const fs::path t5 = touch("a/tokenizer_2/spiece.model");
    const fs::path clip = touch("a/tokenizer/vocab.json");
    EXPECT_EQ(folder_for(ModelKind::kT5, "a/text_encoder_2"), t5.parent_path());
    EXPECT_EQ(folder_for(ModelKind::kT5, "a/text_encoder_2/"), t5.parent_path());
    EXPECT_EQ(folder_for(ModelKind::kClip, "a/text_encoder"), clip.parent_path());
    const fs::path own = touch("a/text_encoder/tokenizer.json");
    EXPECT_EQ(folder_for(ModelKind::kClip, "a/text_encoder"), own.parent_path());
    EXPECT_EQ(folder_for(ModelKind::kClip, "a/text_encoder", clip.parent_path()),
              clip.parent_path());
    // Both text encoders' weights in one folder, with the tokenizer of one.
    touch("both/clip_l.safetensors");
    touch("both/spiece.model");
    EXPECT_THAT(problem_of([&] {
                    find_tokenizer_folder(
                        ModelKind::kClip,
                        find(ModelKind::kClip, folder_.path() / "both/clip_l.safetensors"),
                        {"encoder.x_tokenizer", ""});
                }),
                HasSubstr("holds no tokenizer"));
    EXPECT_THAT(problem_of([&] { folder_for(ModelKind::kClip, "a/text_encoder", "/nowhere"); }),
                HasSubstr("encoder.x_tokenizer = \"/nowhere\""));
    EXPECT_THAT(problem_of([&] {
                    folder_for(ModelKind::kClip, "a/text_encoder", (folder_.path() / "a").string());
                }),
                HasSubstr("must be a folder with tokenizer.json"));
}

}  // namespace
}  // namespace flux::encoders
