// One stream: its descriptor, what has been read ahead, and who reads and writes.
//
// The first try of a read is left out where the read before it brought less than there was room for: nothing more was
// there then, so the next bytes come with an edge of their own (as in tokio). Not where the peer has hung up, for that edge
// may have come with the bytes; nor once it has sent urgent data (MSG_OOB), at whose mark a read ends though there is more.
#pragma once

#include <weft/detail/buffers.hpp>
#include <weft/detail/descriptor.hpp>
#include <weft/detail/socket_calls.hpp>
#include <weft/stream.hpp>
#include <weft/sync.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace weft::detail {

enum class StreamKind : std::uint8_t { tcp, socket, pipe };

/// Lives until its Stream has disowned it and the last call on it has returned: a Stream may be destroyed, or assigned to,
/// while tasks wait in it.
class StreamState {
public:
    StreamState(Descriptor descriptor, StreamKind kind) noexcept
        : descriptor_(std::move(descriptor)), kind_(kind) {}
    StreamState(const StreamState&) = delete;
    StreamState& operator=(const StreamState&) = delete;

    /// The owner's part of its end: closes it, so that who waits in it goes.
    void disown() noexcept;

    // One reader at a time.
    std::size_t read_some(void* data, std::size_t n);
    std::size_t read_parts(const Parts& parts);
    std::string read(std::size_t n);
    std::string read_all();
    /// All up to the end of the stream, for the next read.
    void read_ahead_all();
    std::string readexactly(std::size_t n);
    std::string readuntil(std::string_view separator);
    std::string readline();
    bool at_eof() const noexcept { return eof_ && begin_ == end_; }
    void set_limit(std::size_t bytes) noexcept { limit_ = bytes; }

    void write(std::string_view data);
    std::size_t write_parts(const Parts& parts);
    std::size_t send_file(int file, std::int64_t offset, std::size_t n);
    void write_eof();

    void close() noexcept { descriptor_.close(); }
    void abort() noexcept;

    Descriptor& descriptor() noexcept { return descriptor_; }

private:
    class Reading;
    class Writing;

    // The bits of users_: {writers : 30, owned : 1, reading : 1}. Whoever takes the last one out deletes it.
    static constexpr std::uint32_t kReading = 1;
    static constexpr std::uint32_t kOwned = 2;
    static constexpr std::uint32_t kWriter = 4;

    ~StreamState() = default;
    void leave(std::uint32_t user) noexcept;

    std::string read_until(std::string_view separator);
    /// What call(fd), tried where it may bring something and else after a wait, brings in the end: bytes, 0 at the end.
    template <class Call>
    std::size_t receive(Call&& call);
    ssize_t ask_kernel(int fd, void* data, std::size_t n) const noexcept;
    /// Of a receive() that had room for so much. Returns `received`.
    std::size_t note(std::size_t received, std::size_t room) noexcept;
    void free_if_idle() noexcept;
    std::size_t take(void* data, std::size_t n) noexcept;
    std::string take(std::size_t n);
    std::size_t buffered() const noexcept { return end_ - begin_; }
    /// Reads ahead, once; false at the end of the stream.
    bool fill();
    void make_room();

    Descriptor descriptor_;
    const StreamKind kind_;
    std::atomic<std::uint32_t> users_{kOwned};
    bool drained_ = false;
    bool eof_ = false;
    std::unique_ptr<char[]>
        buffer_;  // what was read ahead; gone while it is empty and nothing comes
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::size_t limit_ = Stream::kDefaultLimit;
    Lock writing_;
};

template <class S>
S make_stream(Descriptor descriptor, StreamKind kind, std::size_t limit = Stream::kDefaultLimit) {
    StreamStatePtr state(new StreamState(std::move(descriptor), kind));
    state->set_limit(limit);
    return StreamMaker::make<S>(std::move(state));
}

}  // namespace weft::detail
