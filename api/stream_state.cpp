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

// --- users --------------------------------------------------------------------------------------------------------

// seq_cst: release for what this user did with the state, acquire for whoever deletes it.
void StreamState::leave(std::uint32_t user) noexcept {
    if (users_.fetch_sub(user) == user) delete this;
}

void StreamState::disown() noexcept {
    close();
    leave(kOwned);
}

// asyncio: read() while another one waits in it is a RuntimeError.
class StreamState::Reading {
public:
    explicit Reading(StreamState& state) : state_(state) {
        if ((state.users_.fetch_or(kReading) & kReading) != 0)
            throw UsageError("weft::Stream: another task reads from it already");
    }
    ~Reading() { state_.leave(kReading); }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

private:
    StreamState& state_;
};

/// Writers take turns.
class StreamState::Writing {
public:
    explicit Writing(StreamState& state) : user_(state), turn_(state.writing_) {}

private:
    struct User {
        explicit User(StreamState& state) noexcept : state_(state) {
            state.users_.fetch_add(kWriter);
        }
        ~User() { state_.leave(kWriter); }
        User(const User&) = delete;
        User& operator=(const User&) = delete;
        StreamState& state_;
    };
    User user_;
    std::lock_guard<Lock> turn_;
};

// --- reading ------------------------------------------------------------------------------------------------------

void StreamState::free_if_idle() noexcept {
    if (begin_ != end_) return;
    buffer_.reset();  // an idle connection shall cost little
    capacity_ = begin_ = end_ = 0;
}

template <class Call>
std::size_t StreamState::receive(Call&& call) {
    const First first = drained_ && !descriptor_.may_hold_more() ? First::wait : First::call;
    if (first == First::wait) free_if_idle();
    drained_ = false;  // a cancel in the wait leaves it open what the edge was
    ssize_t rc = descriptor_.retry(
        Side::in, "Stream.read",
        [&](int fd) {
            ssize_t received = call(fd);
            if (received == -EAGAIN) free_if_idle();
            return received;
        },
        lowlevel::kNever, first);
    return checked(rc, "weft::Stream: read");
}

ssize_t StreamState::ask_kernel(int fd, void* data, std::size_t n) const noexcept {
    return kind_ != StreamKind::pipe ? calls::receive(fd, data, n) : calls::read(fd, data, n);
}

std::size_t StreamState::note(std::size_t received, std::size_t room) noexcept {
    // Of TCP alone. Others give less than was asked for while there is more: a terminal a line, a pipe of packets one of them,
    // a Unix socket what came before a descriptor (SCM_RIGHTS).
    drained_ = kind_ == StreamKind::tcp && received > 0 && received < room;
    if (received == 0) eof_ = true;
    return received;
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
    std::size_t n = receive([&](int fd) {
        make_room();
        return ask_kernel(fd, buffer_.get() + end_, capacity_ - end_);
    });
    end_ += note(n, capacity_ - end_);
    return n > 0;
}

std::size_t StreamState::read_some(void* data, std::size_t n) {
    Reading reading(*this);
    if (n == 0) return 0;
    if (begin_ != end_) return take(data, n);
    if (eof_) return 0;
    return note(receive([&](int fd) { return ask_kernel(fd, data, n); }), n);
}

std::size_t StreamState::read_parts(const Parts& parts) {
    if (parts.size() <= 1 || kind_ == StreamKind::pipe)
        return parts.empty() ? 0 : read_some(parts.data()->data, parts.data()->size);
    Reading reading(*this);
    if (begin_ != end_) return take(parts.data()->data, parts.data()->size);
    if (eof_) return 0;
    auto call = [&](int fd) { return calls::receive(fd, as_iovec(parts.data()), parts.size()); };
    return note(receive(call), parts.bytes());
}

std::string StreamState::read(std::size_t n) {
    Reading reading(*this);
    if (n == 0) return "";
    if (begin_ != end_) return take(std::min(n, buffered()));
    if (eof_) return "";
    n = std::min(n, kMostAtOnce);
    std::string bytes;
    std::size_t received = receive([&](int fd) {
        bytes.resize(n);
        ssize_t rc = ask_kernel(fd, bytes.data(), n);
        if (rc == -EAGAIN) std::string().swap(bytes);  // nobody waits with memory in hand
        return rc;
    });
    bytes.resize(note(received, n));
    return bytes;
}

void StreamState::read_ahead_all() {
    Reading reading(*this);
    while (fill()) {
    }
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
    Writing writing(*this);
    while (!data.empty()) {
        ssize_t rc = descriptor_.retry(Side::out, "Stream.write", [&](int fd) {
            return kind_ != StreamKind::pipe ? calls::send(fd, data.data(), data.size())
                                             : calls::write(fd, data.data(), data.size());
        });
        data.remove_prefix(checked(rc, "weft::Stream: write"));
    }
}

std::size_t StreamState::write_parts(const Parts& parts) {
    if (parts.empty()) return 0;
    Writing writing(*this);
    ssize_t rc = descriptor_.retry(Side::out, "Stream.write", [&](int fd) {
        return kind_ != StreamKind::pipe ? calls::send(fd, as_iovec(parts.data()), parts.size())
                                         : calls::write(fd, parts.data()->data, parts.data()->size);
    });
    return checked(rc, "weft::Stream: write");
}

std::size_t StreamState::send_file(int file, std::int64_t offset, std::size_t n) {
    Writing writing(*this);
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
    Writing writing(*this);
    if (kind_ == StreamKind::pipe) return close();
    checked(descriptor_.once([](int fd) { return calls::shut_down(fd, calls::Half::out); }),
            "weft::Stream: write_eof");
}

void StreamState::abort() noexcept {
    linger at_once{1, 0};
    if (kind_ != StreamKind::pipe)
        descriptor_.once([&](int fd) {
            return calls::set_option(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        });
    close();
}

}  // namespace weft::detail
