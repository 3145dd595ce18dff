// A large block of bytes that goes to worker processes, and comes back from them, without being
// copied.
//
//     weft::SharedBuffer image(64 << 20);
//     std::span<float> pixels = image.writable_as<float>();
//     ...
//     weft::SharedBuffer result = weft::to_process([](const weft::SharedBuffer& in) {
//         weft::SharedBuffer out(in.size());
//         ...
//         return out;
//     }, image);
//     std::span<const float> shown = result.as<float>();
//
// Arguments and results of to_process() are otherwise written into a message, sent, and read from
// it. Of a buffer the message has only a number; its memory goes along as a file descriptor, and is
// mapped by the other process.
//
// Life: writable, from the constructor on; sealed, from the first time it is sent (or seal()) on.
// A sealed one can be read by all who have it, and changed by nobody, in no process, for ever: so
// what a worker has sent cannot change, shrink or vanish under its reader, whatever the worker does.
// Copies are other names of the same memory; it is given back with the last of them in each process.
//
// One that a static constructor makes is, as all that it makes, in each worker process too; there
// the workers share it, writable, and none of them can seal it.
//
// Thread rules: as for a std::shared_ptr: copies may be used by different threads at the same time,
// also to send them. Who writes, and when nobody does any more, is for the program to order.
#pragma once

#include <weft/archive.hpp>

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>

namespace weft {

/// What the bytes of a SharedBuffer may be taken for: numbers but bool, enums, and trivially
/// copyable types without pointers; see kSendAsBytes.
template <class T>
concept SharedElement = detail::PlainInBulk<T> && std::same_as<T, std::remove_cv_t<T>>;

/// Bytes in memory that travels to other processes and back without being copied.
///
/// @cost  each buffer, of any number of copies, has a descriptor and a mapping, in each process
/// where it lives: below some 64 KiB a std::vector is cheaper. Sending seals, and costs nothing
/// else that grows with the size. At most 16 different ones go with the arguments of a call, and
/// with its result (ArchiveError); ProcessPoolOptions::message_bytes_max does not count their bytes
class SharedBuffer {
public:
    /// No bytes, no memory, no descriptor.
    SharedBuffer() noexcept = default;
    /// Zeros.
    /// @throws  std::system_error: ENOMEM, also for more than the machine has; EMFILE, ENFILE,
    /// ENOSPC
    /// @cost    takes all of the memory at once, as a vector of zeros does: about 0.1 s a GiB, from
    /// 2 MiB on and on Linux 6.1, where it is made of huge pages; 0.6 s where the machine has no
    /// such pages to give
    explicit SharedBuffer(std::size_t size);
    /// These bytes, copied once.
    /// @throws  as the constructor
    static SharedBuffer copy_of(std::span<const std::byte> bytes);

    std::size_t size() const noexcept { return bytes().size(); }
    bool empty() const noexcept { return size() == 0; }

    /// At the same address for as long as the buffer or a copy of it lives. The first byte's
    /// address is a multiple of the page size (4 KiB).
    std::span<const std::byte> bytes() const noexcept;
    /// The bytes as values that this or another process has written there.
    /// @throws  UsageError if the size is no multiple of T's
    template <SharedElement T>
    std::span<const T> as() const {
        return elements<const T>(bytes());
    }

    /// For writing. What has been got here before is read-only from the time on when the buffer is
    /// sealed: a write is then a segmentation fault.
    /// @throws  UsageError if the buffer, by whatever copy, has been sent or sealed, or was received
    std::span<std::byte> writable();
    /// @throws  UsageError also if the size is no multiple of T's
    template <SharedElement T>
    std::span<T> writable_as() {
        return elements<T>(writable());
    }

    /// Ends the writing, for all copies; sending does so by itself. Again: nothing. Nor for an
    /// empty buffer.
    /// @throws  std::system_error: EBUSY while another process can write there, such as a child
    /// that the program has forked since the buffer was made, or a device that reads into it. It is
    /// read-only then nevertheless, and may be tried again
    /// @cost    of small pages about 0.15 s a GiB, since the kernel looks at each; of huge ones next
    /// to nothing. What is read here later is faulted in again
    void seal();
    bool is_sealed() const noexcept;

private:
    friend struct Codec<SharedBuffer>;

    template <class T, class Byte>
    static std::span<T> elements(std::span<Byte> bytes) {
        static_assert(alignof(T) <= 4096);
        if (bytes.size() % sizeof(T) != 0) throw_odd_size(bytes.size(), sizeof(T));
        return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
    }
    [[noreturn]] static void throw_odd_size(std::size_t bytes, std::size_t bytes_each);

    detail::SharedMemoryRef memory_;  // null: empty
};

template <>
struct Codec<SharedBuffer> {
    /// Seals it.
    static void write(OutputArchive& out, const SharedBuffer& value);
    static SharedBuffer read(InputArchive& in);
};

}  // namespace weft
