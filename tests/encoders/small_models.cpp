#include "encoders/small_models.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "flux/base/file.h"

namespace flux::test {
namespace {

std::string utf8(int code) {
    return code < 0x80 ? std::string(1, static_cast<char>(code))
                       : std::string{static_cast<char>(0xC0 | (code >> 6)),
                                     static_cast<char>(0x80 | (code & 0x3F))};
}

/// The letters that stand for the 256 bytes: printable ones for themselves, others from U+0100 on.
std::vector<std::string> byte_letters() {
    std::vector<std::string> letters;
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
        const bool printable =
            (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        letters.push_back(utf8(printable ? byte : next++));
    }
    return letters;
}

}  // namespace

std::filesystem::path small_models() {
    return std::filesystem::path(FLUX_SOURCE_DIR) / "tests/data/model";
}

Tensors tensors_of(const std::filesystem::path& folder) {
    const SafetensorsFile file(folder / "model.safetensors");
    Tensors tensors;
    for (const std::string& name : file.names()) {
        tensors[name] = file.tensor(name);
    }
    return tensors;
}

Tensors autoencoder_tensors() {
    const SafetensorsFile file(small_models() / "vae_tiny.safetensors");
    const std::string prefix = "param.";
    Tensors tensors;
    for (const std::string& name : file.names()) {
        if (name.starts_with(prefix)) {
            tensors[name.substr(prefix.size())] = file.tensor(name);
        }
    }
    return tensors;
}

void write_tensors(const std::filesystem::path& path, const Tensors& tensors) {
    std::vector<TensorSpec> specs;
    for (const auto& [name, tensor] : tensors) {
        specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
    }
    std::stable_sort(specs.begin(), specs.end(), [](const TensorSpec& a, const TensorSpec& b) {
        return c10::elementSize(a.dtype) > c10::elementSize(b.dtype);
    });
    SafetensorsWriter writer(path, specs);
    for (const TensorSpec& spec : specs) {
        writer.write(tensors.at(spec.name));
    }
    writer.commit();
}

void write_clip_tokenizer(const std::filesystem::path& folder) {
    nlohmann::json vocabulary;
    for (const char* end : {"", "</w>"}) {
        for (const std::string& letter : byte_letters()) {
            vocabulary[letter + end] = vocabulary.size();
        }
    }
    for (const char* token : {"th", "<|startoftext|>", "<|endoftext|>"}) {
        vocabulary[token] = vocabulary.size();
    }
    write_text(folder / "vocab.json", vocabulary.dump());
    write_text(folder / "merges.txt", "#version: 0.2\nt h\n");
}

void write_t5_tokenizer(const std::filesystem::path& folder) {
    nlohmann::json vocabulary = nlohmann::json::array();
    for (const char* special : {"<pad>", "</s>", "<unk>"}) {
        vocabulary.push_back({special, 0.0});
    }
    vocabulary.push_back({"\xE2\x96\x81", -2.0});
    for (int letter = '!'; letter <= '~'; ++letter) {
        vocabulary.push_back({std::string(1, static_cast<char>(letter)), -3.0});
    }
    nlohmann::json added = nlohmann::json::array();
    for (size_t id = 0; id < 3; ++id) {
        added.push_back({{"id", id}, {"content", vocabulary[id][0]}, {"special", true}});
    }
    const nlohmann::json tokenizer{
        {"version", "1.0"},
        {"added_tokens", added},
        {"model", {{"type", "Unigram"}, {"unk_id", 2}, {"vocab", vocabulary}}}};
    write_text(folder / "tokenizer.json", tokenizer.dump());
}

}  // namespace flux::test
