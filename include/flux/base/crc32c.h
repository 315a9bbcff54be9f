// CRC-32C (Castagnoli, as in iSCSI and TFRecord files): the checksum of everything in a checkpoint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace flux {

/// The checksum of `data`; `previous` continues one over what came before. Uses the processor's
/// instruction where it has one (about 8 GB/s), else crc32c_portable.
uint32_t crc32c(std::span<const std::byte> data, uint32_t previous = 0);

/// The same by tables, on any processor.
uint32_t crc32c_portable(std::span<const std::byte> data, uint32_t previous = 0);

}  // namespace flux
