#include "detail/socket_names.hpp"

#include <weft/detail/socket_calls.hpp>

#include <system_error>

namespace weft::detail {

namespace {

using Call = int (*)(int, void*, std::size_t*) noexcept;

SocketAddress address_of(const Descriptor& socket, Call call, const char* what) {
    unsigned char bytes[calls::kAddressBytes];
    std::size_t n = sizeof bytes;
    int rc = socket.once([&](int fd) { return call(fd, bytes, &n); });
    if (rc == -ENOTCONN) return {};
    if (rc < 0) throw std::system_error(-rc, std::generic_category(), what);
    return SocketAddress(bytes, n);
}

}  // namespace

SocketAddress local_address_of(const Descriptor& socket, const char* what) {
    return address_of(socket, calls::local_address, what);
}

SocketAddress peer_address_of(const Descriptor& socket, const char* what) {
    return address_of(socket, calls::peer_address, what);
}

}  // namespace weft::detail
