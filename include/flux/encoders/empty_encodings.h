// The stored encodings of the empty caption: t5_empty.npy [1, L, C] and clip_empty.npy [1, V] in
// one folder. `flux_train preprocess` writes them, training without text encoders reads them.
#pragma once

#include <filesystem>

#include "flux/encoders/conditioning.h"

namespace flux::encoders {

/// Both files, as a batch of one. Throws Error naming the file whose shape or type does not fit
/// `widths`.
TextConditioning read_empty_encodings(const std::filesystem::path& folder, TextWidths widths,
                                      at::Device device);

/// Replaces both files in `folder`, which exists; values in float16, as the reference stores them.
void write_empty_encodings(const std::filesystem::path& folder, const TextConditioning& empty);

}  // namespace flux::encoders
