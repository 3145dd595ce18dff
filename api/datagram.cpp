#include <weft/datagram.hpp>
#include <weft/detail/descriptor.hpp>
#include <weft/detail/socket_calls.hpp>
#include <weft/sync.hpp>

#include <mutex>
#include <stdexcept>
#include <system_error>

#include <sys/socket.h>

#include "detail/connect.hpp"
#include "detail/socket_names.hpp"

namespace weft {

namespace calls = detail::calls;

namespace detail {

// What UDP can carry; only the pages that datagrams have filled are memory.
constexpr std::size_t kLargestDatagram = 65536;

struct UdpState {
    Descriptor socket;
    Lock sending;  // one at a time waits for room
    Lock receiving;
    std::unique_ptr<char[]> buffer;  // guarded by receiving
};

void UdpStateDeleter::operator()(UdpState* state) const noexcept { delete state; }

}  // namespace detail

namespace {

std::size_t checked(ssize_t rc, const char* what) {
    if (rc == -EBADF)
        throw std::system_error(EBADF, std::generic_category(),
                                std::string(what) + ": the socket is closed");
    if (rc < 0) throw std::system_error(static_cast<int>(-rc), std::generic_category(), what);
    return static_cast<std::size_t>(rc);
}

}  // namespace

detail::UdpState& UdpSocket::state(const char* what) const {
    lowlevel::require_task(what);
    if (state_ == nullptr) checked(-EBADF, what);
    return *state_;
}

void UdpSocket::sendto(std::string_view data, const SocketAddress& to) {
    constexpr const char* kWhat = "weft::UdpSocket::sendto";
    detail::UdpState& self = state(kWhat);
    std::lock_guard guard(self.sending);
    ssize_t rc = self.socket.retry(detail::Side::out, "UdpSocket.sendto", [&](int fd) {
        return calls::send_to(fd, data.data(), data.size(), to.data(), to.size());
    });
    checked(rc, kWhat);
}

void UdpSocket::send(std::string_view data) {
    constexpr const char* kWhat = "weft::UdpSocket::send";
    detail::UdpState& self = state(kWhat);
    std::lock_guard guard(self.sending);
    ssize_t rc = self.socket.retry(detail::Side::out, "UdpSocket.send", [&](int fd) {
        return calls::send(fd, data.data(), data.size());
    });
    checked(rc, kWhat);
}

Datagram UdpSocket::recvfrom() {
    constexpr const char* kWhat = "weft::UdpSocket::recvfrom";
    detail::UdpState& self = state(kWhat);
    std::lock_guard guard(self.receiving);
    if (self.buffer == nullptr)
        self.buffer = std::make_unique_for_overwrite<char[]>(detail::kLargestDatagram);
    unsigned char from[calls::kAddressBytes];
    std::size_t length = 0;
    ssize_t rc = self.socket.retry(detail::Side::in, "UdpSocket.recvfrom", [&](int fd) {
        length = sizeof from;
        return calls::receive_from(fd, self.buffer.get(), detail::kLargestDatagram, from, &length);
    });
    std::size_t n = checked(rc, kWhat);
    return {std::string(self.buffer.get(), n), SocketAddress(from, length)};
}

void UdpSocket::close() noexcept {
    if (state_ != nullptr) state_->socket.close();
}

bool UdpSocket::is_closing() const noexcept {
    return state_ == nullptr || !state_->socket.is_open();
}

SocketAddress UdpSocket::local_address() const {
    constexpr const char* kWhat = "weft::UdpSocket::local_address";
    return detail::local_address_of(state(kWhat).socket, kWhat);
}

SocketAddress UdpSocket::peer_address() const {
    constexpr const char* kWhat = "weft::UdpSocket::peer_address";
    return detail::peer_address_of(state(kWhat).socket, kWhat);
}

void UdpSocket::set_option(int level, int name, int value) {
    constexpr const char* kWhat = "weft::UdpSocket::set_option";
    checked(state(kWhat).socket.once(
                [&](int fd) { return calls::set_option(fd, level, name, &value, sizeof value); }),
            kWhat);
}

int UdpSocket::fd() const noexcept { return state_ != nullptr ? state_->socket.fd() : -1; }

UdpSocket create_datagram_endpoint(const DatagramOptions& options) {
    constexpr const char* kWhat = "weft::create_datagram_endpoint";
    lowlevel::require_task(kWhat);
    const SocketAddress& local = options.local_address;
    const SocketAddress& remote = options.remote_address;
    auto is_ip = [](const SocketAddress& a) { return a.is_ipv4() || a.is_ipv6(); };
    if ((local.is_none() && remote.is_none()) || (!local.is_none() && !is_ip(local)) ||
        (!remote.is_none() && !is_ip(remote)))
        throw std::invalid_argument(std::string(kWhat) +
                                    ": it needs an IP address, of its own or of its peer");
    detail::Descriptor socket =
        detail::open_socket(local.is_none() ? remote : local, SOCK_DGRAM, kWhat);
    auto set = [&](int name, int value) {
        checked(socket.once([&](int fd) {
            return calls::set_option(fd, SOL_SOCKET, name, &value, sizeof value);
        }),
                kWhat);
    };
    if (options.reuse_port) set(SO_REUSEPORT, 1);
    if (options.broadcast) set(SO_BROADCAST, 1);
    if (options.send_buffer > 0) set(SO_SNDBUF, options.send_buffer);
    if (options.receive_buffer > 0) set(SO_RCVBUF, options.receive_buffer);
    auto named = [&](int rc, const SocketAddress& address) {
        if (rc < 0)
            throw std::system_error(-rc, std::generic_category(),
                                    std::string(kWhat) + " " + address.to_string());
    };
    if (!local.is_none())
        named(socket.once([&](int fd) { return calls::bind(fd, local.data(), local.size()); }),
              local);
    if (!remote.is_none())
        named(socket.once([&](int fd) { return calls::connect(fd, remote.data(), remote.size()); }),
              remote);
    UdpSocket result;
    result.state_.reset(new detail::UdpState{std::move(socket), {}, {}, nullptr});
    return result;
}

}  // namespace weft
