#include "process/os.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weft::rt::process {

namespace {

/// waitid() speaks of codes, everybody else of the word that waitpid() gives.
int wait_status_of(const siginfo_t& info) noexcept {
    if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
    return (info.si_status & 0x7f) | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

}  // namespace

void Descriptor::close() noexcept {
    // Never retried: Linux has let go of the number even where close() says EINTR.
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

int make_socketpair(Descriptor& first, Descriptor& second) noexcept {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
    first = Descriptor(ends[0]);
    second = Descriptor(ends[1]);
    return 0;
}

int open_pidfd(pid_t pid, Descriptor& pidfd) noexcept {
    // The kernel makes every pidfd close-on-exec.
    long fd = ::syscall(SYS_pidfd_open, pid, 0U);
    if (fd < 0) return -errno;
    pidfd = Descriptor(static_cast<int>(fd));
    return 0;
}

int kill_by_pidfd(const Descriptor& pidfd, int signal) noexcept {
    if (!pidfd.open()) return -EBADF;
    return ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0U) == 0 ? 0 : -errno;
}

int queue_signal(const Descriptor& pidfd, int signal, std::uint64_t value) noexcept {
    if (!pidfd.open()) return -EBADF;
    siginfo_t info{};
    info.si_signo = signal;
    info.si_code = SI_QUEUE;
    info.si_pid = ::getpid();
    info.si_uid = ::getuid();
    info.si_value.sival_ptr = reinterpret_cast<void*>(static_cast<std::uintptr_t>(value));
    return ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, &info, 0U) == 0 ? 0 : -errno;
}

int kill_group_by_pidfd(const Descriptor& pidfd) noexcept {
    constexpr unsigned kGroup = 1U << 2;  // PIDFD_SIGNAL_PROCESS_GROUP, which older headers lack
    if (!pidfd.open()) return -EBADF;
    return ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, kGroup) == 0 ? 0
                                                                                        : -errno;
}

int reap(const Descriptor& pidfd, int& status) noexcept {
    constexpr auto kPidfd = static_cast<idtype_t>(3);  // P_PIDFD, which older headers lack
    siginfo_t info{};
    while (::waitid(kPidfd, static_cast<id_t>(pidfd.get()), &info, WEXITED) != 0) {
        if (errno != EINTR) return -errno;
    }
    status = wait_status_of(info);
    return 0;
}

bool wait_for_end(const Descriptor& pidfd, int milliseconds) noexcept {
    pollfd watched{pidfd.get(), POLLIN, 0};
    int ready = 0;
    do {
        ready = ::poll(&watched, 1, milliseconds);
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

int send_packet(int socket, std::span<const iovec> parts, std::span<const int> passed,
                Blocking blocking) noexcept {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());
    message.msg_iovlen = parts.size();
    alignas(cmsghdr) char control[CMSG_SPACE(kPassedMax * sizeof(int))] = {};
    if (!passed.empty()) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(passed.size_bytes());
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(passed.size_bytes());
        std::memcpy(CMSG_DATA(header), passed.data(), passed.size_bytes());
    }
    int flags = MSG_NOSIGNAL | (blocking == Blocking::no ? MSG_DONTWAIT : 0);
    while (::sendmsg(socket, &message, flags) < 0) {
        if (errno != EINTR) return -errno;
    }
    return 0;
}

Received receive_packet(int socket, std::span<std::byte> buffer, Blocking blocking) noexcept {
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(kPassedMax * sizeof(int))] = {};
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    int flags = MSG_CMSG_CLOEXEC | (blocking == Blocking::no ? MSG_DONTWAIT : 0);

    Received received;
    ssize_t bytes = 0;
    do {
        bytes = ::recvmsg(socket, &message, flags);
    } while (bytes < 0 && errno == EINTR);
    if (bytes < 0) {
        received.error = -errno;
        return received;
    }
    received.bytes = static_cast<std::size_t>(bytes);
    received.truncated = (message.msg_flags & MSG_TRUNC) != 0;
    received.fd_lost = (message.msg_flags & MSG_CTRUNC) != 0;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        // The padding of the control message has room for one more than a packet may carry.
        std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            Descriptor taken(fd);
            if (received.passed_count == kPassedMax) {
                received.fd_lost = true;
            } else {
                received.passed[received.passed_count++] = std::move(taken);
            }
        }
    }
    return received;
}

}  // namespace weft::rt::process
