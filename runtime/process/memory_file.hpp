// Anonymous files of memory that processes hand to each other: sealed, they can change no more.
//
// Who comes in: SharedMemory, messages that are too large for a packet, and whoever receives either.
// Invariant: what is mapped here from another process is sealed, whole and of the size that was
// announced, so that no reader runs into SIGBUS.
// Thread rules: any thread. Errors are -errno.
#pragma once

#include <cstddef>
#include <span>

#include "process/os.hpp"

namespace weft::rt::process {

/// An anonymous, empty file that can be sealed.
int make_memfd(Descriptor& memfd) noexcept;
/// From here on its size and content can never change. -EBUSY: somebody can still write to it.
int seal_memfd(const Descriptor& memfd) noexcept;
/// Whether it is a sealed file of exactly `size` bytes, without holes and not of none: -EPROTO if
/// not.
int check_sealed_memfd(const Descriptor& memfd, std::size_t size) noexcept;

/// An anonymous file with these bytes whose size and content can never change again.
int make_sealed_memfd(std::span<const std::byte> bytes, Descriptor& memfd) noexcept;

/// Makes the empty file that large, all zeros, and maps it for writing. Its memory is taken at once.
int map_new_memfd(const Descriptor& memfd, std::size_t size, std::byte*& address) noexcept;

enum class Populate { yes, no };

/// Maps a file that check_sealed_memfd() lets pass.
int map_sealed_memfd(const Descriptor& memfd, std::size_t size, Populate populate,
                     const std::byte*& address) noexcept;
void unmap(const std::byte* address, std::size_t size) noexcept;

}  // namespace weft::rt::process
