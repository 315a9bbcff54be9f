#include "flux/base/safetensors_set.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "flux/base/error.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SafetensorsSetTest : public testing::Test {
protected:
    /// Writes float tensors [3] holding first, first + 1, first + 2.
    void write(const std::string& file, const std::vector<std::string>& names, int first = 0) {
        std::vector<TensorSpec> specs;
        for (const std::string& name : names) {
            specs.push_back({name, at::kFloat, {3}});
        }
        SafetensorsWriter writer(folder_.path() / file, specs);
        for (size_t i = 0; i < names.size(); ++i) {
            writer.write(at::arange(first, first + 3, at::kFloat));
        }
        writer.commit();
    }
    std::filesystem::path write_index(const std::string& text) {
        const auto path = folder_.path() / "model.safetensors.index.json";
        write_text(path, text);
        return path;
    }
    /// The message of the Error that opening this index gives; empty if it opens.
    std::string problem_of(const std::string& index) {
        const auto path = write_index(index);
        return test::problem_of([&] { const SafetensorsSet set(path); });
    }

    test::TemporaryFolder folder_;
};

TEST_F(SafetensorsSetTest, OneFileIsASet) {
    write("one.safetensors", {"b", "a"});
    const SafetensorsSet set(folder_.path() / "one.safetensors");
    EXPECT_THAT(set.names(), ElementsAre("a", "b"));
    EXPECT_EQ(set.info("a").shape, std::vector<int64_t>{3});
}

TEST_F(SafetensorsSetTest, ShardsAreOneMap) {
    write("1.safetensors", {"a", "c"}, 1);
    write("2.safetensors", {"b"}, 5);
    const SafetensorsSet set(write_index(
        R"({"metadata": {"total_size": 36},
            "weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}})"));
    EXPECT_THAT(set.names(), ElementsAre("a", "b", "c"));
    EXPECT_EQ(set.tensor("b")[0].item<float>(), 5);
    EXPECT_EQ(set.tensor("c")[0].item<float>(), 1);
    EXPECT_EQ(set.file_of("b").path().filename(), "2.safetensors");
    EXPECT_FALSE(set.has("d"));
    EXPECT_THROW(set.tensor("d"), Error);
}

TEST_F(SafetensorsSetTest, RefusesBadIndexes) {
    write("1.safetensors", {"a", "c"});
    EXPECT_EQ(problem_of(R"({"weight_map": {"a": "1.safetensors", "c": "1.safetensors"}})"), "");
    EXPECT_THAT(problem_of(R"({"weight_map": {"a": "2.safetensors"}})"),
                HasSubstr("2.safetensors does not exist"));
    EXPECT_THAT(problem_of(R"({"weight_map": {"b": "1.safetensors"}})"),
                HasSubstr("weight_map.b = \"1.safetensors\": that shard has no such tensor"));
    EXPECT_THAT(problem_of(R"({"weight_map": {"a": "1.safetensors"}})"),
                HasSubstr("1.safetensors: tensor c:"));
    EXPECT_THAT(problem_of(R"({"weight_map": {"a": "1.safetensors", "a": "2.safetensors"}})"),
                HasSubstr("a: occurs twice"));
    EXPECT_THAT(problem_of(R"({"weight_map": {"a": 1}})"),
                HasSubstr("weight_map.a = 1: must be the name of a shard"));
    EXPECT_THAT(problem_of(R"({"weights": {}})"), HasSubstr("has no \"weight_map\""));
    EXPECT_THAT(problem_of("[]"), HasSubstr("has no \"weight_map\""));
    EXPECT_THAT(problem_of("{"), HasSubstr("is not valid JSON"));
    EXPECT_THAT(problem_of(""), HasSubstr("is not valid JSON"));
}

TEST_F(SafetensorsSetTest, RefusesShardsOutsideOfItsFolder) {
    write("1.safetensors", {"a"});
    const std::string absolute = (folder_.path() / "1.safetensors").string();
    for (const std::string& name :
         {absolute, std::string("../1.safetensors"), std::string("x/../1.safetensors"),
          std::string("1.safetensors\\u0000"), std::string()}) {
        EXPECT_THAT(problem_of("{\"weight_map\": {\"a\": \"" + name + "\"}}"),
                    HasSubstr("must be a file in the index's folder"))
            << name;
    }
}

TEST_F(SafetensorsSetTest, CopiesIntoOtherTypes) {
    const auto path = folder_.path() / "types.safetensors";
    const std::vector<at::ScalarType> dtypes{at::kFloat, at::kHalf, at::kBFloat16,
                                             at::kFloat8_e4m3fn, at::kFloat8_e5m2};
    std::vector<TensorSpec> specs;
    for (const auto dtype : dtypes) {
        specs.push_back({fmt::format("{}", specs.size()), dtype, {2, 3}});
    }
    SafetensorsWriter writer(path, specs);
    for (const auto dtype : dtypes) {
        writer.write(at::arange(6).view({2, 3}).to(dtype));
    }
    writer.commit();
    const SafetensorsSet set(path);
    for (const TensorSpec& spec : specs) {
        for (const auto dtype : {at::kFloat, at::kBFloat16}) {
            const at::Tensor destination = at::empty({2, 3}, dtype);
            set.copy_to(spec.name, destination);
            EXPECT_TRUE(
                test::same_bits(spec.name, destination, at::arange(6).view({2, 3}).to(dtype)));
        }
    }
}

TEST_F(SafetensorsSetTest, CopiesTensorsAtOddAddresses) {
    const std::string header =
        R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
    const uint64_t size = header.size();
    const float value = 2.5F;
    const std::string bytes = std::string(reinterpret_cast<const char*>(&size), sizeof(size)) +
                              header + '\x01' +
                              std::string(reinterpret_cast<const char*>(&value), sizeof(value));
    write_text(folder_.path() / "odd.safetensors", bytes);
    const SafetensorsSet set(folder_.path() / "odd.safetensors");
    const at::Tensor destination = at::empty({1}, at::kFloat);
    set.copy_to("b", destination);
    EXPECT_EQ(destination.item<float>(), value);
}

}  // namespace
}  // namespace flux
