// The main function of every test program.
#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

/// LibTorch seeds its generator by chance: here each test begins with the same seed, so that it
/// draws the same numbers in every run, alone or after others.
class SameNumbers final : public testing::EmptyTestEventListener {
    void OnTestStart(const testing::TestInfo& /*test*/) override {
        at::Generator generator = at::detail::getDefaultCPUGenerator();
        generator.set_current_seed(c10::default_rng_seed_val);
    }
};

}  // namespace

int main(int argc, char** argv) {
    testing::InitGoogleMock(&argc, argv);
    testing::UnitTest::GetInstance()->listeners().Append(new SameNumbers);
    return RUN_ALL_TESTS();
}
