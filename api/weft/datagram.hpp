// UDP: messages, each on its own.
#pragma once

#include <weft/address.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace weft {

namespace detail {
struct UdpState;
struct UdpStateDeleter {
    void operator()(UdpState* state) const noexcept;
};
}  // namespace detail

struct Datagram {
    std::string data;
    SocketAddress from;
};

struct DatagramOptions {
    /// Where it receives; none: any port, as soon as it has sent something.
    SocketAddress local_address{};
    /// Its only peer; none: any.
    SocketAddress remote_address{};
    bool reuse_port = false;
    bool broadcast = false;
    int send_buffer = 0;  ///< bytes in the kernel; 0: its default
    int receive_buffer = 0;
};

/// A UDP socket. Movable. Any task of the runtime that made it may send and receive; those that receive take turns.
///
/// A datagram arrives whole, or not at all. What the kernel refuses is std::system_error: ECONNREFUSED where the only peer
/// has said that nobody is there, EMSGSIZE for one that is too large, EBADF where the socket is closed, also while one waits.
class UdpSocket {
public:
    /// Closed.
    UdpSocket() noexcept = default;

    /// Waits while the kernel's buffer is full.
    void sendto(std::string_view data, const SocketAddress& to);
    /// To the only peer.
    void send(std::string_view data);
    /// Waits for the next one. Cancelled there, none is lost.
    Datagram recvfrom();
    std::string recv() { return recvfrom().data; }

    /// Any thread. Calls in progress end with EBADF.
    void close() noexcept;
    bool is_closing() const noexcept;
    SocketAddress local_address() const;
    /// None, unless it has an only peer.
    SocketAddress peer_address() const;
    void set_option(int level, int name, int value);
    int fd() const noexcept;

private:
    friend UdpSocket create_datagram_endpoint(const DatagramOptions& options);
    detail::UdpState& state(const char* what) const;

    std::unique_ptr<detail::UdpState, detail::UdpStateDeleter> state_;
};

/// A UDP socket of one's own address, or with one peer, or both (asyncio's name). Waits for nothing.
/// std::invalid_argument: neither is given, or one of them is no IP address; std::system_error; UsageError outside of a task.
UdpSocket create_datagram_endpoint(const DatagramOptions& options);

}  // namespace weft
