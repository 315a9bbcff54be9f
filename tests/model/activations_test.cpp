// The stated bytes of activations against what a counting allocator sees: unit by unit, and for
// whole passes in every mode of checkpointing.
#include "flux/model/activations.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "flux/kernels/fused.h"
#include "flux/kernels/host_memory.h"
#include "flux/model/mmdit.h"
#include "support/tiny_model.h"

namespace flux::model {
namespace {

using Kind = kernels::Products::Kind;

/// Wide against its weights, or with weights that outweigh the activations.
struct Case {
    const char* name;
    int64_t batch, text_tokens, picture;  // latent side of the picture
    at::ScalarType dtype = at::kFloat;
    Execution execution{};

    int64_t image_tokens() const { return picture / 2 * picture / 2; }
    PassShape shape() const {
        return {.batch = batch,
                .image_tokens = image_tokens(),
                .text_tokens = text_tokens,
                .dtype = dtype,
                .execution = execution};
    }
    MmditInput input(const FluxConfig& config) const {
        return test::random_input(config, {batch, text_tokens, picture, dtype});
    }
};

void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }

FluxConfig dimensions() { return test::small_dimensions(2, 3); }

/// Where ATen's attention serves, it works in blocks of its own, which are not counted.
constexpr double kAttentionBlocks = 200e3;
bool aten_attention(at::ScalarType dtype) { return !kernels::fuses_attention_on_cpu(dtype); }

/// `beyond`: by how many bytes more may be stated.
void expect_near(const char* what, int64_t measured, int64_t stated, double tolerance,
                 double allowance = 0, int64_t beyond = 0) {
    std::printf("measured: %s %.3f MB, stated %.3f MB (%+.2f %%)\n", what,
                1e-6 * static_cast<double>(measured), 1e-6 * static_cast<double>(stated),
                100 * (static_cast<double>(stated) / static_cast<double>(measured) - 1));
    const double room = tolerance * static_cast<double>(measured) + allowance;
    EXPECT_GE(static_cast<double>(stated), static_cast<double>(measured) - room) << what;
    EXPECT_LE(static_cast<double>(stated), static_cast<double>(measured + beyond) + room) << what;
}

Execution float8(kernels::Products::Kind kind, std::vector<std::string> plain_layers = {}) {
    return {.products = {.kind = kind, .emulated = true}, .plain_layers = std::move(plain_layers)};
}

class Activations : public testing::TestWithParam<Case> {
protected:
    static void SetUpTestSuite() { kernels::count_host_memory(); }

    /// Of a pass with `policy`, besides the weights.
    struct Measured {
        int64_t kept, peak;         // after forward; sums of gradients included
        std::vector<int64_t> sums;  // of each unit
    };
    static Measured measure(const units::RecomputePolicy& policy) {
        const FluxConfig config = dimensions();
        units::StoreSettings settings;
        settings.compute_dtype = GetParam().dtype;
        Mmdit model(config, settings, policy, GetParam().execution);
        model.parameters().initialize(1);
        model.predict(GetParam().input(config));  // weights in the compute dtype
        const int64_t before = kernels::host_memory().held;
        kernels::reset_host_peak();
        model.parameters().begin_gradients();
        at::Tensor prediction = model.forward(GetParam().input(config));
        const int64_t own = before + static_cast<int64_t>(prediction.nbytes());
        const int64_t kept = kernels::host_memory().held - own;
        model.backward(prediction);
        Measured measured{.kept = kept, .peak = kernels::host_memory().peak - own, .sums = {}};
        for (const units::FlatShard& shard : model.parameters().shards()) {
            int64_t& bytes = measured.sums.emplace_back(0);
            for (const units::GradientSum& sum : shard.gradients) {
                bytes += static_cast<int64_t>(sum.values.nbytes());
            }
        }
        return measured;
    }
};

TEST_P(Activations, OfAPassAreThoseStated) {
    const auto units = activations(dimensions(), GetParam().shape());
    const bool fp32 = GetParam().dtype == at::kFloat;
    const struct {
        const char* name;
        units::RecomputePolicy policy;
    } modes[] = {{"full", units::RecomputePolicy::full()},
                 {"none", units::RecomputePolicy::none()},
                 {"every second", units::RecomputePolicy::every_nth(2)},
                 {"one in three", units::RecomputePolicy{0.34}},
                 {"full, inputs alone", {.fraction = 1.0, .keeps_results = false}}};
    for (const auto& mode : modes) {
        SCOPED_TRACE(mode.name);
        std::printf("measured: %s, mode %s\n", GetParam().name, mode.name);
        const Measured measured = measure(mode.policy);
        expect_near("  kept by forward", measured.kept, kept_by_forward(units, mode.policy), 0.02);
        // CPU products in bf16 take room for conversions that a GPU does not. In fp32 a CPU's
        // gradients become their sums: a unit that peaks when it hands them over has them once.
        const int64_t once = *std::max_element(measured.sums.begin(), measured.sums.end());
        expect_near("  peak", measured.peak, activation_peak(units, mode.policy, measured.sums),
                    fp32 ? 0.02 : 0.05, aten_attention(GetParam().dtype) ? kAttentionBlocks : 0,
                    fp32 ? once : 0);
    }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Activations,
    testing::Values(Case{"LittleText", 8, 32, 32}, Case{"MuchText", 4, 256, 16},
                    Case{"OneSample", 1, 128, 32}, Case{"FewTokens", 2, 16, 8},
                    Case{"Bfloat16", 8, 64, 32, at::kBFloat16},
                    Case{"Tensorwise", 8, 64, 32, at::kFloat, float8(Kind::kTensorwise)},
                    Case{"TensorwiseBfloat16", 8, 64, 32, at::kBFloat16, float8(Kind::kTensorwise)},
                    Case{"Rowwise", 8, 50, 30, at::kBFloat16, float8(Kind::kRowwise)},
                    Case{"RowwiseOneSample", 1, 256, 32, at::kFloat, float8(Kind::kRowwise)},
                    Case{"SomeLayersPlain", 8, 64, 32, at::kFloat,
                         float8(Kind::kTensorwise, {"mlp", "linear2"})}),
    [](const auto& test_case) { return std::string(test_case.param.name); });

TEST(ActivationsOfUnits, GrowWithTheBatch) {
    const FluxConfig config = flavor("flux-schnell");
    PassShape shape{.batch = 1, .image_tokens = 256, .text_tokens = 256, .dtype = at::kBFloat16};
    const auto one = activations(config, shape);
    shape.batch = 4;
    const auto larger = activations(config, shape);
    EXPECT_EQ(larger[2].input, 4 * one[2].input);
    EXPECT_GE(larger[30].graph, 4 * one[30].graph);
    // At one sample the gradients of the weights outweigh the rest, and do not grow.
    EXPECT_LT(larger[2].backward, 4 * one[2].backward);
}

}  // namespace
}  // namespace flux::model
