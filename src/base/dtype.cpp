#include "flux/base/dtype.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>

namespace flux {
namespace {

struct Row {
    c10::ScalarType dtype;
    std::string_view short_name;
    std::string_view long_name;
};

constexpr std::array<Row, 12> kRows{{
    {c10::ScalarType::Double, "F64", "float64"},
    {c10::ScalarType::Float, "F32", "float32"},
    {c10::ScalarType::Half, "F16", "float16"},
    {c10::ScalarType::BFloat16, "BF16", "bfloat16"},
    {c10::ScalarType::Float8_e4m3fn, "F8_E4M3", "float8_e4m3fn"},
    {c10::ScalarType::Float8_e5m2, "F8_E5M2", "float8_e5m2"},
    {c10::ScalarType::Long, "I64", "int64"},
    {c10::ScalarType::Int, "I32", "int32"},
    {c10::ScalarType::Short, "I16", "int16"},
    {c10::ScalarType::Char, "I8", "int8"},
    {c10::ScalarType::Byte, "U8", "uint8"},
    {c10::ScalarType::Bool, "BOOL", "bool"},
}};

template <class Value>
const Row* find(Value Row::*member, Value value) {
    const auto row =
        std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return r.*member == value; });
    return row == kRows.end() ? nullptr : &*row;
}

std::optional<c10::ScalarType> dtype_of(const Row* row) {
    return row == nullptr ? std::nullopt : std::optional(row->dtype);
}

const Row& row_of(c10::ScalarType dtype) {
    const Row* row = find(&Row::dtype, dtype);
    TORCH_CHECK(row != nullptr, "no name for element type ", dtype);
    return *row;
}

}  // namespace

std::optional<c10::ScalarType> dtype_from_short_name(std::string_view name) {
    return dtype_of(find(&Row::short_name, name));
}

std::optional<c10::ScalarType> dtype_from_long_name(std::string_view name) {
    return dtype_of(find(&Row::long_name, name));
}

std::string_view short_name(c10::ScalarType dtype) { return row_of(dtype).short_name; }

std::string_view long_name(c10::ScalarType dtype) { return row_of(dtype).long_name; }

}  // namespace flux
