// Tokenizers with vocabularies of a few tokens, and files that are damaged.
#include "flux/encoders/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::encoders {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using Ids = std::vector<int64_t>;

const json kVocabulary{{"a", 0},
                       {"b", 1},
                       {"c", 2},
                       {"a</w>", 3},
                       {"b</w>", 4},
                       {"c</w>", 5},
                       {"ab", 6},
                       {"ab</w>", 7},
                       {"!</w>", 8},
                       {"<|startoftext|>", 9},
                       {"<|endoftext|>", 10}};
constexpr const char* kMerges = "#version: 0.2\na b\na b</w>\n";

class TinyTokenizer : public testing::Test {
protected:
    void write(const std::string& name, const std::string& text) {
        write_text(folder_.path() / name, text);
    }
    void write_clip(const json& vocabulary, const std::string& merges) {
        write("vocab.json", vocabulary.dump());
        write("merges.txt", merges);
    }
    static json unigram() {
        return json::parse(R"({
            "model": {"type": "Unigram", "unk_id": 2,
                      "vocab": [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["\u2581", -3.0],
                                ["a", -2.0], ["\u2581a", -1.0], ["b", -2.0]]},
            "added_tokens": [{"id": 0, "content": "<pad>"}, {"id": 1, "content": "</s>"},
                             {"id": 2, "content": "<unk>"}, {"id": 7, "content": "<extra_id_0>"}]
        })");
    }
    std::unique_ptr<Tokenizer> load() { return load_tokenizer(folder_.path()); }

    void expect_refused(const std::vector<std::string>& parts) {
        const std::string problem = test::problem_of([&] { load(); });
        for (const std::string& part : parts) {
            EXPECT_THAT(problem, HasSubstr(part));
        }
    }

    test::TemporaryFolder folder_;
};

TEST_F(TinyTokenizer, ClipMergesCutsAndPads) {
    write_clip(kVocabulary, kMerges);
    const auto clip = load();
    EXPECT_EQ(clip->vocabulary_size(), 11);
    EXPECT_EQ(clip->encode("AB c", 6), (Ids{9, 7, 5, 10, 10, 10}));
    EXPECT_EQ(clip->encode("a a a a a a", 4), (Ids{9, 3, 3, 10}));
    EXPECT_EQ(clip->encode("", 2), (Ids{9, 10}));
    EXPECT_EQ(clip->encode("zebra", 7), (Ids{9, 10, 10, 1, 10, 3, 10}));  // unknown bytes
    EXPECT_THROW(clip->encode("a", 1), Error);
}

TEST_F(TinyTokenizer, ClipKeepsSpecialTokensOfTheText) {
    write_clip(kVocabulary, kMerges);
    EXPECT_EQ(load()->encode("a<|endoftext|>b", 6), (Ids{9, 3, 10, 4, 10, 10}));
    EXPECT_EQ(load()->encode("<|StartOfText|>b", 5), (Ids{9, 9, 4, 10, 10}));
}

TEST_F(TinyTokenizer, ClipTakesSpecialTokensFromTheFiles) {
    json vocabulary = kVocabulary;
    vocabulary["<s>"] = 20;
    vocabulary["<p>"] = 30;
    write_clip(vocabulary, kMerges);
    write("special_tokens_map.json", R"({"bos_token": {"content": "<s>"}, "pad_token": "<p>"})");
    EXPECT_EQ(load()->encode("a", 5), (Ids{20, 3, 10, 30, 30}));
    EXPECT_EQ(load()->vocabulary_size(), 31);
}

TEST_F(TinyTokenizer, ClipJoinsLongWordsAsItJoinsShortOnes) {
    write_clip(kVocabulary, kMerges);
    std::string word;
    Ids expected{9};
    for (int i = 0; i < 500; ++i) {
        word += "abc";
        expected.insert(expected.end(), {6, i == 499 ? 5 : 2});
    }
    expected.push_back(10);
    EXPECT_EQ(load()->encode(word, 1002), expected);
    EXPECT_EQ(load()->encode(std::string(2'000'000, 'a'), 3), (Ids{9, 0, 10}));
}

TEST_F(TinyTokenizer, BytesThatAreNotTextCountAsReplacementCharacters) {
    write_clip(kVocabulary, kMerges);
    EXPECT_EQ(load()->encode("a\xFF\xC3 b\xED\xA0\x80", 5), (Ids{9, 3, 4, 10, 10}));
}

TEST_F(TinyTokenizer, T5FromTokenizerJson) {
    write("tokenizer.json", unigram().dump());
    const auto t5 = load();
    EXPECT_EQ(t5->vocabulary_size(), 8);
    EXPECT_EQ(t5->encode("ab  a", 6), (Ids{5, 6, 5, 1, 0, 0}));
    EXPECT_EQ(t5->encode("zzb", 5), (Ids{3, 2, 6, 1, 0}));
    EXPECT_EQ(t5->encode("a<extra_id_0>a</s>", 6), (Ids{5, 7, 5, 1, 0, 0}));
    EXPECT_EQ(t5->encode("aaaaaa", 3), (Ids{5, 4, 1}));
    EXPECT_EQ(t5->encode("", 1), (Ids{1}));
    EXPECT_EQ(t5->encode("</s>b", 1), (Ids{1}));
    EXPECT_THROW(t5->encode("a", 0), Error);
}

TEST_F(TinyTokenizer, FilesDecideAndMissingOnesAreNamed) {
    expect_refused({"holds no tokenizer"});
    write("vocab.json", kVocabulary.dump());
    expect_refused({"vocab.json without merges.txt"});
    write("tokenizer.json", R"({"model": {"type": "WordPiece"}})");
    expect_refused({"tokenizer.json", "WordPiece"});
    EXPECT_THROW(load_tokenizer(folder_.path() / "absent"), Error);
}

TEST_F(TinyTokenizer, DamagedClipFilesAreRefused) {
    write_clip(kVocabulary, "#version\na b c\n");
    expect_refused({"merges.txt:2", "two tokens"});
    write("merges.txt", "#version\na q\n");
    expect_refused({"merges.txt", "\"q\" is not in the vocabulary"});
    write("merges.txt", "#version\nb c\n");
    expect_refused({"\"bc\" is not in the vocabulary"});
    write("merges.txt", "");
    expect_refused({"merges.txt", "no merges"});
    write("merges.txt", kMerges);
    write("vocab.json", R"({"a": -1})");
    expect_refused({"vocab.json", "id of \"a\""});
    write("vocab.json", R"({"a": 0)");
    expect_refused({"vocab.json", "not valid JSON"});
    write("vocab.json", R"({"a": 1})");
    expect_refused({"vocab.json", "is not in the vocabulary"});
    write("vocab.json", std::string(1'000'000, '[') + std::string(1'000'000, ']'));
    expect_refused({"vocab.json", "nested"});
}

TEST_F(TinyTokenizer, DamagedUnigramFilesAreRefused) {
    json broken = unigram();
    broken["model"]["unk_id"] = 70;
    write("tokenizer.json", broken.dump());
    expect_refused({"tokenizer.json", "70"});
    broken = unigram();
    broken["model"]["vocab"][4] = json::array({"a", "x"});
    write("tokenizer.json", broken.dump());
    expect_refused({"piece 4"});
    broken = unigram();
    broken["model"]["vocab"][4] = json::array({"b", -1.0});
    write("tokenizer.json", broken.dump());
    expect_refused({"tokenizer.json", "SentencePiece"});
    for (const char* map : {"AAAA", "/////w==", "BAAAAAAAAAAA", "%%%%"}) {
        broken = unigram();
        broken["normalizer"] = {{"precompiled_charsmap", map}};
        write("tokenizer.json", broken.dump());
        expect_refused({"tokenizer.json"});
    }
}

TEST_F(TinyTokenizer, CharacterReplacementsMayNotLeadOutsideTheirTable) {
    for (const uint32_t unit : {0xFFFFu << 10, 1u << 8}) {  // a far link; a value beyond the texts
        std::string map(4 + 1024, '\0');
        const uint32_t size = 1024, value = 5000;
        std::memcpy(map.data(), &size, 4);
        std::memcpy(map.data() + 4, unit == 1u << 8 ? &value : &unit, 4);
        std::memcpy(map.data() + 8, unit == 1u << 8 ? &unit : &value, 4);
        map += std::string("x\0", 2);
        std::string normalizer = "\x12" + std::string("\x86\x08") + map;  // field 2, 1030 bytes
        std::string model = "\x1A" + std::string("\x89\x08") + normalizer;
        write("spiece.model", model);
        expect_refused({"spiece.model", "character replacements"});
    }
}

TEST_F(TinyTokenizer, TruncatedModelsAreRefused) {
    write("spiece.model", "");
    expect_refused({"spiece.model"});
    write("spiece.model", std::string("\x0A\x10\x0A", 3));
    expect_refused({"spiece.model", "cut off"});
}

}  // namespace
}  // namespace flux::encoders
