// The channel statistics of the "dct" autoencoder are those of the built-in pictures.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include "flux/data/loader.h"
#include "flux/data/shapes.h"
#include "flux/encoders/dct.h"

namespace flux::encoders {
namespace {

TEST(DctAutoencoder, ShapesComeOutStandardised) {
    const data::ShapesDataset dataset(
        {.img_size = 64, .seed = 77, .validation = false, .subset_size = 0});
    data::LoaderSettings settings;
    settings.batch_size = 512;
    data::Loader loader(dataset, settings);
    const DctAutoencoder autoencoder(at::kCPU);
    std::vector<at::Tensor> all;
    for (int i = 0; i < 8; ++i) {
        all.push_back(
            autoencoder.encode(loader.next()->payload.pictures.images.to(at::kFloat) / 127.5 - 1.0)
                .mean);
    }
    const at::Tensor latents = at::cat(all).transpose(0, 1).flatten(1).to(at::kDouble);  // [16, N]
    for (int64_t channel = 0; channel < latents.size(0); ++channel) {
        EXPECT_NEAR(latents[channel].mean().item<double>(), 0, 0.05) << channel;
        EXPECT_NEAR(latents[channel].std().item<double>(), 1, 0.05) << channel;
    }
}

}  // namespace
}  // namespace flux::encoders
