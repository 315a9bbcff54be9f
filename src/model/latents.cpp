#include "flux/model/latents.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

namespace flux::model {

at::Tensor pack_latents(const at::Tensor& latents) {
    TORCH_CHECK(latents.dim() == 4 && latents.size(2) % 2 == 0 && latents.size(3) % 2 == 0,
                "pack_latents wants [B, C, H, W] with even H and W, got ", latents.sizes());
    return latents
        .unflatten(3, {-1, 2})        // [B, C, H, W/2, 2]
        .unflatten(2, {-1, 2})        // [B, C, H/2, 2, W/2, 2]
        .permute({0, 2, 4, 1, 3, 5})  // [B, H/2, W/2, C, 2, 2]
        .flatten(3)
        .flatten(1, 2);
}

at::Tensor unpack_latents(const at::Tensor& packed, int64_t height, int64_t width) {
    TORCH_CHECK(
        packed.dim() == 3 && packed.size(1) * 4 == height * width && packed.size(2) % 4 == 0,
        "unpack_latents: ", packed.sizes(), " does not hold latents of ", height, " x ", width);
    return packed.unflatten(1, {height / 2, width / 2})
        .unflatten(3, {-1, 2, 2})     // [B, H/2, W/2, C, 2, 2]
        .permute({0, 3, 1, 4, 2, 5})  // [B, C, H/2, 2, W/2, 2]
        .flatten(4)
        .flatten(2, 3);
}

at::Tensor image_ids(int64_t height, int64_t width, at::Device device) {
    const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
    at::Tensor ids = at::zeros({height / 2, width / 2, 3}, options);
    ids.select(2, 1).copy_(at::arange(height / 2, options).unsqueeze(1));
    ids.select(2, 2).copy_(at::arange(width / 2, options).unsqueeze(0));
    return ids.flatten(0, 1).unsqueeze(0);
}

at::Tensor text_ids(int64_t tokens, at::Device device) {
    return at::zeros({1, tokens, 3}, at::TensorOptions().dtype(at::kFloat).device(device));
}

}  // namespace flux::model
