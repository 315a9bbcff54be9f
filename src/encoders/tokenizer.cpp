// Which kind of tokenizer a folder holds.
#include "flux/encoders/tokenizer.h"

#include <nlohmann/json.hpp>

#include "encoders/clip_tokenizer.h"
#include "encoders/t5_tokenizer.h"
#include "encoders/tokenizer_files.h"
#include "flux/base/error.h"

namespace flux::encoders {

namespace fs = std::filesystem;

namespace {

/// Older files do not name the type: merges make byte pairs, a list of scores unigrams.
std::string model_type(const fs::path& path) {
    const nlohmann::json json = read_json_object(path);
    const auto& model = json_member(json, "model", path);
    if (!model.is_object() || model.contains("type")) {
        return json_string(json_member(model, "type", path), "model type", path);
    }
    return model.contains("merges") ? "BPE" : model.contains("unk_id") ? "Unigram" : "";
}

}  // namespace

TokenizerKind tokenizer_kind(const fs::path& folder) {
    if (!fs::is_directory(folder)) {
        fail(
            "{}: not a folder: a tokenizer is a folder with vocab.json and merges.txt, "
            "spiece.model, or tokenizer.json",
            folder.string());
    }
    const bool vocabulary = fs::exists(folder / "vocab.json");
    const bool merges = fs::exists(folder / "merges.txt");
    if (vocabulary && merges) {
        return TokenizerKind::kClip;
    }
    if (fs::exists(folder / "spiece.model")) {
        return TokenizerKind::kT5;
    }
    const fs::path path = folder / "tokenizer.json";
    if (!fs::exists(path)) {
        if (vocabulary || merges) {
            fail("{}: has {} without {}", folder.string(), vocabulary ? "vocab.json" : "merges.txt",
                 vocabulary ? "merges.txt" : "vocab.json");
        }
        fail(
            "{}: holds no tokenizer: neither vocab.json and merges.txt, nor spiece.model, nor "
            "tokenizer.json",
            folder.string());
    }
    const std::string type = model_type(path);
    if (type == "BPE") {
        return TokenizerKind::kClip;
    }
    if (type == "Unigram") {
        return TokenizerKind::kT5;
    }
    fail("{}: model type \"{}\": must be BPE (CLIP) or Unigram (T5)", path.string(), type);
}

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& folder) {
    return tokenizer_kind(folder) == TokenizerKind::kClip ? load_clip_tokenizer(folder)
                                                          : load_t5_tokenizer(folder);
}

}  // namespace flux::encoders
