// Reads every model fixture as its own JSON describes it: proves the safetensors reader on files of
// another writer.
#include "support/fixture.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "flux/base/dtype.h"
#include "support/reference.h"

namespace flux::test {
namespace {

TEST(ParityFixture, TensorsAreAsTheirJsonSays) {
    int compared = 0;
    for (const auto& entry : std::filesystem::directory_iterator(model_fixtures())) {
        if (entry.path().extension() != ".safetensors") {
            continue;
        }
        const Fixture fixture(entry.path().stem());
        const auto& described = fixture.json().at("tensors");
        EXPECT_EQ(fixture.names_after("").size(), described.size()) << entry.path();
        for (const auto& [name, about] : described.items()) {
            SCOPED_TRACE(entry.path().string() + ": " + name);
            ASSERT_TRUE(fixture.has(name));
            const at::Tensor tensor = fixture.tensor(name);
            EXPECT_EQ(tensor.sizes().vec(), about.at("shape").get<std::vector<int64_t>>());
            EXPECT_EQ(long_name(tensor.scalar_type()), about.at("dtype").get<std::string>());
            ++compared;
        }
    }
    EXPECT_GT(compared, 0) << "no fixture found in " << model_fixtures();
}

}  // namespace
}  // namespace flux::test
