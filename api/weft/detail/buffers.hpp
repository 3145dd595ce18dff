// Asio's buffer sequences, without Asio: what has data() and size() in bytes is a buffer, and a range of buffers is a
// sequence of them. Not for users.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <type_traits>
#include <utility>

namespace weft::detail {

template <class T>
concept OneBuffer =
    requires(const T& buffer) {
        { buffer.size() } -> std::convertible_to<std::size_t>;
        { buffer.data() } -> std::convertible_to<const void*>;
    } && (std::is_void_v<std::remove_pointer_t<decltype(std::declval<const T&>().data())>> ||
          requires(const T& buffer) { requires sizeof(*buffer.data()) == 1; });

template <class T>
concept BufferSequence = OneBuffer<T> || requires(const T& sequence) {
    sequence.begin();
    sequence.end();
    requires(!OneBuffer<T>);
    requires requires { (*sequence.begin()).data(); };
};

/// The buffers as the kernel takes them: iovec's layout.
class Parts {
public:
    static constexpr std::size_t kMost = 16;  // those beyond are left for the next call
    struct Part {
        void* data;
        std::size_t size;
    };

    template <BufferSequence Buffers>
    explicit Parts(const Buffers& buffers) {
        if constexpr (OneBuffer<Buffers>) {
            add(buffers.data(), buffers.size());
        } else {
            for (auto i = buffers.begin(); i != buffers.end() && n_ < kMost; ++i)
                add((*i).data(), (*i).size());
        }
    }
    const Part* data() const noexcept { return parts_; }
    std::size_t size() const noexcept { return n_; }
    /// Whether there is not one byte in them.
    bool empty() const noexcept { return n_ == 0; }
    std::size_t bytes() const noexcept {
        std::size_t sum = 0;
        for (std::size_t i = 0; i < n_; ++i) sum += parts_[i].size;
        return sum;
    }

private:
    void add(const void* data, std::size_t size) noexcept {
        if (size != 0) parts_[n_++] = {const_cast<void*>(data), size};
    }
    Part parts_[kMost];
    std::size_t n_ = 0;
};

/// The end of a stream as an error of weft's.
std::error_code end_of_stream() noexcept;

/// How an error code type takes over what the kernel said. <weft/asio.hpp> says it for Boost's.
template <class Error>
struct ErrorAs;
template <>
struct ErrorAs<std::error_code> {
    static std::error_code from(const std::error_code& error) noexcept { return error; }
    static std::error_code end() noexcept { return end_of_stream(); }
};

enum class Zero : std::uint8_t { is_the_end, is_no_end };

/// call()'s bytes; a std::system_error goes into `error`, and so does the end of the stream.
template <class Error, class Call>
std::size_t into_error(Error& error, Zero zero, Call&& call) {
    error = Error();
    try {
        std::size_t n = call();
        if (n == 0 && zero == Zero::is_the_end) error = ErrorAs<Error>::end();
        return n;
    } catch (const std::system_error& e) {
        error = ErrorAs<Error>::from(e.code());
        return 0;
    }
}

}  // namespace weft::detail
