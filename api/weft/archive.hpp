// How values travel to another process and back: a compact binary form of our own, and the types
// that have one.
//
// Who comes in: <weft/process.hpp>, for arguments and results; a user who gives a type of his own a
// Codec; and <weft/cereal.hpp>, which gives one to every type that cereal can serialize.
//
// A type travels if it has a Codec (`weft::Serializable` asks that, all the way down):
//   - numbers, enums, and trivially copyable types without pointers inside, as their bytes;
//   - std's strings, sequences, sets and maps, and whatever has their interface; elements that
//     travel as bytes go in one piece where the container is contiguous;
//   - std::array, optional, variant, tuple, pair, unique_ptr of such.
// Both ends run the same program on the same machine, so there is no version, no byte order and no
// names in the form.
//
// Invariant of InputArchive: whatever the bytes are, reading ends, in a value or an ArchiveError. A
// length is compared with what is left before any memory is asked for, and nesting is bounded.
// Rejected: cereal's and Boost's archives as they are (a length of 2^40 makes them ask for that
// much), and views (string_view, span): the bytes they would look at belong to the message, which
// is gone before they are.
// Thread rules: an archive belongs to one thread at a time.
#pragma once

#include <weft/detail/basic_errors.hpp>
#include <weft/detail/shared_memory.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

namespace weft {

/// A value cannot be written (it is larger than the limit, nests too deeply, or is a valueless
/// variant), or the bytes that came are not one.
class ArchiveError : public Error {
public:
    using Error::Error;
};

/// The most a message may hold unless ProcessPoolOptions says otherwise.
inline constexpr std::size_t kMessageBytesMax = std::size_t{64} << 20;

/// How a T is written and read: `static void write(OutputArchive&, const T&)` and `static T
/// read(InputArchive&)`. Specialize it for a type of your own, in the header that declares the
/// type. Each value must take at least one byte.
template <class T>
struct Codec;

/// Set to true for a trivially copyable type that holds no pointers although the compiler cannot
/// see that (it has a union inside, as std::optional has, or under clang a bit-field): then it
/// travels as its bytes.
template <class T>
inline constexpr bool kSendAsBytes = false;

class OutputArchive;
class InputArchive;

/// A value of this type can be sent to another process.
template <class T>
concept Serializable = std::same_as<T, std::remove_cvref_t<T>> &&
                       requires(OutputArchive& out, InputArchive& in, const T& value) {
                           Codec<T>::write(out, value);
                           { Codec<T>::read(in) } -> std::same_as<T>;
                       };

/// Counts how deep a value is nested in others, for types that may hold themselves.
class NestingDepth {
public:
    /// @throws ArchiveError beyond 256, which a fiber's stack has room for
    void enter();
    void leave() noexcept { --depth_; }

private:
    unsigned depth_ = 0;
};

/// Takes values and makes bytes of them.
class OutputArchive {
public:
    explicit OutputArchive(std::size_t bytes_max = kMessageBytesMax) noexcept
        : bytes_max_(bytes_max) {}
    OutputArchive(const OutputArchive&) = delete;
    OutputArchive& operator=(const OutputArchive&) = delete;
    ~OutputArchive() { std::free(data_); }

    template <Serializable T>
    void write(const T& value) {
        Codec<T>::write(*this, value);
    }
    /// @throws ArchiveError beyond the limit; std::bad_alloc
    void write_bytes(const void* bytes, std::size_t size) {
        if (size > capacity_ - size_) grow(size);
        if (size != 0) std::memcpy(data_ + size_, bytes, size);
        size_ += size;
    }
    /// A length or an index: one byte below 128.
    void write_size(std::uint64_t size) {
        std::byte packed[10];
        std::size_t count = 0;
        for (; size >= 0x80; size >>= 7) packed[count++] = std::byte(size | 0x80);
        packed[count++] = std::byte(size);
        write_bytes(packed, count);
    }

    std::span<std::byte> bytes() noexcept { return {data_, size_}; }
    /// The block, which is malloc's, for the caller to free().
    std::byte* release() noexcept {
        size_ = capacity_ = 0;
        return std::exchange(data_, nullptr);
    }

    /// A sealed memory, which travels beside the bytes: writes its number, the same one each time.
    /// Its own bytes do not count against the limit.
    /// @throws ArchiveError beyond 16 different ones
    void write_memory(const detail::SharedMemoryRef& memory);
    /// Of the memories written; null: none.
    const detail::SharedMemoryList* memories() const noexcept { return memories_.get(); }
    std::unique_ptr<detail::SharedMemoryList> release_memories() noexcept {
        return std::move(memories_);
    }

    NestingDepth& depth() noexcept { return depth_; }

private:
    void grow(std::size_t more);

    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
    std::size_t bytes_max_;
    std::unique_ptr<detail::SharedMemoryList> memories_;
    NestingDepth depth_;
};

/// Makes values of bytes, of which it believes nothing.
class InputArchive {
public:
    /// `files`: the memories that came beside the bytes, if any did.
    explicit InputArchive(std::span<const std::byte> bytes,
                          detail::ArrivedFiles* files = nullptr) noexcept
        : at_(bytes.data()), end_(bytes.data() + bytes.size()), files_(files) {}
    InputArchive(const InputArchive&) = delete;
    InputArchive& operator=(const InputArchive&) = delete;

    /// @throws ArchiveError if the bytes are no T; std::bad_alloc; what T's constructors throw
    template <Serializable T>
    T read() {
        return Codec<T>::read(*this);
    }
    void read_bytes(void* into, std::size_t size) {
        if (size > rest()) throw_short(size);
        if (size != 0) std::memcpy(into, at_, size);
        at_ += size;
    }
    /// What write_size() wrote.
    std::uint64_t read_number();
    /// A count of things that take at least `bytes_each` bytes: never more than can be there.
    std::size_t read_size(std::size_t bytes_each = 1);
    /// What write_memory() wrote; the same one for the same number.
    /// @throws ArchiveError if it did not come; std::system_error if it cannot be mapped
    detail::SharedMemoryRef read_memory();

    std::size_t rest() const noexcept { return static_cast<std::size_t>(end_ - at_); }
    /// Throws ArchiveError unless everything has been read, the memories too.
    void finish() const;
    [[noreturn]] static void throw_malformed(const char* what);
    NestingDepth& depth() noexcept { return depth_; }

private:
    [[noreturn]] void throw_short(std::size_t wanted) const;

    const std::byte* at_;
    const std::byte* end_;
    detail::ArrivedFiles* files_;
    std::unique_ptr<detail::SharedMemoryList> memories_;  // those read, by their numbers
    NestingDepth depth_;
};

/// Open while a value is written or read whose type may hold itself.
class NestedValue {
public:
    template <class Archive>
    explicit NestedValue(Archive& archive) : depth_(archive.depth()) {
        depth_.enter();
    }
    NestedValue(const NestedValue&) = delete;
    NestedValue& operator=(const NestedValue&) = delete;
    ~NestedValue() { depth_.leave(); }

private:
    NestingDepth& depth_;
};

}  // namespace weft

#include <weft/detail/codecs.hpp>  // IWYU pragma: export
