// Frames: what program, fork server and workers say to each other, one frame a packet.
//
//   packet = header (32 bytes) + sizes of the shared memories (8 bytes each) + body of `length`
//            bytes; the checksum covers all of it
//          | header + sizes, beside a sealed memfd of exactly `length` bytes, for a large body; the
//            checksum covers header and sizes
//
// The descriptors beside a packet: that of the body, if it has one, then one for each shared memory
// of a call or a value: a sealed file of exactly that size.
//
// The bytes of a sealed file are not summed: nobody can have changed them since, and a worker that
// scribbled over them before it sealed them would have summed the scribble. What they mean is
// checked by the archive that reads them.
//
// Both ends are the same executable on the same machine, so numbers are in the machine's own order;
// magic and version are there to tell a frame from garbage, and a library that was exchanged under
// a running program from its own kind.
//
// Invariant: check_packet() and receive_frame() accept exactly what make_frame() makes. Everything
// a worker sends is hostile until then: a worker runs code that crashes, and a crashing program
// writes anything anywhere.
// Thread rules: none; values and pure functions.
#pragma once

#include <weft/detail/shared_memory.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "process/os.hpp"
#include "process/payload.hpp"

namespace weft::rt::process {

enum class FrameKind : std::uint8_t {
    hello = 1,     ///< server to program: static constructors are done, send requests
    spawn,         ///< program to server, beside the worker's end of a socketpair: fork a worker
    spawned,       ///< server to program: body is the pid, beside it the worker's pidfd
    spawn_failed,  ///< server to program: body is errno
    exited,        ///< server to program: body is the wait status; the worker is reaped
    call,          ///< program to worker: body is a CodeAddress and the arguments
    value,         ///< worker to program: the result
    exception,     ///< worker to program: the exception
    refused,       ///< worker to program: it did not run, or its result cannot be sent; a Refusal
};

struct FrameHeader {
    std::uint32_t magic = 0;
    std::uint16_t version = 0;
    FrameKind kind{};
    std::uint8_t in_memfd = 0;
    std::uint64_t id = 0;  ///< of the call, or the ticket of the worker
    std::uint64_t length = 0;
    std::uint32_t crc = 0;
    std::uint32_t memories = 0;  ///< how many shared ones travel along
};
static_assert(sizeof(FrameHeader) == 32);

inline constexpr std::uint32_t kFrameMagic = 0x74666577;  // "weft"
inline constexpr std::uint16_t kFrameVersion = 4;
/// Larger bodies go by memfd: a packet must fit into the default socket buffer (208 KiB, of which
/// the kernel counts its own overhead), and from about here on mapping is cheaper than copying
/// twice.
inline constexpr std::size_t kInlineBytesMax = std::size_t{128} << 10;
inline constexpr std::size_t kPacketBytesMax =
    sizeof(FrameHeader) + detail::kSharedMemoriesMax * sizeof(std::uint64_t) + kInlineBytesMax;
static_assert(kPassedMax == detail::kSharedMemoriesMax + 1);

enum class FrameError : std::uint8_t {
    none,
    too_short,
    bad_magic,
    bad_version,
    bad_kind,
    bad_length,
    bad_checksum,
    missing_descriptor,
    stray_descriptor,
    not_sealed,
    no_resources,  ///< not the sender's fault: what is lacking here, `shortage` says
};
const char* describe(FrameError error) noexcept;

/// A frame to be sent, as often as one likes. The body is borrowed until then, unless it went into
/// the memfd; the memories' descriptors are.
struct OutgoingFrame {
    FrameHeader header;
    std::span<const std::byte> body;
    Descriptor memfd;
    std::array<std::uint64_t, detail::kSharedMemoriesMax> memory_sizes;
    std::array<int, detail::kSharedMemoriesMax> memory_fds;
};

/// Fills `frame`; writes a large body into a memfd. -errno where that fails. `memories` are sealed.
int make_frame(FrameKind kind, std::uint64_t id, std::span<const std::byte> body,
               OutgoingFrame& frame, const detail::SharedMemoryList* memories = nullptr) noexcept;

/// Sends it; `passed` is a descriptor of spawn and spawned. A packet too large for a small socket
/// buffer is sent by memfd after all.
int send_frame(int socket, OutgoingFrame& frame, Blocking blocking, int passed = -1) noexcept;

/// Checks a packet as it came from the socket: header, lengths, checksum. `length_max` bounds a
/// body in a memfd.
FrameError check_packet(std::span<const std::byte> packet, std::size_t length_max,
                        FrameHeader& header) noexcept;

struct IncomingFrame {
    int error = 0;        ///< -errno of the socket; -EAGAIN: nothing now
    bool closed = false;  ///< the peer is gone
    FrameError bad = FrameError::none;
    int shortage = 0;  ///< errno, where `bad` is no_resources
    FrameHeader header;
    Payload body;
    Descriptor passed;  ///< of spawn and spawned
    detail::ArrivedFiles memories;
};

/// Receives one frame. `buffer` has kPacketBytesMax + 1 bytes, so that a packet that is too large
/// is seen as such.
IncomingFrame receive_frame(int socket, std::span<std::byte> buffer, std::size_t length_max,
                            Blocking blocking) noexcept;

}  // namespace weft::rt::process
