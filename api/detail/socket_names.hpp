// The addresses of a socket's two ends.
#pragma once

#include <weft/address.hpp>
#include <weft/detail/descriptor.hpp>

namespace weft::detail {

/// None where the socket has no such end (ENOTCONN); other errors are std::system_error.
SocketAddress local_address_of(const Descriptor& socket, const char* what);
SocketAddress peer_address_of(const Descriptor& socket, const char* what);

}  // namespace weft::detail
