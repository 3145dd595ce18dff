// The bytes of one message. A result travels from the socket to the caller's archive without
// another copy, and a large one is read where the kernel mapped it.
#pragma once

#include <weft/detail/process.hpp>

#include <cstddef>
#include <span>

#include "process/os.hpp"

namespace weft::rt::process {

using Payload = detail::ProcessBytes;

/// -ENOMEM: `into` is as it was.
int copy_payload(std::span<const std::byte> bytes, Payload& into) noexcept;

/// Maps a sealed file of exactly that size; see map_sealed_memfd().
int map_payload(const Descriptor& memfd, std::size_t size, Payload& into) noexcept;

}  // namespace weft::rt::process
