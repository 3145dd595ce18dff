#include "process/os.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

namespace weft::rt::process {

namespace {

/// waitid() speaks of codes, everybody else of the word that waitpid() gives.
int wait_status_of(const siginfo_t& info) noexcept {
    if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
    return (info.si_status & 0x7f) | (info.si_code == CLD_DUMPED ? 0x80 : 0);
}

int write_all(int fd, std::span<const std::byte> bytes) noexcept {
    while (!bytes.empty()) {
        ssize_t written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0) {
            if (errno == EINTR) continue;
            return -errno;
        }
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return 0;
}

constexpr int kContentSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

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

int make_memfd(Descriptor& memfd) noexcept {
    constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = ::memfd_create("weft", kFlags | MFD_NOEXEC_SEAL);
    // Kernels before 6.3 do not know the last flag; with vm.memfd_noexec=2 the later ones insist on
    // it.
    if (fd < 0 && errno == EINVAL) fd = ::memfd_create("weft", kFlags);
    if (fd < 0) return -errno;
    memfd = Descriptor(fd);
    return 0;
}

int seal_memfd(const Descriptor& memfd) noexcept {
    return ::fcntl(memfd.get(), F_ADD_SEALS, kContentSeals | F_SEAL_SEAL) == 0 ? 0 : -errno;
}

int make_sealed_memfd(std::span<const std::byte> bytes, Descriptor& memfd) noexcept {
    Descriptor made;
    if (int error = make_memfd(made); error != 0) return error;
    if (int error = write_all(made.get(), bytes); error != 0) return error;
    if (int error = seal_memfd(made); error != 0) return error;
    memfd = std::move(made);
    return 0;
}

int check_sealed_memfd(const Descriptor& memfd, std::size_t size) noexcept {
    // Without these seals the sender could shrink the file under our feet (SIGBUS) or change what
    // has been checked.
    int seals = ::fcntl(memfd.get(), F_GET_SEALS);
    if (seals < 0 || (seals & kContentSeals) != kContentSeals) return -EPROTO;
    struct stat status{};
    if (::fstat(memfd.get(), &status) != 0) return -errno;
    if (size == 0 || static_cast<std::size_t>(status.st_size) != size) return -EPROTO;
    // A hole would be filled at the expense of the process that reads it, and where that finds no
    // memory its read ends in SIGBUS.
    constexpr std::size_t kBlockBytes = 512;
    if (static_cast<std::size_t>(status.st_blocks) < size / kBlockBytes) return -EPROTO;
    return 0;
}

int map_sealed_memfd(const Descriptor& memfd, std::size_t size, Populate populate,
                     const std::byte*& address) noexcept {
    if (int error = check_sealed_memfd(memfd, size); error != 0) return error;
    int flags = MAP_PRIVATE | (populate == Populate::yes ? MAP_POPULATE : 0);
    void* mapped = ::mmap(nullptr, size, PROT_READ, flags, memfd.get(), 0);
    if (mapped == MAP_FAILED) return -errno;
    address = static_cast<const std::byte*>(mapped);
    return 0;
}

void unmap(const std::byte* address, std::size_t size) noexcept {
    ::munmap(const_cast<std::byte*>(address), size);
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
