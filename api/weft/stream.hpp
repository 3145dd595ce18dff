// Streams of bytes: TCP and Unix connections (asyncio's StreamReader and StreamWriter in one).
//
// One task may read while another one writes. Reading is for one task at a time: a second one gets UsageError, as in
// asyncio. Writing is for any number: each call's bytes stay together, and the calls take turns.
#pragma once

#include <weft/address.hpp>
#include <weft/detail/buffers.hpp>
#include <weft/error.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace weft {

/// How TCP connections are set up, of clients and of servers.
struct TcpOptions {
    bool nodelay = true;     ///< no waiting for more to send (Nagle's algorithm is off)
    bool keepalive = false;  ///< the kernel asks idle peers whether they are there
    int send_buffer = 0;     ///< bytes in the kernel; 0: its default
    int receive_buffer = 0;
};

namespace detail {
class StreamState;
struct StreamStateDeleter {
    void operator()(StreamState* state) const noexcept;
};
using StreamStatePtr = std::unique_ptr<StreamState, StreamStateDeleter>;
struct StreamMaker {
    template <class S>
    static S make(StreamStatePtr state) noexcept {
        return S(std::move(state));
    }
    template <class S>
    static StreamState& state_of(S& stream, const char* what) {
        return stream.state(what);
    }
};
}  // namespace detail

/// What all streams can do. Movable. Its destructor closes it.
///
/// Every function that waits is ended by a cancel with CancelledError, and by an enclosing weft::timeout; bytes that have
/// come are not lost then, they are there for the next read. Bytes of a write may have been sent in part: close it.
/// What the kernel refuses is std::system_error: ECONNRESET where the peer broke the connection, EPIPE where one writes to
/// a peer that has gone (there is no SIGPIPE), EBADF where the stream is closed, also while one waits in it. The end of the
/// peer's bytes is none of these: see each function. UsageError: another task reads already.
class Stream {
public:
    /// The most that readline() and readuntil() look through (asyncio's limit).
    static constexpr std::size_t kDefaultLimit = 64 * 1024;

    /// Closed.
    Stream() noexcept = default;

    // --- reading ---

    /// Up to n bytes, as soon as there are any; "" at the end of the stream. Waits until there are.
    std::string read(std::size_t n);
    /// All bytes to the end of the stream.
    std::string read();
    /// n bytes. IncompleteReadError: the stream ends before.
    std::string readexactly(std::size_t n);
    /// Bytes up to the separator and with it. IncompleteReadError: the stream ends before; LimitOverrunError: there is none
    /// within the limit. std::invalid_argument: it is empty.
    std::string readuntil(std::string_view separator = "\n");
    /// A line with its "\n"; at the end of the stream what is left, without one, and then "". std::length_error: no end
    /// within the limit; what was looked through is dropped (asyncio's ValueError).
    std::string readline();
    /// Up to n bytes to `data`, as soon as there are any; 0 at the end of the stream (or where n is 0).
    std::size_t read_some(void* data, std::size_t n);
    /// Whether the stream has ended and its last byte has been read.
    bool at_eof() const noexcept;
    /// See kDefaultLimit. std::invalid_argument: 0.
    void set_limit(std::size_t bytes);

    // --- writing ---

    /// Sends all bytes. Waits while the peer is slow and the kernel's buffer is full.
    void write(std::string_view data);
    void write(std::span<const std::byte> data) {
        write(std::string_view(reinterpret_cast<const char*>(data.data()), data.size()));
    }
    void write(const char* text) { write(std::string_view(text)); }
    /// The pieces of a range, one after another, as one write.
    template <std::ranges::input_range Range>
    void writelines(Range&& pieces) {
        std::string all;
        for (auto&& piece : pieces) all.append(std::string_view(piece));
        write(all);
    }
    /// In asyncio, waits for what write() left behind: here nothing, since write() waits itself. A cancel point.
    void drain();
    /// Sends the end of the stream: the peer reads all that was written, and then its end. The other direction stays open.
    void write_eof();
    /// `n` bytes of a file, from `offset` on, by sendfile(2); how many there were, fewer where the file ends. Sockets only.
    std::size_t sendfile(int file, std::int64_t offset, std::size_t n);

    // --- Asio's buffers ---

    /// For Asio's buffer sequences: std::span of bytes, boost::asio::mutable_buffer, and ranges of these. As the plain ones:
    /// 0 at the end of the stream.
    template <detail::BufferSequence Buffers>
    std::size_t read_some(const Buffers& buffers) {
        detail::Parts parts(buffers);
        return read_parts(parts);
    }
    template <detail::BufferSequence Buffers>
    std::size_t write_some(const Buffers& buffers) {
        detail::Parts parts(buffers);
        return write_parts(parts);
    }
    /// With the kernel's error, or the end of the stream, in `error` and not thrown: std::error_code, or with <weft/asio.hpp>
    /// Boost's. A cancel is thrown all the same.
    template <detail::BufferSequence Buffers, class Error>
    std::size_t read_some(const Buffers& buffers, Error& error) {
        detail::Parts parts(buffers);
        auto zero = parts.empty() ? detail::Zero::is_no_end : detail::Zero::is_the_end;
        return detail::into_error(error, zero, [&] { return read_parts(parts); });
    }
    template <detail::BufferSequence Buffers, class Error>
    std::size_t write_some(const Buffers& buffers, Error& error) {
        detail::Parts parts(buffers);
        return detail::into_error(error, detail::Zero::is_no_end,
                                  [&] { return write_parts(parts); });
    }

    // --- the end ---

    /// Any thread. Closes it; calls in progress end with EBADF. Input that nobody has read makes the kernel send a reset.
    void close() noexcept;
    /// Closes it with a reset: what the peer has not received yet is dropped.
    void abort() noexcept;
    bool is_closing() const noexcept;
    /// asyncio's: here close() has done all there is, so this gives up one turn. A cancel point.
    void wait_closed();

    // --- what it stands on ---

    SocketAddress local_address() const;
    /// Of a peer that has gone, none.
    SocketAddress peer_address() const;
    /// setsockopt(2).
    void set_option(int level, int name, int value);
    int get_option(int level, int name) const;
    /// -1: closed. It does not block, and stays the stream's.
    int fd() const noexcept;

protected:
    explicit Stream(detail::StreamStatePtr state) noexcept : state_(std::move(state)) {}
    detail::StreamState& state(const char* what) const;

private:
    friend struct detail::StreamMaker;
    std::size_t read_parts(detail::Parts& parts);
    std::size_t write_parts(detail::Parts& parts);

    detail::StreamStatePtr state_;
};

/// A TCP connection.
class TcpStream : public Stream {
public:
    TcpStream() noexcept = default;
    /// Takes over a connected socket, and closes it if this throws. UsageError outside of a task; std::system_error: it is
    /// no stream socket.
    static TcpStream from_fd(int fd, const TcpOptions& options = {});

private:
    friend struct detail::StreamMaker;
    explicit TcpStream(detail::StreamStatePtr state) noexcept : Stream(std::move(state)) {}
};

/// A connection between processes of one machine.
class UnixStream : public Stream {
public:
    UnixStream() noexcept = default;
    static UnixStream from_fd(int fd);

private:
    friend struct detail::StreamMaker;
    explicit UnixStream(detail::StreamStatePtr state) noexcept : Stream(std::move(state)) {}
};

struct ConnectOptions {
    Family family = Family::any;
    /// Where the connection comes from; none: the kernel chooses.
    SocketAddress local_address{};
    /// How long the first address is tried alone before the next one is tried beside it (RFC 8305).
    std::chrono::nanoseconds happy_eyeballs_delay = std::chrono::milliseconds(250);
    std::size_t limit = Stream::kDefaultLimit;
    TcpOptions tcp{};
};

/// A connection to a host's port. Its addresses are looked up and tried, IPv6 and IPv4 in turn, each a little after the one
/// before; the first that answers wins.
///
/// Waits until it is connected. Cancelled there, all attempts are ended. ResolveError: there is no such host;
/// std::system_error: no address could be reached, with the code of the first one's failure and the reasons of all.
TcpStream open_connection(const std::string& host, int port, const ConnectOptions& options = {});
/// The same to one address.
TcpStream open_connection(const SocketAddress& address, const ConnectOptions& options = {});
UnixStream open_unix_connection(const std::string& path, std::size_t limit = Stream::kDefaultLimit);

}  // namespace weft
