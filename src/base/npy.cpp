#include "flux/base/npy.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/shape.h"

namespace flux {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

struct Row {
    std::string_view descr;
    at::ScalarType dtype;
};

// The first row of a dtype is the one that is written.
constexpr std::array<Row, 10> kRows{{{"<f8", at::kDouble},
                                     {"<f4", at::kFloat},
                                     {"<f2", at::kHalf},
                                     {"<i8", at::kLong},
                                     {"<i4", at::kInt},
                                     {"<i2", at::kShort},
                                     {"|i1", at::kChar},
                                     {"|u1", at::kByte},
                                     {"|b1", at::kBool},
                                     {"<u2", at::kShort}}};

struct Header {
    std::string descr;
    bool fortran_order = true;
    std::vector<int64_t> shape;
};

/// Reads the header, a Python dictionary such as
/// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderParser {
public:
    HeaderParser(std::string_view text, const std::string& place) : text_(text), place_(place) {}

    Header parse() {
        Header header;
        std::array<bool, 3> seen{};
        expect('{');
        while (!take('}')) {
            const std::string key = string();
            expect(':');
            if (key == "descr") {
                header.descr = string();
                seen[0] = true;
            } else if (key == "fortran_order") {
                header.fortran_order = boolean();
                seen[1] = true;
            } else if (key == "shape") {
                header.shape = tuple();
                seen[2] = true;
            } else {
                problem("unknown key '" + key + "'");
            }
            if (!take(',')) {
                expect('}');
                break;
            }
        }
        skip_space();
        if (at_ != text_.size()) {
            problem("text after the dictionary");
        }
        if (!std::all_of(seen.begin(), seen.end(), [](bool found) { return found; })) {
            problem("descr, fortran_order or shape is missing");
        }
        return header;
    }

private:
    [[noreturn]] void problem(const std::string& reason) const {
        fail("{}: npy header: {} at character {} of: {}", place_, reason, at_, text_);
    }

    void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\n", at_), text_.size()); }

    bool take(char wanted) {
        skip_space();
        if (at_ < text_.size() && text_[at_] == wanted) {
            ++at_;
            return true;
        }
        return false;
    }

    void expect(char wanted) {
        if (!take(wanted)) {
            problem(std::string("'") + wanted + "' expected");
        }
    }

    std::string string() {
        const char quote = take('"') ? '"' : '\'';
        if (quote == '\'') {
            expect('\'');
        }
        const size_t end = text_.find(quote, at_);
        if (end == std::string_view::npos) {
            problem("string without end");
        }
        const std::string result(text_.substr(at_, end - at_));
        at_ = end + 1;
        return result;
    }

    bool boolean() {
        skip_space();
        for (const std::string_view word : {"True", "False"}) {
            if (text_.substr(at_).starts_with(word)) {
                at_ += word.size();
                return word == "True";
            }
        }
        problem("True or False expected");
    }

    std::vector<int64_t> tuple() {
        std::vector<int64_t> sizes;
        expect('(');
        while (!take(')')) {
            int64_t size = 0;
            skip_space();
            const char* begin = text_.data() + at_;
            const auto [end, code] = std::from_chars(begin, text_.data() + text_.size(), size);
            if (code != std::errc() || size < 0) {
                problem("size expected");
            }
            at_ += static_cast<size_t>(end - begin);
            sizes.push_back(size);
            if (!take(',')) {
                expect(')');
                break;
            }
        }
        return sizes;
    }

    std::string_view text_;
    const std::string& place_;
    size_t at_ = 0;
};

at::ScalarType dtype_of(const Header& header, const std::string& place) {
    for (const Row& row : kRows) {
        if (row.descr == header.descr) {
            return row.dtype;
        }
    }
    fail(
        "{}: npy element type '{}': is not supported (little-endian f8, f4, f2, i8, i4, i2, i1, "
        "u2, u1, b1)",
        place, header.descr);
}

/// Splits a file into header text and data.
std::pair<std::string_view, std::span<const std::byte>> split(std::span<const std::byte> bytes,
                                                              const std::string& place) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!text.starts_with(kMagic) || text.size() < kMagic.size() + 2) {
        fail("{}: not an npy file: does not begin with \\x93NUMPY", place);
    }
    const int version = text[kMagic.size()];
    if (version != 1 && version != 2) {
        fail("{}: npy format version {}: only 1 and 2 can be read", place, version);
    }
    const size_t length_bytes = version == 1 ? 2 : 4;
    const size_t length_at = kMagic.size() + 2;
    uint32_t length = 0;
    if (text.size() >= length_at + length_bytes) {
        std::memcpy(&length, text.data() + length_at, length_bytes);
    }
    const size_t header_at = length_at + length_bytes;
    if (text.size() < header_at || length > text.size() - header_at) {
        fail("{}: truncated npy file: {} bytes do not hold its header", place, text.size());
    }
    return {text.substr(header_at, length), bytes.subspan(header_at + length)};
}

}  // namespace

NpyView view_npy(std::span<const std::byte> bytes, const std::string& place) {
    const auto [text, data] = split(bytes, place);
    Header header = HeaderParser(text, place).parse();
    const at::ScalarType dtype = dtype_of(header, place);
    if (header.fortran_order) {
        fail("{}: npy array in Fortran order: save it with numpy.ascontiguousarray", place);
    }
    const auto count = checked_numel(header.shape);
    int64_t expected = 0;
    if (!count ||
        __builtin_mul_overflow(*count, static_cast<int64_t>(c10::elementSize(dtype)), &expected)) {
        fail("{}: npy shape {}: has too many elements", place, shape_text(header.shape));
    }
    if (static_cast<size_t>(expected) != data.size()) {
        fail("{}: npy array '{}' {} needs {} bytes of data, but there are {}", place, header.descr,
             shape_text(header.shape), expected, data.size());
    }
    return {std::move(header.descr), dtype, std::move(header.shape), data};
}

at::Tensor parse_npy(std::span<const std::byte> bytes, const std::string& place) {
    const NpyView view = view_npy(bytes, place);
    at::Tensor result = at::empty(view.shape, at::TensorOptions().dtype(view.dtype));
    if (!view.data.empty()) {
        std::memcpy(result.mutable_data_ptr(), view.data.data(), view.data.size());
    }
    return result;
}

at::Tensor read_npy(const std::filesystem::path& path) {
    const MappedFile file(path);
    return parse_npy(file.bytes(), path.string());
}

std::string npy_bytes(const at::Tensor& tensor) {
    const at::Tensor data = tensor.detach().cpu().contiguous();
    const bool raw = data.scalar_type() == at::kBFloat16;
    const auto row = std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) {
        return raw ? r.descr == "<u2" : r.dtype == data.scalar_type();
    });
    TORCH_CHECK(row != kRows.end(), "npy has no element type for ", data.scalar_type());
    std::string shape;
    for (const int64_t size : data.sizes()) {
        shape += fmt::format("{}, ", size);
    }
    std::string header =
        fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", row->descr,
                    shape.empty() ? "" : shape.substr(0, shape.size() - 1));
    constexpr size_t kAlignment = 64;  // of the data, as NumPy writes it
    const size_t before = kMagic.size() + 4;
    header.append((kAlignment - (before + header.size() + 1) % kAlignment) % kAlignment, ' ');
    header += '\n';
    const auto length = static_cast<uint16_t>(header.size());
    std::string bytes(kMagic);
    bytes.append({'\x01', '\x00'});
    bytes.append({static_cast<char>(length & 0xFF), static_cast<char>(length >> 8)});
    bytes += header;
    bytes.append(static_cast<const char*>(data.const_data_ptr()), data.nbytes());
    return bytes;
}

void write_npy(const std::filesystem::path& path, const at::Tensor& tensor) {
    write_text(path, npy_bytes(tensor));
}

}  // namespace flux
