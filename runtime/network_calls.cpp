#include "network_calls.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <type_traits>
#include <unordered_map>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "network.hpp"
#include "reactor.hpp"
#include "worker.hpp"

namespace weft::rt::network_calls {

namespace {

struct Numbers {
    std::unordered_map<int, SocketPtr> sockets;
    int next = kFirstNumber;
};

Numbers& numbers() {
    static Numbers& all = *new Numbers;  // closed also by what is destroyed at exit
    return all;
}

int number_of(SocketPtr socket) {
    int number = numbers().next++;
    numbers().sockets.emplace(number, std::move(socket));
    return number;
}

/// call(socket, its network) with the lock; -EBADF: there is none of that number.
template <class Call>
auto with_socket(int fd, Call&& call) noexcept -> std::invoke_result_t<Call, SocketPtr&, Network&> {
    std::lock_guard guard(network_lock());
    auto found = numbers().sockets.find(fd);
    if (found == numbers().sockets.end()) return -EBADF;
    try {
        SocketPtr socket = found->second;
        return call(socket, *socket->network);
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
}

int endpoint_of(const void* address, std::size_t length, int family, Endpoint& endpoint) {
    sa_family_t given = AF_UNSPEC;
    if (length < sizeof given) return -EINVAL;
    std::memcpy(&given, address, sizeof given);
    if (given != family) return -EAFNOSUPPORT;
    endpoint.family = family;
    if (family == AF_INET) {
        sockaddr_in in{};
        if (length < sizeof in) return -EINVAL;
        std::memcpy(&in, address, sizeof in);
        endpoint.port = ntohs(in.sin_port);
        std::memcpy(endpoint.ip.data(), &in.sin_addr, sizeof in.sin_addr);
    } else {
        sockaddr_in6 in{};
        if (length < sizeof in) return -EINVAL;
        std::memcpy(&in, address, sizeof in);
        endpoint.port = ntohs(in.sin6_port);
        std::memcpy(endpoint.ip.data(), &in.sin6_addr, sizeof in.sin6_addr);
    }
    return 0;
}

void give(const Endpoint& endpoint, void* address, std::size_t* length) {
    sockaddr_storage storage{};
    std::size_t n = 0;
    if (endpoint.family == AF_INET) {
        sockaddr_in in{};
        in.sin_family = AF_INET;
        in.sin_port = htons(endpoint.port);
        std::memcpy(&in.sin_addr, endpoint.ip.data(), sizeof in.sin_addr);
        std::memcpy(&storage, &in, n = sizeof in);
    } else {
        sockaddr_in6 in{};
        in.sin6_family = AF_INET6;
        in.sin6_port = htons(endpoint.port);
        std::memcpy(&in.sin6_addr, endpoint.ip.data(), sizeof in.sin6_addr);
        std::memcpy(&storage, &in, n = sizeof in);
    }
    std::memcpy(address, &storage, std::min(n, *length));
    *length = n;
}

}  // namespace

int make_socket(const std::shared_ptr<Network>& network, int family) noexcept {
    std::lock_guard guard(network_lock());
    try {
        auto socket = std::make_shared<VirtualSocket>(network);
        socket->local.family = family;
        return number_of(std::move(socket));
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
}

int bind(int fd, const void* address, std::size_t length) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network& network) {
        Endpoint local;
        int rc = endpoint_of(address, length, socket->local.family, local);
        return rc != 0 ? rc : network.bind(socket, local);
    });
}

int listen(int fd, int backlog) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network& network) {
        return network.listen(socket, backlog);
    });
}

int connect(int fd, const void* address, std::size_t length) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network& network) {
        Endpoint to;
        int rc = endpoint_of(address, length, socket->local.family, to);
        return rc != 0 ? rc : network.connect(socket, to);
    });
}

int accept(int fd) noexcept {
    return with_socket(fd, [](const SocketPtr& listener, Network& network) {
        if (listener->state != VirtualSocket::State::listening) return -EINVAL;
        SocketPtr socket = network.accept(*listener);
        return socket == nullptr ? -EAGAIN : number_of(std::move(socket));
    });
}

int local_address(int fd, void* address, std::size_t* length) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network&) {
        give(socket->local, address, length);
        return 0;
    });
}

int peer_address(int fd, void* address, std::size_t* length) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network&) {
        if (socket->state != VirtualSocket::State::connected || socket->broken) return -ENOTCONN;
        give(socket->remote, address, length);
        return 0;
    });
}

int set_option(int fd, int level, int name, const void* value, std::size_t length) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network&) {
        socket->options[{level, name}] = std::string(static_cast<const char*>(value), length);
        return 0;
    });
}

int get_option(int fd, int level, int name, void* value, std::size_t* length) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network&) {
        auto give_int = [&](int number) {
            std::memcpy(value, &number, *length = std::min(*length, sizeof number));
            return 0;
        };
        if (level == SOL_SOCKET && name == SO_ERROR)
            return give_int(std::exchange(socket->error, 0));
        if (level == SOL_SOCKET && name == SO_TYPE) return give_int(SOCK_STREAM);
        auto option = socket->options.find({level, name});
        if (option == socket->options.end()) return give_int(0);
        *length = std::min(*length, option->second.size());
        std::memcpy(value, option->second.data(), *length);
        return 0;
    });
}

int shut_down(int fd, detail::calls::Half half) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network& network) {
        if (half != detail::calls::Half::out) socket->ended = true;
        return half == detail::calls::Half::in ? 0 : network.end_stream(socket);
    });
}

ssize_t receive(int fd, const iovec* parts, std::size_t n) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network& network) -> ssize_t {
        ssize_t received = 0;
        for (; n > 0; --n, ++parts) {
            // Nothing to be had after a part that was filled is no end and no error: only the first one says those.
            if (received > 0 && socket->unread() == 0) break;
            long rc = network.receive(*socket, static_cast<char*>(parts->iov_base), parts->iov_len);
            if (rc < 0) return rc;
            received += rc;
            if (static_cast<std::size_t>(rc) < parts->iov_len) break;
        }
        return received;
    });
}

ssize_t send(int fd, const iovec* parts, std::size_t n) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network& network) -> ssize_t {
        ssize_t sent = 0;
        for (; n > 0; --n, ++parts) {
            long rc =
                network.send(socket, {static_cast<const char*>(parts->iov_base), parts->iov_len});
            if (rc < 0) return sent > 0 ? sent : rc;
            sent += rc;
            if (static_cast<std::size_t>(rc) < parts->iov_len) break;
        }
        return sent;
    });
}

ssize_t send_file(int fd, int file, std::int64_t* offset, std::size_t n) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network& network) -> ssize_t {
        std::string bytes(std::min<std::size_t>(n, 64 * 1024), '\0');
        ssize_t got = ::pread(file, bytes.data(), bytes.size(), *offset);
        if (got < 0) return -errno;
        long sent =
            network.send(socket, std::string_view(bytes).substr(0, static_cast<std::size_t>(got)));
        if (sent > 0) *offset += sent;
        return sent;
    });
}

void close(int fd) noexcept {
    SocketPtr closed;
    with_socket(fd, [&](const SocketPtr& socket, Network& network) {
        closed = socket;
        numbers().sockets.erase(fd);
        Reactor* peers_watcher = socket->peer != nullptr ? socket->peer->watcher : nullptr;
        network.close(socket);
        // A simulation that waits for the outside would not see that there is something new.
        if (peers_watcher != nullptr && current_worker() == nullptr) peers_watcher->ring();
        return 0;
    });
}

int watch(int fd, Reactor& reactor, std::uint64_t data) noexcept {
    return with_socket(fd, [&](const SocketPtr& socket, Network& network) {
        network.watch(socket, reactor, data);
        return 0;
    });
}

}  // namespace weft::rt::network_calls
