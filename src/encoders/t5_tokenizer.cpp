#include "encoders/t5_tokenizer.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "encoders/caption_text.h"
#include "encoders/sentencepiece_model.h"
#include "encoders/tokenizer_files.h"
#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::encoders {
namespace {

namespace fs = std::filesystem;
using sentencepiece::SentencePieceProcessor;

/// Everything of the folder that a tokenizer is made from.
struct T5Files {
    fs::path path;
    std::string model;
    std::vector<AddedToken> added;
};

std::unique_ptr<SentencePieceProcessor> make_processor(const T5Files& files) {
    check_sentencepiece_model(files.model, files.path);
    auto processor = std::make_unique<SentencePieceProcessor>();
    std::string problem;
    try {
        const auto status = processor->LoadFromSerializedProto(files.model);
        problem = status.ok() ? "" : status.ToString();
    } catch (const std::exception& error) {  // of the library's trie
        problem = error.what();
    }
    if (!problem.empty()) {
        fail("{}: not a usable SentencePiece model: {}", files.path.string(), problem);
    }
    return processor;
}

class T5Tokenizer final : public Tokenizer {
public:
    T5Tokenizer(std::unique_ptr<SentencePieceProcessor> processor, AddedTokens added, int64_t end,
                int64_t pad)
        : processor_(std::move(processor)),
          added_(std::move(added)),
          end_(end),
          pad_(pad),
          vocabulary_size_(std::max<int64_t>(processor_->GetPieceSize(), added_.max_id() + 1)) {}

    std::vector<int64_t> encode(std::string_view caption, int64_t length) const override {
        if (length < 1) {
            fail("T5 tokens: length {}: must be >= 1 (the end)", length);
        }
        std::string storage;
        std::vector<int64_t> ids;
        std::vector<int> found;
        const size_t room = size_t(length) - 1;  // the end follows
        for (const CaptionPart& part : added_.split(valid_utf8(caption, storage))) {
            if (ids.size() >= room) {
                break;
            }
            if (part.id >= 0) {
                ids.push_back(part.id);
                continue;
            }
            found.clear();
            const auto status = processor_->Encode({part.text.data(), part.text.size()}, &found);
            if (!status.ok()) {
                fail("T5 tokens: a caption of {} bytes: {}", caption.size(), status.ToString());
            }
            ids.insert(ids.end(), found.begin(), found.end());
        }
        ids.resize(std::min(ids.size(), room));
        if (ids.empty() || ids.back() != end_) {
            ids.push_back(end_);  // a caption that ends in the end token is closed already
        }
        ids.resize(length, pad_);
        return ids;
    }

    int64_t vocabulary_size() const override { return vocabulary_size_; }
    TokenizerKind kind() const override { return TokenizerKind::kT5; }

private:
    std::unique_ptr<SentencePieceProcessor> processor_;
    AddedTokens added_;
    int64_t end_;
    int64_t pad_;
    int64_t vocabulary_size_;
};

/// "<extra_id_N>" count down behind the vocabulary, and take the white space around them.
void add_extra_ids(int64_t pieces, int64_t count, std::vector<AddedToken>& added) {
    for (int64_t i = 0; i < count; ++i) {
        added.push_back({fmt::format("<extra_id_{}>", i), pieces - 1 + count - i, true, true});
    }
}

T5Files read_files(const fs::path& folder, const TokenizerSettings& settings) {
    T5Files files;
    files.path = folder / "spiece.model";
    if (fs::exists(files.path)) {
        files.model = read_text(files.path);
        files.added = settings.added_tokens().value_or(std::vector<AddedToken>{});
        return files;
    }
    files.path = folder / "tokenizer.json";
    const nlohmann::json json = read_json_object(files.path);
    files.added = added_tokens_of(json, files.path);
    files.model = sentencepiece_model(json, files.added, files.path);
    return files;
}

}  // namespace

std::unique_ptr<Tokenizer> load_t5_tokenizer(const fs::path& folder) {
    const TokenizerSettings settings(folder);
    T5Files files = read_files(folder, settings);
    auto processor = make_processor(files);
    if (files.added.empty()) {
        add_extra_ids(processor->GetPieceSize(), settings.extra_ids(), files.added);
    }
    const auto special = [&](std::string_view name, std::string_view otherwise) -> int64_t {
        const std::string text = settings.special_token(name, otherwise);
        const auto listed =
            std::find_if(files.added.begin(), files.added.end(),
                         [&](const AddedToken& token) { return token.text == text; });
        if (listed != files.added.end()) {
            return listed->id;
        }
        const int id = processor->PieceToId(text);
        if (text.empty() || id < 0 || processor->IdToPiece(id) != text) {
            fail("{}: {} \"{}\" is not in the vocabulary", files.path.string(), name, text);
        }
        files.added.push_back({text, id});
        return id;
    };
    const int64_t end = special("eos_token", "</s>");
    const int64_t pad = special("pad_token", "<pad>");
    special("unk_token", "<unk>");
    return std::make_unique<T5Tokenizer>(std::move(processor), AddedTokens(files.added), end, pad);
}

}  // namespace flux::encoders
