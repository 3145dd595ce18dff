// CRC-32C (Castagnoli): the checksum of frames.
//
// @source  Castagnoli, Braeuer & Herrmann, IEEE Trans. Comm. 41(6), 1993; polynomial 0x1EDC6F41,
// reflected. The same
//          as iSCSI's and SSE 4.2's, whose instruction is used where the processor has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weft::rt::process {

/// The checksum of `bytes`; give the result of the first part as `crc` to go on with a second one.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0) noexcept;

/// Without the instruction: what other processors run, and what tests compare with.
std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t crc = 0) noexcept;

}  // namespace weft::rt::process
