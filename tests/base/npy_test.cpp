#include "flux/base/npy.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "support/problem.h"
#include "support/reference.h"
#include "support/tensor_match.h"

namespace flux {
namespace {

using test::same_bits;
using testing::HasSubstr;

std::span<const std::byte> as_bytes(const std::string& text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

std::string version1(const std::string& header, const std::string& data) {
    const std::string length{static_cast<char>(header.size() & 0xFF),
                             static_cast<char>(header.size() >> 8)};
    return std::string("\x93NUMPY\x01\x00", 8) + length + header + data;
}

std::string problem_of(const std::string& bytes) {
    const std::string problem = test::problem_of([&] { parse_npy(as_bytes(bytes), "the place"); });
    EXPECT_THAT(problem, testing::AnyOf("", testing::StartsWith("the place: ")));
    return problem;
}

TEST(Npy, RoundTrips) {
    const test::TemporaryFolder folder;
    const auto path = folder.path() / "x.npy";
    for (const auto dtype : {at::kDouble, at::kFloat, at::kHalf, at::kLong, at::kInt, at::kShort,
                             at::kChar, at::kByte, at::kBool}) {
        for (const std::vector<int64_t>& shape :
             std::vector<std::vector<int64_t>>{{24}, {2, 12}, {1, 3, 8}, {24, 1}}) {
            const at::Tensor tensor = at::arange(24).to(dtype).view(shape);
            write_npy(path, tensor);
            EXPECT_TRUE(same_bits("array", read_npy(path), tensor));
        }
    }
    for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{}, {0}, {2, 0}}) {
        const at::Tensor tensor = at::empty(shape, at::kFloat);
        write_npy(path, tensor);
        EXPECT_TRUE(same_bits("array", read_npy(path), tensor));
    }
}

TEST(Npy, Bfloat16TravelsAsU2) {
    const at::Tensor tensor = at::arange(-3, 3).to(at::kBFloat16).view({2, 3});
    const std::string bytes = npy_bytes(tensor);
    EXPECT_THAT(bytes, HasSubstr("'descr': '<u2'"));
    const at::Tensor raw = parse_npy(as_bytes(bytes), "x");
    EXPECT_EQ(raw.scalar_type(), at::kShort);
    EXPECT_TRUE(same_bits("array", raw.view(at::kBFloat16), tensor));
}

TEST(Npy, DataIsAlignedAsNumpyDoesIt) {
    const std::string bytes = npy_bytes(at::arange(5, at::kFloat));
    EXPECT_EQ((bytes.size() - 20) % 64, 0u);
    EXPECT_EQ(bytes[bytes.size() - 21], '\n');
}

TEST(Npy, ReadsOtherWritersHeaders) {
    const at::Tensor expected = at::arange(2, at::kByte);
    const std::string data("\x00\x01", 2);
    for (const char* header : {"{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }   \n",
                               "{\"shape\":(2,),\"descr\":\"|u1\",\"fortran_order\":False}"}) {
        EXPECT_TRUE(same_bits(header, parse_npy(as_bytes(version1(header, data)), "x"), expected));
    }
    const std::string header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}";
    const std::string version2 = std::string("\x93NUMPY\x02\x00", 8) +
                                 static_cast<char>(header.size()) + std::string(3, '\0') + header;
    EXPECT_TRUE(same_bits("version 2", parse_npy(as_bytes(version2 + data), "x"), expected));
}

TEST(Npy, RefusesBadFiles) {
    const std::string four(4, '\0');
    EXPECT_THAT(problem_of(""), HasSubstr("not an npy file"));
    EXPECT_THAT(problem_of("PK\x03\x04"), HasSubstr("not an npy file"));
    EXPECT_THAT(problem_of(std::string("\x93NUMPY\x03\x00", 8) + four), HasSubstr("version 3"));
    EXPECT_THAT(problem_of(std::string("\x93NUMPY\x01\x00\x09", 9)), HasSubstr("truncated"));
    EXPECT_THAT(problem_of(version1("{'descr': '<f4'}", four)), HasSubstr("missing"));
    EXPECT_THAT(
        problem_of(version1("{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", four)),
        HasSubstr("'>f4'"));
    EXPECT_THAT(
        problem_of(version1("{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", four)),
        HasSubstr("Fortran"));
    EXPECT_THAT(
        problem_of(version1("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", four)),
        HasSubstr("needs 8 bytes of data, but there are 4"));
    EXPECT_THAT(problem_of(version1("{'descr': '<f4', 'fortran_order': False, "
                                    "'shape': (4294967296, 4294967296)}",
                                    four)),
                HasSubstr("too many elements"));
    EXPECT_THAT(
        problem_of(version1("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", four)),
        HasSubstr("size expected"));
    EXPECT_THAT(problem_of(version1("{'descr': '<f4', 'fortran_order': Maybe", four)),
                HasSubstr("True or False expected"));
    EXPECT_THAT(problem_of(version1("{'descr': '<f4", four)), HasSubstr("string without end"));
    EXPECT_THAT(problem_of(version1("{'other': 1}", four)), HasSubstr("unknown key 'other'"));
}

TEST(Npy, EveryTruncationIsRefused) {
    const std::string bytes = npy_bytes(at::arange(3, at::kFloat));
    for (size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_NE(problem_of(bytes.substr(0, size)), "") << size;
    }
}

}  // namespace
}  // namespace flux
