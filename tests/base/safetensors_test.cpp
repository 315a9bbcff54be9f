#include "flux/base/safetensors.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "flux/base/error.h"
#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux {
namespace {

using test::same_bits;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

std::string file_bytes(const std::string& header, size_t data_bytes) {
    const uint64_t size = header.size();
    std::string bytes(reinterpret_cast<const char*>(&size), sizeof(size));
    return bytes + header + std::string(data_bytes, '\x01');
}

/// The message of the Error that opening these bytes gives; empty if it opens.
std::string problem_of(const std::string& bytes) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x.safetensors";
    write_text(path, bytes);
    const std::string problem = test::problem_of([&] { const SafetensorsFile file(path); });
    EXPECT_THAT(problem, AnyOf("", HasSubstr(path.string())));
    return problem;
}

TEST(Safetensors, RoundTripsEveryDtypeBitForBit) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "all.safetensors";
    std::vector<TensorSpec> specs;
    std::vector<at::Tensor> tensors;
    for (const auto dtype :
         {at::kDouble, at::kLong, at::kFloat, at::kInt, at::kHalf, at::kBFloat16, at::kShort,
          at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kChar, at::kByte, at::kBool}) {
        tensors.push_back(at::arange(6).view({2, 3}).to(dtype));
        specs.push_back({fmt::format("t{}", specs.size()), dtype, {2, 3}});
    }
    tensors.push_back(at::zeros({}, at::kByte));
    specs.push_back({"scalar", at::kByte, {}});
    tensors.push_back(at::empty({3, 0, 2}, at::kFloat));
    specs.push_back({"\"quoted\" \xC3\xA9", at::kByte, {3, 0, 2}});
    tensors.back() = tensors.back().to(at::kByte);
    SafetensorsWriter writer(path, specs, {{"format", "pt"}});
    for (const at::Tensor& tensor : tensors) {
        writer.write(tensor);
    }
    EXPECT_FALSE(std::filesystem::exists(path));  // nothing under the final name before commit
    writer.commit();

    const SafetensorsFile file(path);
    EXPECT_EQ(file.metadata().at("format"), "pt");
    ASSERT_EQ(file.tensors().size(), specs.size());
    for (size_t i = 0; i < specs.size(); ++i) {
        EXPECT_EQ(file.names()[i], specs[i].name);
        EXPECT_TRUE(same_bits(specs[i].name, file.tensor(specs[i].name), tensors[i]));
    }
}

TEST(Safetensors, WritesStridedTensorsInOrder) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "strided.safetensors";
    const at::Tensor transposed = at::arange(6, at::kFloat).view({2, 3}).t();
    SafetensorsWriter writer(path, {{"t", at::kFloat, {3, 2}}});
    writer.write(transposed);
    writer.commit();
    EXPECT_TRUE(same_bits("t", SafetensorsFile(path).tensor("t"), transposed.contiguous()));
}

TEST(Safetensors, TensorOutlivesTheFile) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x.safetensors";
    SafetensorsWriter writer(path, {{"t", at::kFloat, {4}}});
    writer.write(at::arange(4, at::kFloat));
    writer.commit();
    at::Tensor tensor = SafetensorsFile(path).tensor("t");
    tensor.add_(1);  // the caller owns it
    EXPECT_EQ(tensor[3].item<float>(), 4.0f);
}

TEST(Safetensors, WriterRefusesWhatWasNotDeclared) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x.safetensors";
    {
        SafetensorsWriter writer(path, {{"t", at::kFloat, {4}}});
        EXPECT_THROW(writer.commit(), c10::Error);
        EXPECT_THROW(writer.write(at::zeros({3})), c10::Error);
        EXPECT_THROW(writer.write(at::zeros({4}, at::kInt)), c10::Error);
        writer.write(at::zeros({4}));
        EXPECT_THROW(writer.write(at::zeros({4})), c10::Error);
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    EXPECT_THROW(SafetensorsWriter(path, {{"t", at::kFloat, {4}}, {"t", at::kFloat, {4}}}),
                 c10::Error);
    EXPECT_THROW(SafetensorsWriter(path, {{"odd", at::kByte, {3}}, {"t", at::kFloat, {4}}}),
                 c10::Error);
}

TEST(Safetensors, MissingTensorIsNamed) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x.safetensors";
    write_text(path, file_bytes("{}", 0));
    const SafetensorsFile file(path);
    EXPECT_FALSE(file.has("img_in.weight"));
    EXPECT_THAT(test::problem_of([&] { file.tensor("img_in.weight"); }),
                AllOf(HasSubstr("img_in.weight"), HasSubstr(path.string())));
}

struct BadHeader {
    const char* name;
    const char* header;
    size_t data_bytes;
    const char* message;
};

class SafetensorsBadHeader : public testing::TestWithParam<BadHeader> {};

TEST_P(SafetensorsBadHeader, IsRefused) {
    EXPECT_THAT(problem_of(file_bytes(GetParam().header, GetParam().data_bytes)),
                HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, SafetensorsBadHeader,
    testing::Values(
        BadHeader{"NotJson", "{\"a\"", 0, "not valid JSON"},
        BadHeader{"NotAnObject", "[1]", 0, "not a JSON object"},
        BadHeader{"Twice",
                  R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                  1, "tensor a: occurs twice"},
        BadHeader{"KeyTwice",
                  R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[1,3]}})",
                  3, "tensor a: shape: occurs twice"},
        BadHeader{"EntryNotAnObject", R"({"a":3})", 0, "tensor a: header entry = 3"},
        BadHeader{"UnknownDtype", R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})", 1,
                  "tensor a: dtype = F4"},
        BadHeader{"NoDtype", R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, "dtype = (missing)"},
        BadHeader{"NegativeSize", R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1,
                  "shape = [-1]"},
        BadHeader{"FractionalSize", R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", 1,
                  "shape = [1.5]"},
        BadHeader{"NoShape", R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1,
                  "shape = (missing)"},
        BadHeader{"Overflow",
                  R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                  "too many elements"},
        BadHeader{"OverflowInBytes",
                  R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0,
                  "too many elements"},
        BadHeader{"HugeSize",
                  R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1]}})", 1,
                  "shape = [18446744073709551615]"},
        BadHeader{"WrongByteCount", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,7]}})", 7,
                  "F32 [2] needs 8 bytes"},
        BadHeader{"BackwardOffsets", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1,
                  "begin <= end"},
        BadHeader{"OneOffset", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1]}})", 1,
                  "data_offsets = [1]"},
        BadHeader{"PastTheEnd", R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", 8,
                  "tensor a: data ends at byte 9, but the file holds only 8"},
        BadHeader{"Gap",
                  R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                  3, "tensor b: data begins at byte 2 where 1 is expected"},
        BadHeader{"Overlap",
                  R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                  R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                  3, "tensor b: data begins at byte 1 where 2 is expected"},
        BadHeader{"DataLeftOver", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 5,
                  "the file holds 5 bytes of data"},
        BadHeader{"MetadataNotText", R"({"__metadata__":{"a":1}})", 0, "__metadata__.a = 1"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Safetensors, DeepNestingIsRefused) {
    constexpr size_t kDepth = 1'000'000;  // more than a stack of calls could follow
    const std::string nested = std::string(kDepth, '[') + std::string(kDepth, ']');
    const std::string entry = R"({"a":{"dtype":"U8","data_offsets":[0,1],"shape":)" + nested + "}}";
    EXPECT_THAT(problem_of(file_bytes(entry, 1)), HasSubstr("nested more deeply"));
    EXPECT_THAT(problem_of(file_bytes(R"({"__metadata__":)" + nested + "}", 0)),
                HasSubstr("nested more deeply"));
}

TEST(Safetensors, BadHeaderSizesAreRefused) {
    EXPECT_THAT(problem_of(""), HasSubstr("too few"));
    EXPECT_THAT(problem_of("1234567"), HasSubstr("too few"));
    EXPECT_THAT(problem_of(std::string(8, '\xFF')), HasSubstr("not a safetensors file"));
    EXPECT_THAT(problem_of(file_bytes("{}", 0).substr(0, 9)), HasSubstr("header of 2 bytes"));
    EXPECT_EQ(problem_of(file_bytes("{}      ", 0)), "");
}

}  // namespace
}  // namespace flux
