// Setting sockets up.
#pragma once

#include <weft/detail/descriptor.hpp>
#include <weft/stream.hpp>

namespace weft::detail {

/// What the kernel refuses of these is passed over: they are wishes.
void apply(const TcpOptions& options, int fd) noexcept;

/// A socket of the address's family. `what` is for errors, all of which are std::system_error.
Descriptor open_socket(const SocketAddress& address, int type, const char* what);

/// Waits until it is connected. std::system_error naming the address.
void connect(Descriptor& socket, const SocketAddress& address, const char* what);

}  // namespace weft::detail
