#include "data/tar_writer.h"

#include <array>
#include <cstring>
#include <numeric>

#include "flux/base/error.h"

namespace flux::data {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kRecord = 20 * kBlock;  // tar files are padded to whole records
constexpr size_t kNameSize = 100;

using Block = std::array<char, kBlock>;

void put(Block& block, size_t offset, std::string_view text) {
    std::memcpy(block.data() + offset, text.data(), text.size());
}

}  // namespace

TarWriter::TarWriter(std::filesystem::path path)
    : path_(path), file_(std::move(path), Existing::kRefuse) {}

void TarWriter::add(const std::string& name, std::string_view bytes) {
    constexpr size_t kMaxBytes = size_t{8} << 30;
    if (name.empty() || name.size() > kNameSize || bytes.size() >= kMaxBytes) {
        fail("{}: member \"{}\" of {} bytes: a name has 1 to {} bytes, a member less than 8 GiB",
             path_.string(), name, bytes.size(), kNameSize);
    }
    Block header{};
    put(header, 0, name);
    put(header, 100, "0000644");
    put(header, 108, "0000000");
    put(header, 116, "0000000");
    put(header, 124, fmt::format("{:011o}", bytes.size()));
    put(header, 136, "00000000000");
    put(header, 148, "        ");  // the checksum counts as blanks
    header[156] = '0';
    put(header, 257, std::string_view("ustar\00000", 8));
    const unsigned sum = std::accumulate(
        header.begin(), header.end(), 0u,
        [](unsigned total, char c) { return total + static_cast<unsigned char>(c); });
    put(header, 148, fmt::format("{:06o}", sum));
    header[154] = '\0';
    file_.write(header.data(), header.size());
    file_.write(bytes);
    const size_t padding = (kBlock - bytes.size() % kBlock) % kBlock;
    file_.write(std::string(padding, '\0'));
    written_ += kBlock + bytes.size() + padding;
}

void TarWriter::finish() {
    const size_t end = written_ + 2 * kBlock;
    file_.write(std::string((end + kRecord - 1) / kRecord * kRecord - written_, '\0'));
    file_.commit();
}

}  // namespace flux::data
