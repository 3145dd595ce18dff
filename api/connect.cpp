#include "detail/connect.hpp"

#include <weft/race.hpp>
#include <weft/stream.hpp>
#include <weft/time.hpp>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "detail/socket_names.hpp"
#include "detail/stream_state.hpp"

namespace weft {

namespace {

constexpr const char* kWhat = "weft::open_connection";

void require_limit(std::size_t limit, const std::string& what) {
    if (limit == 0) throw std::invalid_argument(what + ": limit must be one at least");
}

}  // namespace

namespace detail {

namespace {

[[noreturn]] void fail(int error, const char* what, const SocketAddress& address) {
    throw std::system_error(error, std::generic_category(),
                            std::string(what) + " " + address.to_string());
}

/// A connect to a port of this host where nobody listens may be given that very port, and then meets itself.
bool is_its_own_peer(const Descriptor& socket) {
    SocketAddress local = local_address_of(socket, kWhat);
    return local.port() != 0 && local == peer_address_of(socket, kWhat);
}

}  // namespace

void apply(const TcpOptions& options, int fd) noexcept {
    auto set = [fd](int level, int name, int value) {
        calls::set_option(fd, level, name, &value, sizeof value);
    };
    if (options.nodelay) set(IPPROTO_TCP, TCP_NODELAY, 1);
    if (options.keepalive) set(SOL_SOCKET, SO_KEEPALIVE, 1);
    if (options.send_buffer > 0) set(SOL_SOCKET, SO_SNDBUF, options.send_buffer);
    if (options.receive_buffer > 0) set(SOL_SOCKET, SO_RCVBUF, options.receive_buffer);
}

Descriptor open_socket(const SocketAddress& address, int type, const char* what) {
    int fd = calls::make_socket(address.family(), type, 0);
    if (fd < 0) fail(-fd, what, address);
    return Descriptor(fd, what);
}

void connect(Descriptor& socket, const SocketAddress& address, const char* what) {
    auto try_once = [&](int fd) { return calls::connect(fd, address.data(), address.size()); };
    int rc = socket.once(try_once);
    // A Unix server whose backlog is full: no event tells when there is room.
    for (auto pause = std::chrono::milliseconds(1); rc == -EAGAIN && address.is_unix();
         pause = std::min(pause * 2, std::chrono::milliseconds(64))) {
        weft::sleep(pause);
        rc = socket.once(try_once);
    }
    while (rc == -EINPROGRESS) {
        if (rc = socket.wait(Side::out, "open_connection"); rc < 0) break;
        if (rc = socket.once(calls::connect_result); rc < 0) break;
        if (peer_address_of(socket, what).is_none()) rc = -EINPROGRESS;  // an edge from before
    }
    if (rc == 0 && is_its_own_peer(socket)) rc = -ECONNREFUSED;
    if (rc < 0) fail(-rc, what, address);
}

}  // namespace detail

namespace {

/// The first address stays first, and from then on the families take turns (RFC 8305, section 4).
std::vector<SocketAddress> interleaved(const std::vector<SocketAddress>& addresses) {
    std::vector<SocketAddress> sorted[2];
    for (const SocketAddress& address : addresses)
        sorted[address.family() == addresses.front().family() ? 0 : 1].push_back(address);
    std::vector<SocketAddress> result;
    for (std::size_t i = 0; result.size() < addresses.size(); ++i)
        for (const auto& family : sorted)
            if (i < family.size()) result.push_back(family[i]);
    return result;
}

[[noreturn]] void throw_all(const std::vector<std::exception_ptr>& errors) {
    std::error_code first;
    std::string text;
    for (const std::exception_ptr& error : errors) {
        try {
            std::rethrow_exception(error);
        } catch (const std::system_error& e) {
            if (errors.size() == 1) throw;
            if (text.empty()) first = e.code();
            text += (text.empty() ? "" : "; ") + std::string(e.what());
        }
    }
    throw std::system_error(first, text);
}

}  // namespace

TcpStream open_connection(const SocketAddress& address, const ConnectOptions& options) {
    lowlevel::require_task("open_connection");
    require_limit(options.limit, kWhat);
    detail::Descriptor socket = detail::open_socket(address, SOCK_STREAM, kWhat);
    detail::apply(options.tcp, socket.fd());
    if (!options.local_address.is_none()) {
        const SocketAddress& local = options.local_address;
        int rc = socket.once(
            [&](int fd) { return detail::calls::bind(fd, local.data(), local.size()); });
        if (rc < 0)
            throw std::system_error(-rc, std::generic_category(),
                                    std::string(kWhat) + " from " + local.to_string());
    }
    detail::connect(socket, address, kWhat);
    return detail::make_stream<TcpStream>(std::move(socket), detail::StreamKind::tcp,
                                          options.limit);
}

TcpStream open_connection(const std::string& host, int port, const ConnectOptions& options) {
    require_limit(options.limit, kWhat);
    std::vector<SocketAddress> addresses = getaddrinfo(host, port, options.family);
    if (addresses.size() == 1) return open_connection(addresses.front(), options);
    auto attempt_to = [&options](const SocketAddress& address) {
        return [&options, &address] { return open_connection(address, options); };
    };
    addresses = interleaved(addresses);
    std::vector<decltype(attempt_to(addresses.front()))> attempts;
    for (const SocketAddress& address : addresses) attempts.push_back(attempt_to(address));
    auto race = staggered_race(attempts, options.happy_eyeballs_delay);
    if (!race.winner) throw_all(race.exceptions);
    return std::move(*race.winner);
}

UnixStream open_unix_connection(const std::string& path, std::size_t limit) {
    lowlevel::require_task("open_unix_connection");
    constexpr const char* kUnix = "weft::open_unix_connection";
    require_limit(limit, kUnix);
    SocketAddress address = SocketAddress::unix_path(path);
    detail::Descriptor socket = detail::open_socket(address, SOCK_STREAM, kUnix);
    detail::connect(socket, address, kUnix);
    return detail::make_stream<UnixStream>(std::move(socket), detail::StreamKind::socket, limit);
}

}  // namespace weft
