// Any bytes as tokenizer.json: refused with an Error, or a tokenizer that encodes without harm.
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/encoders/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const auto folder = [] {
        auto path = std::filesystem::temp_directory_path() /
                    ("flux_fuzz_tokenizer_" + std::to_string(getpid()));
        std::filesystem::create_directories(path);
        return path;
    }();
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    flux::write_text(folder / "tokenizer.json", text);
    try {
        const auto tokenizer = flux::encoders::load_tokenizer(folder);
        tokenizer->encode("A cat's 2 <extra_id_0> \xCC\x81 caf\xC3\xA9", 32);
        tokenizer->encode(text.substr(0, 256), 32);
    } catch (const flux::Error&) {
    }
    return 0;
}
