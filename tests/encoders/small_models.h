// Small pretrained encoders for tests: weights of the fixtures in tests/data/model, changed and
// written again, and tokenizers that know single bytes only.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>

#include "flux/base/safetensors_set.h"

namespace flux::test {

using Tensors = std::map<std::string, at::Tensor>;

/// tests/data/model, whatever FLUX_REFERENCE_DIR says.
std::filesystem::path small_models();

/// All tensors of a folder's model.safetensors.
Tensors tensors_of(const std::filesystem::path& folder);

/// The weights of the small autoencoder in the original layout.
Tensors autoencoder_tensors();

/// Any order, any dtypes.
void write_tensors(const std::filesystem::path& path, const Tensors& tensors);

/// vocab.json and merges.txt: bytes alone and at the end of a word, one pair, start and end of
/// text; 515 ids.
void write_clip_tokenizer(const std::filesystem::path& folder);

/// tokenizer.json of a unigram model with printable ASCII.
void write_t5_tokenizer(const std::filesystem::path& folder);

}  // namespace flux::test
