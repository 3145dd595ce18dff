// The sockets of a simulation's network by number: what weft/detail/socket_calls.hpp does with a number that no kernel
// gives. Each returns -errno, as there.
#pragma once

#include <weft/detail/socket_calls.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>

struct iovec;

namespace weft::rt {

class Network;
class Reactor;

namespace network_calls {

/// A kernel's are far below: no process may have a billion.
inline constexpr int kFirstNumber = 1 << 30;
inline bool is_ours(int fd) noexcept { return fd >= kFirstNumber; }

int make_socket(const std::shared_ptr<Network>& network, int family) noexcept;
int bind(int fd, const void* address, std::size_t length) noexcept;
int listen(int fd, int backlog) noexcept;
int connect(int fd, const void* address, std::size_t length) noexcept;
int accept(int fd) noexcept;
int local_address(int fd, void* address, std::size_t* length) noexcept;
int peer_address(int fd, void* address, std::size_t* length) noexcept;
int set_option(int fd, int level, int name, const void* value, std::size_t length) noexcept;
int get_option(int fd, int level, int name, void* value, std::size_t* length) noexcept;
int shut_down(int fd, detail::calls::Half half) noexcept;
ssize_t receive(int fd, const iovec* parts, std::size_t n) noexcept;
ssize_t send(int fd, const iovec* parts, std::size_t n) noexcept;
ssize_t send_file(int fd, int file, std::int64_t* offset, std::size_t n) noexcept;
void close(int fd) noexcept;
/// From now on its edges are events of the reactor's slot with this data.
int watch(int fd, Reactor& reactor, std::uint64_t data) noexcept;

}  // namespace network_calls

}  // namespace weft::rt
