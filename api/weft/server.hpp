// Servers of TCP and Unix connections.
#pragma once

#include <weft/coroutine.hpp>
#include <weft/stream.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft {

struct ServerOptions {
    Family family = Family::any;
    /// Connections that the kernel keeps until they are accepted; at most net.core.somaxconn.
    int backlog = 1024;
    /// Other sockets, of this process or another one, may listen on the same port; the kernel deals the connections out.
    bool reuse_port = false;
    /// Sockets that listen on each address, each with a task of its own that accepts. More than one makes reuse_port.
    unsigned shards = 1;
    /// As many connections at once; more wait in the backlog. 0: no bound.
    std::size_t max_connections = 0;
    /// Of the streams: see Stream::kDefaultLimit.
    std::size_t limit = Stream::kDefaultLimit;
    TcpOptions tcp{};
};

namespace detail {

class Descriptor;
class ServerState;
struct ServerMaker;

/// What a server does with a connection.
class ConnectionHandler {
public:
    virtual ~ConnectionHandler() = default;
    virtual void handle(StreamStatePtr connection) = 0;
};

template <class S, class F>
class HandlerOf final : public ConnectionHandler {
public:
    explicit HandlerOf(F f) : f_(std::move(f)) {}
    void handle(StreamStatePtr connection) override {
        S stream = StreamMaker::make<S>(std::move(connection));
        if constexpr (requires { await(f_(std::move(stream))); })
            await(f_(std::move(stream)));
        else
            f_(std::move(stream));
    }

private:
    F f_;
};

std::shared_ptr<ServerState> serve(std::unique_ptr<ConnectionHandler> handler,
                                   const std::vector<SocketAddress>& addresses,
                                   const ServerOptions& options, const char* what);
std::vector<SocketAddress> addresses_to_listen_on(const std::string& host, int port,
                                                  const ServerOptions& options);

}  // namespace detail

/// A server that accepts, from start_server() on. Movable; not for two tasks at once but where it says so.
///
/// Each connection has a task of its own, which runs the handler. What a handler throws goes to
/// RunOptions::exception_handler, and closes that connection alone.
///
/// Where the process or the system has no descriptor left, or no memory, accepting pauses for 10 ms to 1 s, and the
/// exception handler is told once. A connection for whose task there is no stack is closed, and that is reported too; those
/// that are served go on.
///
/// Its destructor closes it, cancels the handlers that still run and waits for them: to let them finish, call close() and
/// wait_closed() first. In one of its own handlers it does not wait. However its task ends, as where the runtime is shut down,
/// it is closed then.
class Server {
public:
    /// Not serving.
    Server() noexcept = default;
    Server(Server&& other) noexcept = default;
    Server& operator=(Server&& other) noexcept;
    ~Server();

    /// The port of the first address; 0 if it is a Unix server.
    int port() const;
    const std::vector<SocketAddress>& addresses() const;
    bool is_serving() const noexcept;
    /// Connections whose handlers run.
    std::size_t connections() const noexcept;

    /// Any thread. Accepts no more; connections go on. Those that wait in the backlog are reset by the kernel.
    void close() noexcept;
    /// Any thread. Closes it and cancels the handlers that run.
    void cancel() noexcept;
    /// Waits until it is closed and the last handler has ended. Cancelled there, the server is left alone. UsageError: a
    /// handler of its own calls it.
    void wait_closed();
    /// Waits until it is closed, or this wait is cancelled: then it closes the server and waits for the last handler
    /// (asyncio's serve_forever). UsageError as in wait_closed().
    void serve_forever();

private:
    friend struct detail::ServerMaker;
    explicit Server(std::shared_ptr<detail::ServerState> state) noexcept
        : state_(std::move(state)) {}

    std::shared_ptr<detail::ServerState> state_;
};

namespace detail {

struct ServerMaker {
    template <class S, class F>
    static Server make(F&& handler, const std::vector<SocketAddress>& addresses,
                       const ServerOptions& options, const char* what) {
        auto owned = std::make_unique<HandlerOf<S, std::decay_t<F>>>(std::forward<F>(handler));
        return Server(serve(std::move(owned), addresses, options, what));
    }
};

}  // namespace detail

/// Listens on a host's port and runs handler(TcpStream) for each connection, each in a task of its own: a callable, which is
/// called for many connections at the same time, or a function that makes a coroutine object. "" is every interface; port 0
/// any free one, the same for all addresses.
///
/// Returns when it listens; waits for the look-up of a host's name. ResolveError: there is no such host;
/// std::system_error: an address cannot be listened on, and then none is (of several that a name stands for, those that this
/// machine does not have are passed over); std::invalid_argument: shards or limit is 0.
template <class F>
Server start_server(F&& handler, const std::string& host, int port,
                    const ServerOptions& options = {}) {
    static_assert(std::is_invocable_v<std::decay_t<F>&, TcpStream>,
                  "weft::start_server: the handler must be callable with a weft::TcpStream");
    auto addresses = detail::addresses_to_listen_on(host, port, options);
    return detail::ServerMaker::make<TcpStream>(std::forward<F>(handler), addresses, options,
                                                "weft::start_server");
}

/// The same on a Unix socket. A socket that lies at the path and is nobody's any more is removed first, and this one when it
/// is closed. std::invalid_argument: there are several shards.
template <class F>
Server start_unix_server(F&& handler, const std::string& path, const ServerOptions& options = {}) {
    static_assert(std::is_invocable_v<std::decay_t<F>&, UnixStream>,
                  "weft::start_unix_server: the handler must be callable with a weft::UnixStream");
    return detail::ServerMaker::make<UnixStream>(std::forward<F>(handler),
                                                 {SocketAddress::unix_path(path)}, options,
                                                 "weft::start_unix_server");
}

}  // namespace weft
