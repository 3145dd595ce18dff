// One open file: its descriptor and who is using it; and the loops over pieces that File and the whole-file helpers share.
#pragma once

#include <weft/detail/file_calls.hpp>
#include <weft/file.hpp>
#include <weft/sync.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

namespace weft::detail {

/// With `what` and the path in its text. `error` is -errno.
[[noreturn]] void fail_file(std::int64_t error, const char* what, const std::string& path);

template <class Result>
Result checked_file(Result result, const char* what, const std::string& path) {
    if (result < 0) fail_file(result, what, path);
    return result;
}

// On a thread. Piece by piece, and no further once asked to stop: then the caller gets CancelledError, whatever these return.

/// call(data, n, done) reads n bytes at most, after `done` ones; until `n` are there, or none come. How many; or -errno.
template <class Call>
ssize_t read_pieces(const std::stop_token& stop, char* data, std::size_t n, Call&& call);
/// call(data, n, done) writes some of n bytes; until all are written. 0, or -errno.
template <class Call>
ssize_t write_pieces(const std::stop_token& stop, std::string_view data, Call&& call);
/// Appends what is left from the descriptor's place on, which may be about `hint` bytes. 0, or -errno.
ssize_t read_to_end(const std::stop_token& stop, int fd, std::size_t hint, std::string& all);

/// std::invalid_argument: a null byte in it.
void require_path(const std::string& path, const char* what);
/// std::invalid_argument: a FIFO or a socket, which does not block here and would say EAGAIN.
void require_file(const calls::FileStatus& status, const char* what, const std::string& path);

class FileState {
public:
    FileState(int fd, std::string path, bool append)
        : fd_(fd), path_(std::move(path)), append_(append) {}
    /// Closed before, by close().
    ~FileState() = default;
    FileState(const FileState&) = delete;
    FileState& operator=(const FileState&) = delete;

    int fd() const noexcept { return is_closed() ? -1 : fd_; }
    const std::string& path() const noexcept { return path_; }
    bool appends() const noexcept { return append_; }
    bool is_closed() const noexcept { return (word_.load() & kClosed) != 0; }
    Lock& turn() noexcept { return turn_; }
    /// -errno of close(2), where this call made it.
    int close() noexcept;

    /// Keeps the descriptor from being closed, and its number from being used anew, while it lives.
    class Use {
    public:
        /// UsageError: closed.
        Use(FileState& state, const char* what);
        ~Use();
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        int fd() const noexcept { return state_.fd_; }

    private:
        FileState& state_;
    };

private:
    int close_now() const noexcept;

    static constexpr std::uint32_t kClosed = 1U << 31;

    const int fd_;
    const std::string path_;
    const bool append_;
    // kClosed, and below it how many use the descriptor. Closed by whoever makes it kClosed with no user: so once.
    std::atomic<std::uint32_t> word_{0};
    Lock turn_;  // of those who use the descriptor's own place
};

// ------------------------------------------------------------------------------------------------------------------

/// So much at a time goes to the kernel: a cancel waits for no more than that.
inline constexpr std::size_t kFilePiece = std::size_t{1} << 20;

template <class Call>
ssize_t read_pieces(const std::stop_token& stop, char* data, std::size_t n, Call&& call) {
    std::size_t done = 0;
    while (done < n && !stop.stop_requested()) {
        ssize_t rc = call(data + done, n - done < kFilePiece ? n - done : kFilePiece, done);
        if (rc < 0) return rc;
        if (rc == 0) break;
        done += static_cast<std::size_t>(rc);
    }
    return static_cast<ssize_t>(done);
}

template <class Call>
ssize_t write_pieces(const std::stop_token& stop, std::string_view data, Call&& call) {
    std::size_t done = 0;
    while (done < data.size() && !stop.stop_requested()) {
        std::string_view piece = data.substr(done, kFilePiece);
        ssize_t rc = call(piece.data(), piece.size(), done);
        if (rc <= 0) return rc < 0 ? rc : -EIO;
        done += static_cast<std::size_t>(rc);
    }
    return 0;
}

}  // namespace weft::detail
