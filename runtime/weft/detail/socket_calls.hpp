// The system calls of sockets and pipes. Each returns -errno, makes no use of errno after it returns, repeats EINTR, and
// never raises SIGPIPE; none of them waits for a peer, since the descriptors do not block. In a simulation, TCP's are those of
// its own network: their numbers are none of the kernel's. Not for users.
#pragma once

#include <cstddef>
#include <cstdint>

#include <sys/types.h>

struct sockaddr;
struct iovec;

namespace weft::detail::calls {

/// Room for an address of any family that weft knows.
inline constexpr std::size_t kAddressBytes = 128;

int make_socket(int family, int type, int protocol) noexcept;
int bind(int fd, const void* address, std::size_t length) noexcept;
int listen(int fd, int backlog) noexcept;
/// -EINPROGRESS: to be met later; connect_result() says how it ended.
int connect(int fd, const void* address, std::size_t length) noexcept;
int connect_result(int fd) noexcept;
/// A connection that does not block.
int accept(int fd) noexcept;
int local_address(int fd, void* address, std::size_t* length) noexcept;
int peer_address(int fd, void* address, std::size_t* length) noexcept;
int set_option(int fd, int level, int name, const void* value, std::size_t length) noexcept;
int get_option(int fd, int level, int name, void* value, std::size_t* length) noexcept;
enum class Half : std::uint8_t { in, out, both };
int shut_down(int fd, Half half) noexcept;

ssize_t receive(int fd, void* data, std::size_t n) noexcept;
ssize_t receive(int fd, const iovec* parts, std::size_t n) noexcept;
ssize_t send(int fd, const void* data, std::size_t n) noexcept;
ssize_t send(int fd, const iovec* parts, std::size_t n) noexcept;
/// A datagram and where it came from. The length that it had, which may be more than n.
ssize_t receive_from(int fd, void* data, std::size_t n, void* address,
                     std::size_t* length) noexcept;
ssize_t send_to(int fd, const void* data, std::size_t n, const void* address,
                std::size_t length) noexcept;
/// From a file at *offset, which moves on.
ssize_t send_file(int socket, int file, std::int64_t* offset, std::size_t n) noexcept;

// Pipes and terminals.
ssize_t read(int fd, void* data, std::size_t n) noexcept;
ssize_t write(int fd, const void* data, std::size_t n) noexcept;
int make_pipe(int* fds) noexcept;
int set_nonblocking(int fd) noexcept;
int duplicate(int fd) noexcept;
void close(int fd) noexcept;

}  // namespace weft::detail::calls
