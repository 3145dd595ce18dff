#include <weft/detail/socket_calls.hpp>

#include <cerrno>

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "network_calls.hpp"
#include "simulation.hpp"
#include "system_call.hpp"

namespace weft::detail::calls {

namespace ours = rt::network_calls;

namespace {

const sockaddr* as_address(const void* address) noexcept {
    return static_cast<const sockaddr*>(address);
}

msghdr message_of(const iovec* parts, std::size_t n) noexcept {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts);
    message.msg_iovlen = n;
    return message;
}

}  // namespace

int make_socket(int family, int type, int protocol) noexcept {
    if (type == SOCK_STREAM && (family == AF_INET || family == AF_INET6))
        if (auto network = rt::simulated_network()) return ours::make_socket(network, family);
    return repeated(
        [&] { return ::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol); });
}

int bind(int fd, const void* address, std::size_t length) noexcept {
    if (ours::is_ours(fd)) return ours::bind(fd, address, length);
    return repeated(
        [&] { return ::bind(fd, as_address(address), static_cast<socklen_t>(length)); });
}

int listen(int fd, int backlog) noexcept {
    if (ours::is_ours(fd)) return ours::listen(fd, backlog);
    return repeated([&] { return ::listen(fd, backlog); });
}

int connect(int fd, const void* address, std::size_t length) noexcept {
    if (ours::is_ours(fd)) return ours::connect(fd, address, length);
    int rc = ::connect(fd, as_address(address), static_cast<socklen_t>(length));
    if (rc == 0) return 0;
    // Interrupted, it goes on in the background as one that is in progress.
    return errno == EINTR ? -EINPROGRESS : -errno;
}

int connect_result(int fd) noexcept {
    int error = 0;
    std::size_t length = sizeof error;
    int rc = get_option(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return rc < 0 ? rc : -error;
}

int accept(int fd) noexcept {
    if (ours::is_ours(fd)) return ours::accept(fd);
    return repeated([&] { return ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); });
}

int local_address(int fd, void* address, std::size_t* length) noexcept {
    if (ours::is_ours(fd)) return ours::local_address(fd, address, length);
    auto n = static_cast<socklen_t>(*length);
    int rc = repeated([&] { return ::getsockname(fd, static_cast<sockaddr*>(address), &n); });
    *length = n;
    return rc;
}

int peer_address(int fd, void* address, std::size_t* length) noexcept {
    if (ours::is_ours(fd)) return ours::peer_address(fd, address, length);
    auto n = static_cast<socklen_t>(*length);
    int rc = repeated([&] { return ::getpeername(fd, static_cast<sockaddr*>(address), &n); });
    *length = n;
    return rc;
}

int set_option(int fd, int level, int name, const void* value, std::size_t length) noexcept {
    if (ours::is_ours(fd)) return ours::set_option(fd, level, name, value, length);
    return repeated(
        [&] { return ::setsockopt(fd, level, name, value, static_cast<socklen_t>(length)); });
}

int get_option(int fd, int level, int name, void* value, std::size_t* length) noexcept {
    if (ours::is_ours(fd)) return ours::get_option(fd, level, name, value, length);
    auto n = static_cast<socklen_t>(*length);
    int rc = repeated([&] { return ::getsockopt(fd, level, name, value, &n); });
    *length = n;
    return rc;
}

int shut_down(int fd, Half half) noexcept {
    if (ours::is_ours(fd)) return ours::shut_down(fd, half);
    int how = half == Half::in ? SHUT_RD : half == Half::out ? SHUT_WR : SHUT_RDWR;
    return repeated([&] { return ::shutdown(fd, how); });
}

ssize_t receive(int fd, void* data, std::size_t n) noexcept {
    if (ours::is_ours(fd)) {
        iovec part{data, n};
        return ours::receive(fd, &part, 1);
    }
    return repeated([&] { return ::recv(fd, data, n, 0); });
}

ssize_t receive(int fd, const iovec* parts, std::size_t n) noexcept {
    if (ours::is_ours(fd)) return ours::receive(fd, parts, n);
    msghdr message = message_of(parts, n);
    return repeated([&] { return ::recvmsg(fd, &message, 0); });
}

ssize_t send(int fd, const void* data, std::size_t n) noexcept {
    if (ours::is_ours(fd)) {
        iovec part{const_cast<void*>(data), n};
        return ours::send(fd, &part, 1);
    }
    return repeated([&] { return ::send(fd, data, n, MSG_NOSIGNAL); });
}

ssize_t send(int fd, const iovec* parts, std::size_t n) noexcept {
    if (ours::is_ours(fd)) return ours::send(fd, parts, n);
    msghdr message = message_of(parts, n);
    return repeated([&] { return ::sendmsg(fd, &message, MSG_NOSIGNAL); });
}

ssize_t receive_from(int fd, void* data, std::size_t n, void* address,
                     std::size_t* length) noexcept {
    auto room = static_cast<socklen_t>(*length);
    ssize_t rc = repeated(
        [&] { return ::recvfrom(fd, data, n, MSG_TRUNC, static_cast<sockaddr*>(address), &room); });
    *length = room;
    return rc;
}

ssize_t send_to(int fd, const void* data, std::size_t n, const void* address,
                std::size_t length) noexcept {
    return repeated([&] {
        return ::sendto(fd, data, n, MSG_NOSIGNAL, as_address(address),
                        static_cast<socklen_t>(length));
    });
}

ssize_t send_file(int socket, int file, std::int64_t* offset, std::size_t n) noexcept {
    if (ours::is_ours(socket)) return ours::send_file(socket, file, offset, n);
    WithoutWriteSignals guard;  // it has no flag either
    return guard.note(repeated([&] { return ::sendfile(socket, file, offset, n); }));
}

ssize_t read(int fd, void* data, std::size_t n) noexcept {
    return repeated([&] { return ::read(fd, data, n); });
}

ssize_t write(int fd, const void* data, std::size_t n) noexcept {
    WithoutWriteSignals guard;
    return guard.note(repeated([&] { return ::write(fd, data, n); }));
}

int make_pipe(int* fds) noexcept {
    return repeated([&] { return ::pipe2(fds, O_CLOEXEC | O_NONBLOCK); });
}

int set_nonblocking(int fd) noexcept {
    int flags = repeated([&] { return ::fcntl(fd, F_GETFL); });
    if (flags < 0) return flags;
    return repeated([&] { return ::fcntl(fd, F_SETFL, flags | O_NONBLOCK); });
}

int duplicate(int fd) noexcept {
    return repeated([&] { return ::fcntl(fd, F_DUPFD_CLOEXEC, 0); });
}

void close(int fd) noexcept {
    if (ours::is_ours(fd)) return ours::close(fd);
    ::close(fd);
}

}  // namespace weft::detail::calls
