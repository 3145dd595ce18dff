#include "detail/stream_state.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include <sys/socket.h>
#include <sys/uio.h>

namespace weft::detail {

namespace {

// What one read asks for where the caller names no bound: most messages fit, and large ones come in few calls.
constexpr std::size_t kReadAhead = 4096;
constexpr std::size_t kMostAtOnce = std::size_t{256} * 1024;

[[noreturn]] void fail(ssize_t error, const char* what) {
    if (error == -EBADF)
        throw std::system_error(EBADF, std::generic_category(),
                                std::string(what) + ": the stream is closed");
    throw std::system_error(static_cast<int>(-error), std::generic_category(), what);
}

std::size_t checked(ssize_t result, const char* what) {
    if (result < 0) fail(result, what);
    return static_cast<std::size_t>(result);
}

const iovec* as_iovec(const Parts::Part* parts) noexcept {
    static_assert(sizeof(Parts::Part) == sizeof(iovec) &&
                  offsetof(Parts::Part, size) == offsetof(iovec, iov_len));
    return reinterpret_cast<const iovec*>(parts);
}

}  // namespace

// asyncio: read() while another one waits in it is a RuntimeError.
class StreamState::Reading {
public:
    explicit Reading(StreamState& state) : state_(state) {
        if (state.reading_.exchange(true))
            throw UsageError("weft::Stream: another task reads from it already");
    }
    ~Reading() { state_.reading_.store(false); }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

private:
    StreamState& state_;
};

// --- reading ------------------------------------------------------------------------------------------------------

void StreamState::wait_if_drained() {
    if (!drained_ || descriptor_.hung_up()) return;
    if (begin_ == end_) {
        buffer_.reset();  // an idle connection shall cost little
        capacity_ = begin_ = end_ = 0;
    }
    drained_ = false;  // a cancel here leaves it open what the edge was
    checked(descriptor_.wait(Side::in, "Stream.read"), "weft::Stream: read");
}

void StreamState::note(ssize_t received, std::size_t room) noexcept {
    // Less than was asked for says nothing of a terminal, which gives a line at a time, or of a pipe of packets.
    bool is_short = kind_ == StreamKind::socket && static_cast<std::size_t>(received) < room;
    drained_ = received == -EAGAIN || (received > 0 && is_short);
    if (received == 0) eof_ = true;
}

ssize_t StreamState::try_receive(void* data, std::size_t n) {
    share_worker();
    ssize_t rc = descriptor_.once([&](int fd) {
        return kind_ == StreamKind::socket ? calls::receive(fd, data, n) : calls::read(fd, data, n);
    });
    if (rc < 0 && rc != -EAGAIN) fail(rc, "weft::Stream: read");
    note(rc, n);
    return rc;
}

std::size_t StreamState::receive(void* data, std::size_t n) {
    if (eof_) return 0;
    for (;;) {
        wait_if_drained();
        ssize_t rc = try_receive(data, n);
        if (rc >= 0) return static_cast<std::size_t>(rc);
    }
}

std::size_t StreamState::take(void* data, std::size_t n) noexcept {
    n = std::min(n, buffered());
    std::memcpy(data, buffer_.get() + begin_, n);
    begin_ += n;
    return n;
}

std::string StreamState::take(std::size_t n) {
    std::string bytes(buffer_.get() + begin_, n);
    begin_ += n;
    return bytes;
}

void StreamState::make_room() {
    if (begin_ > 0) {
        std::memmove(buffer_.get(), buffer_.get() + begin_, buffered());
        end_ -= begin_;
        begin_ = 0;
    }
    if (capacity_ - end_ >= kReadAhead / 2) return;
    std::size_t larger = std::max(kReadAhead, capacity_ * 2);
    auto buffer = std::make_unique_for_overwrite<char[]>(larger);
    if (end_ > 0) std::memcpy(buffer.get(), buffer_.get(), end_);
    buffer_ = std::move(buffer);
    capacity_ = larger;
}

bool StreamState::fill() {
    if (eof_) return false;
    for (;;) {
        wait_if_drained();
        make_room();
        ssize_t rc = try_receive(buffer_.get() + end_, capacity_ - end_);
        if (rc < 0) continue;
        end_ += static_cast<std::size_t>(rc);
        return rc > 0;
    }
}

std::size_t StreamState::read_some(void* data, std::size_t n) {
    Reading reading(*this);
    if (n == 0) return 0;
    return begin_ != end_ ? take(data, n) : receive(data, n);
}

std::size_t StreamState::read_parts(const Parts& parts) {
    if (parts.size() <= 1 || kind_ == StreamKind::pipe)
        return parts.empty() ? 0 : read_some(parts.data()->data, parts.data()->size);
    Reading reading(*this);
    if (begin_ != end_) return take(parts.data()->data, parts.data()->size);
    if (eof_) return 0;
    for (;;) {
        wait_if_drained();
        share_worker();
        ssize_t rc = descriptor_.once(
            [&](int fd) { return calls::receive(fd, as_iovec(parts.data()), parts.size()); });
        if (rc < 0 && rc != -EAGAIN) fail(rc, "weft::Stream: read");
        note(rc, parts.bytes());
        if (rc >= 0) return static_cast<std::size_t>(rc);
    }
}

std::string StreamState::read(std::size_t n) {
    Reading reading(*this);
    if (n == 0) return "";
    if (begin_ != end_) return take(std::min(n, buffered()));
    n = std::min(n, kMostAtOnce);
    while (!eof_) {
        wait_if_drained();
        // Not before: nobody waits with memory in hand.
        std::string bytes(n, '\0');
        ssize_t rc = try_receive(bytes.data(), n);
        if (rc < 0) continue;
        bytes.resize(static_cast<std::size_t>(rc));
        return bytes;
    }
    return "";
}

std::string StreamState::read_all() {
    Reading reading(*this);
    // Into the buffer: a cancel meanwhile loses nothing.
    while (fill()) {
    }
    return take(buffered());
}

std::string StreamState::readexactly(std::size_t n) {
    Reading reading(*this);
    while (buffered() < n)
        if (!fill()) throw IncompleteReadError(take(buffered()), n);
    return take(n);
}

std::string StreamState::readuntil(std::string_view separator) {
    Reading reading(*this);
    return read_until(separator);
}

std::string StreamState::read_until(std::string_view separator) {
    std::size_t searched = 0;  // no separator begins before
    for (;;) {
        std::string_view bytes(buffer_.get() + begin_, buffered());
        std::size_t at = bytes.find(separator, searched);
        if (at != std::string_view::npos) {
            if (at > limit_)
                throw LimitOverrunError("weft::Stream: the separator is beyond the limit", at);
            return take(at + separator.size());
        }
        searched = bytes.size() < separator.size() ? 0 : bytes.size() - separator.size() + 1;
        if (searched > limit_)
            throw LimitOverrunError("weft::Stream: no separator within the limit of " +
                                        std::to_string(limit_) + " bytes",
                                    searched);
        if (!fill()) throw IncompleteReadError(take(buffered()), std::nullopt);
    }
}

std::string StreamState::readline() {
    Reading reading(*this);
    try {
        return read_until("\n");
    } catch (const IncompleteReadError& e) {
        return e.partial();
    } catch (const LimitOverrunError& e) {
        // asyncio drops the line if its end is known, and else all there is.
        bool ends = e.consumed() < buffered() && buffer_[begin_ + e.consumed()] == '\n';
        begin_ = ends ? begin_ + e.consumed() + 1 : end_;
        throw std::length_error(e.what());
    }
}

// --- writing ------------------------------------------------------------------------------------------------------

void StreamState::write(std::string_view data) {
    std::lock_guard guard(writing_);
    while (!data.empty()) {
        ssize_t rc = descriptor_.retry(Side::out, "Stream.write", [&](int fd) {
            return kind_ == StreamKind::socket ? calls::send(fd, data.data(), data.size())
                                               : calls::write(fd, data.data(), data.size());
        });
        data.remove_prefix(checked(rc, "weft::Stream: write"));
    }
}

std::size_t StreamState::write_parts(const Parts& parts) {
    if (parts.empty()) return 0;
    std::lock_guard guard(writing_);
    ssize_t rc = descriptor_.retry(Side::out, "Stream.write", [&](int fd) {
        return kind_ == StreamKind::socket
                   ? calls::send(fd, as_iovec(parts.data()), parts.size())
                   : calls::write(fd, parts.data()->data, parts.data()->size);
    });
    return checked(rc, "weft::Stream: write");
}

std::size_t StreamState::send_file(int file, std::int64_t offset, std::size_t n) {
    std::lock_guard guard(writing_);
    std::size_t sent = 0;
    while (sent < n) {
        ssize_t rc = descriptor_.retry(Side::out, "Stream.sendfile", [&](int fd) {
            return calls::send_file(fd, file, &offset, n - sent);
        });
        if (rc == 0) break;
        sent += checked(rc, "weft::Stream: sendfile");
    }
    return sent;
}

void StreamState::write_eof() {
    std::lock_guard guard(writing_);
    if (kind_ == StreamKind::pipe) return close();
    checked(descriptor_.once([](int fd) { return calls::shut_down(fd, calls::Half::out); }),
            "weft::Stream: write_eof");
}

void StreamState::abort() noexcept {
    linger at_once{1, 0};
    if (kind_ == StreamKind::socket)
        descriptor_.once([&](int fd) {
            return calls::set_option(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        });
    close();
}

}  // namespace weft::detail
