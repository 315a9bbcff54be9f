#include "flux/encoders/empty_encodings.h"

#include "flux/base/error.h"
#include "flux/base/npy.h"
#include "flux/base/shape.h"

namespace flux::encoders {
namespace {

constexpr const char* kT5File = "t5_empty.npy";
constexpr const char* kClipFile = "clip_empty.npy";

at::Tensor read(const std::filesystem::path& path, size_t dimensions, int64_t width,
                const char* option) {
    at::Tensor array = read_npy(path);
    if (!at::isFloatingType(array.scalar_type())) {
        fail("{}: holds whole numbers: must be floating-point", path.string());
    }
    const auto sizes = array.sizes();
    if (sizes.size() != dimensions || sizes[0] < 1 || sizes.back() != width || array.numel() == 0) {
        fail(
            "{}: has the shape {}: must have {} dimensions and end with {} ({}); encode the empty "
            "caption with the encoders of the data set",
            path.string(), shape_text(sizes), dimensions, width, option);
    }
    return array.narrow(0, 0, 1);
}

}  // namespace

TextConditioning read_empty_encodings(const std::filesystem::path& folder, TextWidths widths,
                                      at::Device device) {
    return {read(folder / kT5File, 3, widths.tokens, "encoder.context_in_dim").to(device),
            read(folder / kClipFile, 2, widths.pooled, "model.vec_in_dim").to(device)};
}

void write_empty_encodings(const std::filesystem::path& folder, const TextConditioning& empty) {
    // By way of bfloat16, so that a dropped caption equals a stored one.
    const auto stored = [](const at::Tensor& values) {
        return values.to(at::kBFloat16).to(at::kHalf);
    };
    write_npy(folder / kT5File, stored(empty.tokens));
    write_npy(folder / kClipFile, stored(empty.pooled));
}

}  // namespace flux::encoders
