// Ids of every stored caption against the reference's tokenizers, from each form of the files.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "flux/base/file.h"
#include "flux/encoders/tokenizer.h"
#include "support/reference.h"

namespace flux::encoders {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class ParityTokenizers : public testing::Test {
protected:
    void SetUp() override {
        FLUX_SKIP_WITHOUT_REFERENCE();
        folder_ = *test::reference_dir() / "data/tokenizers";
        std::istringstream lines(read_text(folder_ / "cases.jsonl"));
        for (std::string line; std::getline(lines, line);) {
            cases_.push_back(json::parse(line));
        }
        ASSERT_FALSE(cases_.empty());
    }

    void expect_all_equal(const Tokenizer& tokenizer, const std::string& key) const {
        for (const json& one : cases_) {
            const auto expected = one.at(key).get<std::vector<int64_t>>();
            const auto ids = tokenizer.encode(one.at("text").get<std::string>(),
                                              static_cast<int64_t>(expected.size()));
            EXPECT_EQ(ids, expected) << one.at("id") << " " << one.at("text");
            for (const int64_t id : ids) {
                EXPECT_LT(id, tokenizer.vocabulary_size());
            }
        }
    }

    /// A folder of another name with some of the files alone.
    std::unique_ptr<Tokenizer> load_only(const std::string& kind,
                                         const std::vector<std::string>& files) const {
        const test::TemporaryFolder copy;
        for (const std::string& file : files) {
            fs::copy_file(folder_ / kind / file, copy.path() / file);
        }
        return load_tokenizer(copy.path());
    }

    fs::path folder_;
    std::vector<json> cases_;
};

TEST_F(ParityTokenizers, ClipGivesTheReferenceIds) {
    expect_all_equal(*load_tokenizer(folder_ / "clip"), "clip_ids");
}

TEST_F(ParityTokenizers, ClipNeedsItsTwoFilesAlone) {
    expect_all_equal(*load_only("clip", {"vocab.json", "merges.txt"}), "clip_ids");
}

TEST_F(ParityTokenizers, ClipFromTokenizerJsonKeepsTheSameRules) {
    expect_all_equal(*load_only("clip", {"tokenizer.json"}), "clip_ids");
}

TEST_F(ParityTokenizers, T5GivesTheReferenceIds) {
    expect_all_equal(*load_tokenizer(folder_ / "t5"), "t5_ids");
}

TEST_F(ParityTokenizers, T5NeedsItsModelAlone) {
    expect_all_equal(*load_only("t5", {"spiece.model"}), "t5_ids");
}

TEST_F(ParityTokenizers, T5FromTokenizerJsonKeepsTheSameRules) {
    expect_all_equal(*load_only("t5", {"tokenizer.json"}), "t5_ids");
}

}  // namespace
}  // namespace flux::encoders
