#include "process/stderr_relay.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <new>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace weft::rt::process {

namespace {

/// Long enough for a reader that is only slow.
constexpr std::chrono::seconds kPatience{1};
/// As many chunks as a pipe usually holds.
constexpr int kChunksAtATime = 16;
constexpr int kOwnFlags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

/// Of the same terminal, or closed. Who may not open it by its name, since it is another user's, may
/// do so where it is the controlling one.
Descriptor open_own_terminal() noexcept {
    unsigned ours = 0;
    unsigned controlling = 0;
    if (::ioctl(STDERR_FILENO, TIOCGDEV, &ours) != 0) return {};
    Descriptor own(::open("/dev/tty", kOwnFlags));
    if (!own.open() || ::ioctl(own.get(), TIOCGDEV, &controlling) != 0) return {};
    return controlling == ours ? std::move(own) : Descriptor();
}

/// Where no description of its own can be had. -EOPNOTSUPP: this kind of file, or this kernel, knows
/// no such writing.
ssize_t write_without_waiting(std::span<const char> text) noexcept {
    const iovec part{const_cast<char*>(text.data()), text.size()};
    ssize_t written = ::pwritev2(STDERR_FILENO, &part, 1, -1, RWF_NOWAIT);
    return written >= 0 ? written : -errno;
}

/// Through a description of its own, so that not blocking is nobody else's affair.
ssize_t write_through_own_description(std::span<const char> text) noexcept {
    Descriptor own(::open("/proc/self/fd/2", kOwnFlags));
    int error = own.open() ? 0 : errno;
    if (error == ENXIO) return -EPIPE;  // nobody reads that pipe
    if (!own.open()) own = open_own_terminal();
    if (!own.open()) {
        ssize_t written = write_without_waiting(text);
        bool lacking = error == EMFILE || error == ENFILE || error == ENOMEM;
        return written == -EOPNOTSUPP && lacking ? -EAGAIN : written;
    }
    ssize_t written = ::write(own.get(), text.data(), text.size());
    return written >= 0 ? written : -errno;
}

/// What was taken, or -errno. SIGPIPE is blocked in the manager thread.
ssize_t write_now(std::span<const char> text) noexcept {
    // Nobody closes standard error on exec: where that is so, it is a descriptor of something else,
    // perhaps of ours, in a program that has closed its standard error.
    int flags = ::fcntl(STDERR_FILENO, F_GETFD);
    struct stat status{};
    if (flags < 0 || (flags & FD_CLOEXEC) != 0 || ::fstat(STDERR_FILENO, &status) != 0) {
        return -EBADF;
    }
    ssize_t written = 0;
    if (S_ISSOCK(status.st_mode)) {
        written = ::send(STDERR_FILENO, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (S_ISREG(status.st_mode)) {
        // A description of its own would have a place of its own.
        written = ::write(STDERR_FILENO, text.data(), text.size());
    } else {
        return write_through_own_description(text);
    }
    return written >= 0 ? written : -errno;
}

}  // namespace

std::size_t StderrRelay::write(std::span<const char> text) noexcept {
    return write_kept() ? 0 : write_or_drop(text);
}

bool StderrRelay::write_kept() noexcept {
    std::size_t done = 0;
    while (done < kept_.size()) {
        std::size_t more = write_or_drop(std::span(kept_).subspan(done));
        if (more == 0) break;
        done += more;
    }
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(done));
    return !kept_.empty();
}

void StderrRelay::finish() noexcept {
    constexpr int kPauseMilliseconds = 5;
    while (write_kept()) ::poll(nullptr, 0, kPauseMilliseconds);
    tell_of_dropped();
}

void StderrRelay::keep(std::span<const char> text) noexcept {
    while (!text.empty()) {
        std::size_t done = write(text);
        if (done == 0) break;
        text = text.subspan(done);
    }
    std::size_t room = kKeptBytesMax - kept_.size();
    std::span<const char> rest = text.first(std::min(text.size(), room));
    try {
        kept_.insert(kept_.end(), rest.begin(), rest.end());
    } catch (const std::bad_alloc&) {
        rest = {};
    }
    dropped_ += text.size() - rest.size();
}

std::size_t StderrRelay::write_or_drop(std::span<const char> text) noexcept {
    ssize_t written = tell_of_dropped() ? write_now(text) : -EAGAIN;
    if (written >= 0) {
        stuck_ = false;
        return static_cast<std::size_t>(written);
    }
    if (written == -EINTR) return 0;
    if (written != -EAGAIN) return text.size();
    auto now = std::chrono::steady_clock::now();
    if (!std::exchange(stuck_, true)) stuck_since_ = now;
    if (now - stuck_since_ < kPatience) return 0;
    dropped_ += text.size();
    return text.size();
}

/// Whether nothing stands in front of the next text.
bool StderrRelay::tell_of_dropped() noexcept {
    if (dropped_ == 0) return true;
    char line[128];
    int size = std::snprintf(line, sizeof line,
                             "\nweft: %llu bytes that worker processes wrote to standard error are "
                             "missing here: it took nothing for a while\n",
                             static_cast<unsigned long long>(dropped_));
    ssize_t written = write_now(std::span(line, static_cast<std::size_t>(size)));
    if (written == -EAGAIN) return false;
    dropped_ = 0;
    return true;
}

int StderrPipe::open(Descriptor end) noexcept {
    int flags = ::fcntl(end.get(), F_GETFL);
    if (flags < 0 || ::fcntl(end.get(), F_SETFL, flags | O_NONBLOCK) != 0) return -errno;
    end_ = std::move(end);
    return 0;
}

/// -errno; 0 at the end.
int StderrPipe::read_more() noexcept {
    ssize_t bytes = ::read(end_.get(), chunk_.data(), chunk_.size());
    if (bytes < 0) return -errno;
    chunk_begin_ = 0;
    chunk_end_ = static_cast<std::size_t>(bytes);
    for (std::size_t i = 0; i < chunk_end_; ++i) tail_[seen_++ % kTailBytes] = chunk_[i];
    return static_cast<int>(bytes);
}

/// Whether all that was read has been taken.
bool StderrPipe::pass_on(StderrRelay& relay) noexcept {
    while (chunk_begin_ < chunk_end_) {
        std::span<const char> rest(chunk_.data() + chunk_begin_, chunk_end_ - chunk_begin_);
        std::size_t done = relay.write(rest);
        if (done == 0) return false;
        chunk_begin_ += done;
    }
    return true;
}

StderrPipe::State StderrPipe::forward(StderrRelay& relay) noexcept {
    if (!end_.open()) return State::read;
    for (int i = 0; i < kChunksAtATime; ++i) {
        if (!pass_on(relay)) return State::blocked;
        int bytes = read_more();
        if (bytes == -EAGAIN || bytes == -EINTR) return State::read;
        if (bytes <= 0) return State::ended;
    }
    return pass_on(relay) ? State::read : State::blocked;
}

void StderrPipe::drain(StderrRelay& relay) noexcept {
    if (!end_.open()) return;
    for (int i = 0; i <= kChunksAtATime; ++i) {
        relay.keep(std::span(chunk_.data() + chunk_begin_, chunk_end_ - chunk_begin_));
        chunk_begin_ = chunk_end_;
        if (i < kChunksAtATime && read_more() <= 0) break;
    }
}

void StderrPipe::copy_tail(Payload& into) const noexcept {
    std::array<char, kTailBytes> text;
    std::uint64_t size = std::min<std::uint64_t>(seen_, kTailBytes);
    for (std::uint64_t i = 0; i < size; ++i) text[i] = tail_[(seen_ - size + i) % kTailBytes];
    copy_payload(std::as_bytes(std::span(text.data(), size)), into);
}

}  // namespace weft::rt::process
