// The system calls of the process offload, each returning -errno and retried on EINTR.
//
// Who comes in: every file of this room, in all three kinds of process (the program, its fork
// server, the workers).
// Invariant: each descriptor made here is close-on-exec, so that no program anybody starts can keep
// a socket of ours open; an open end in a stranger is an orphan that never sees the end of its
// peer.
// Thread rules: a Descriptor belongs to one thread at a time; the functions may be called from any
// thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <sys/types.h>
#include <sys/uio.h>

namespace weft::rt::process {

/// Owns one file descriptor.
class Descriptor {
public:
    Descriptor() = default;
    explicit Descriptor(int fd) noexcept : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        if (this != &other) {
            close();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    ~Descriptor() { close(); }

    int get() const noexcept { return fd_; }
    bool open() const noexcept { return fd_ >= 0; }
    /// For the caller to own.
    int release() noexcept { return std::exchange(fd_, -1); }
    void close() noexcept;

private:
    int fd_ = -1;
};

/// A pair of connected SOCK_SEQPACKET sockets: message bounds, end of file, and descriptors beside
/// the data.
int make_socketpair(Descriptor& first, Descriptor& second) noexcept;

/// A pollable handle of a process, safe from the reuse of its number. Linux 5.3.
int open_pidfd(pid_t pid, Descriptor& pidfd) noexcept;
int kill_by_pidfd(const Descriptor& pidfd, int signal) noexcept;
/// The same with a value that the receiver finds in its siginfo.
int queue_signal(const Descriptor& pidfd, int signal, std::uint64_t value) noexcept;
/// SIGKILL to the group that the process leads, or led. -EINVAL before Linux 6.9.
int kill_group_by_pidfd(const Descriptor& pidfd) noexcept;
/// Takes a child's end, waiting for it. Returns 0 and the wait status as waitpid() gives it.
/// -ECHILD: the program has taken it already (or ignores SIGCHLD), or it is not our child.
int reap(const Descriptor& pidfd, int& status) noexcept;
/// Whether the process ends within that time; -1 waits for ever.
bool wait_for_end(const Descriptor& pidfd, int milliseconds) noexcept;

enum class Blocking { yes, no };

/// Beside one packet.
inline constexpr std::size_t kPassedMax = 17;

/// Sends one packet, with these descriptors beside it, at most kPassedMax.
int send_packet(int socket, std::span<const iovec> parts, std::span<const int> passed,
                Blocking blocking) noexcept;

struct Received {
    int error = 0;           ///< -errno; -EAGAIN: there is nothing now
    std::size_t bytes = 0;   ///< 0 without an error: the peer has closed (or sent an empty packet,
                             ///< which is the same to us)
    bool truncated = false;  ///< the packet was larger than the buffer
    bool fd_lost = false;    ///< a descriptor came that there was no room for
    std::size_t passed_count = 0;
    std::array<Descriptor, kPassedMax> passed;  ///< in the order in which they were sent
};
Received receive_packet(int socket, std::span<std::byte> buffer, Blocking blocking) noexcept;

}  // namespace weft::rt::process
