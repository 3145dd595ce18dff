#include <weft/detail/engine.hpp>
#include <weft/server.hpp>
#include <weft/sync.hpp>
#include <weft/task.hpp>
#include <weft/task_group.hpp>
#include <weft/time.hpp>

#include <algorithm>
#include <atomic>
#include <optional>
#include <stdexcept>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "detail/connect.hpp"
#include "detail/socket_names.hpp"
#include "detail/stream_state.hpp"

namespace weft {

namespace detail {

namespace {

// A flood of connections shall not keep the worker from those that it has accepted.
constexpr int kAcceptsInARow = 16;
constexpr auto kShortestPause = std::chrono::milliseconds(10);
constexpr auto kLongestPause = std::chrono::milliseconds(1000);

/// The connection has gone before it was accepted: there will be others (accept(2)).
bool concerns_one_connection(int error) noexcept {
    constexpr int kSuch[] = {ECONNABORTED, EPROTO,       ENETDOWN,   ENOPROTOOPT, EHOSTDOWN,
                             ENONET,       EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, EPERM};
    return std::find(std::begin(kSuch), std::end(kSuch), error) != std::end(kSuch);
}

/// Of descriptors, memory, or watches of epoll (ENOSPC).
bool is_shortage(int error) noexcept {
    constexpr int kSuch[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
    return std::find(std::begin(kSuch), std::end(kSuch), error) != std::end(kSuch);
}

/// A Unix socket's place in the file system.
struct Place {
    std::string path;
    dev_t device = 0;
    ino_t inode = 0;

    /// Whether a socket lies there.
    bool look() {
        struct stat found{};
        if (::stat(path.c_str(), &found) != 0 || !S_ISSOCK(found.st_mode)) return false;
        device = found.st_dev;
        inode = found.st_ino;
        return true;
    }
};

/// Whether nobody has a Unix socket's place any more. Asked by a socket of another type: who listens there is not bothered
/// by a connection (it would be EPROTOTYPE).
bool is_abandoned(const SocketAddress& address) {
    int fd = calls::make_socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0) return false;
    int rc = calls::connect(fd, address.data(), address.size());
    calls::close(fd);
    return rc == -ECONNREFUSED;
}

}  // namespace

class ServerState : public std::enable_shared_from_this<ServerState> {
public:
    ServerState(std::unique_ptr<ConnectionHandler> handler, const ServerOptions& options)
        : handler_(std::move(handler)), options_(options) {
        if (options.max_connections != 0) slots_.emplace(options.max_connections);
    }

    void listen_on(const std::vector<SocketAddress>& addresses, const char* what);
    void listen_on(const SocketAddress& address, const char* what);
    void start();
    void close() noexcept;
    void cancel() noexcept {
        close();
        main_.cancel();
    }
    /// Whether this task is a handler, or in a task group of one: the server does not end before it.
    bool is_in_handler() const noexcept;
    void wait_closed() {
        if (main_.done()) return;
        if (is_in_handler())
            throw UsageError("weft::Server: a handler cannot wait for the end of its own server");
        try {
            shield(main_);
        } catch (const CancelledError&) {
            if (!main_.cancelled()) throw;
            lowlevel::checkpoint();
        }
    }
    /// Not ended by a cancel.
    void wait_to_the_end() noexcept {
        if (main_.core() != nullptr)
            while (!main_.done())
                join_core(*main_.core(), lowlevel::kNever, lowlevel::Interrupt::never,
                          {"Server", this});
    }

    bool is_serving() const noexcept { return open_.load(); }
    std::size_t connections() const noexcept { return connections_.load(); }
    const std::vector<SocketAddress>& addresses() const noexcept { return addresses_; }

private:
    class Seat;
    struct Serving;

    void add_listener(const SocketAddress& address, const char* what);
    void accept_from(Descriptor& listener, TaskGroup& connections);
    int accept_one(Descriptor& listener, TaskGroup& connections);
    static int wait_for_one(Descriptor& listener);
    int take(int fd, Seat seat, TaskGroup& connections);
    void serve_one(Descriptor socket, Seat seat);
    static void report(int error) noexcept;
    void report(const std::exception_ptr& error) const noexcept;
    static void pause(int error, Duration& length);

    const std::unique_ptr<ConnectionHandler> handler_;
    const ServerOptions options_;
    std::vector<Descriptor> listeners_;
    std::vector<SocketAddress> addresses_;
    std::optional<Place> place_;
    std::optional<Semaphore> slots_;
    std::atomic<std::size_t> connections_{0};
    std::atomic<bool> open_{true};
    std::atomic<const Scope*> handlers_{nullptr};  // the group of the handlers; to be compared only
    Task<void> main_;
};

/// What serves, while it lives: however its task ends, and also if it never begins, nobody is left listening to no avail.
struct ServerState::Serving {
    std::shared_ptr<ServerState> server;

    explicit Serving(std::shared_ptr<ServerState> state) noexcept : server(std::move(state)) {}
    Serving(Serving&&) noexcept = default;
    Serving& operator=(Serving&&) = delete;
    ~Serving() {
        if (server != nullptr) server->close();
    }
};

bool ServerState::is_in_handler() const noexcept {
    const Scope* handlers = handlers_.load();
    for (const TaskCore* task = current_task(); handlers != nullptr && task != nullptr;) {
        if (task->scope == handlers) return true;
        task = task->scope != nullptr ? task->scope->awaiter : nullptr;
    }
    return false;
}

void ServerState::add_listener(const SocketAddress& address, const char* what) {
    auto checked = [&](int rc) {
        if (rc < 0)
            throw std::system_error(-rc, std::generic_category(),
                                    std::string(what) + " " + address.to_string());
    };
    Descriptor socket = open_socket(address, SOCK_STREAM, what);
    auto set = [&](int level, int name) {
        int on = 1;
        return socket.once(
            [&](int fd) { return calls::set_option(fd, level, name, &on, sizeof on); });
    };
    if (address.is_unix()) {
        std::string path = address.path();
        if (!path.empty() && path[0] != '\0') {
            place_ = Place{path};
            if (place_->look() && is_abandoned(address)) ::unlink(path.c_str());
        }
    } else {
        checked(set(SOL_SOCKET, SO_REUSEADDR));
        if (options_.shards > 1 || options_.reuse_port) checked(set(SOL_SOCKET, SO_REUSEPORT));
        if (address.is_ipv6()) checked(set(IPPROTO_IPV6, IPV6_V6ONLY));
        apply(options_.tcp, socket.fd());  // connections inherit it
    }
    checked(socket.once([&](int fd) { return calls::bind(fd, address.data(), address.size()); }));
    checked(socket.once([&](int fd) { return calls::listen(fd, options_.backlog); }));
    if (place_) place_->look();
    listeners_.push_back(std::move(socket));
}

// With port 0 the first one gets what is free, and the others have to have the same.
void ServerState::listen_on(const SocketAddress& address, const char* what) {
    for (unsigned shard = 0; shard < options_.shards; ++shard) {
        const bool any_port = !address.is_unix() && address.port() == 0 && !addresses_.empty();
        add_listener(any_port ? address.with_port(addresses_.front().port()) : address, what);
        if (shard == 0) addresses_.push_back(local_address_of(listeners_.back(), what));
    }
}

// A name may stand for addresses that this machine does not have, as ::1 where IPv6 is off: those are passed over (as in
// asyncio), unless there is no other.
void ServerState::listen_on(const std::vector<SocketAddress>& addresses, const char* what) {
    std::exception_ptr not_here;
    for (const SocketAddress& address : addresses) {
        try {
            listen_on(address, what);
        } catch (const std::system_error& error) {
            const int code = error.code().value();
            if (code != EADDRNOTAVAIL && code != EAFNOSUPPORT) throw;
            not_here = std::current_exception();
        }
    }
    if (listeners_.empty()) std::rethrow_exception(not_here);
}

void ServerState::start() {
    main_ = create_task(
        [serving = Serving(shared_from_this())] {
            ServerState& state = *serving.server;
            struct Named {
                ServerState& state;
                ~Named() { state.handlers_.store(nullptr); }
            } named{state};
            task_group([&](TaskGroup& connections) {
                state.handlers_.store(&connections.state_);
                // Before it waits for the handlers that still run.
                struct Closing {
                    ServerState& state;
                    ~Closing() { state.close(); }
                } closing{state};
                // A flood that leaves no memory for one more stack shall not end those that are served.
                connections.state_.go_on_without_unstarted();
                task_group([&](TaskGroup& acceptors) {
                    for (Descriptor& listener : state.listeners_)
                        acceptors.create_task([&] { state.accept_from(listener, connections); });
                });
            });
        },
        {.name = "Server"});
}

void ServerState::close() noexcept {
    if (!open_.exchange(false)) return;
    for (Descriptor& listener : listeners_) listener.close();
    Place now;
    if (!place_) return;
    now.path = place_->path;
    // Somebody else's may lie there by now.
    if (now.look() && now.device == place_->device && now.inode == place_->inode)
        ::unlink(now.path.c_str());
}

// --- accepting ----------------------------------------------------------------------------------------------------

/// A place among the connections: one of max_connections, and counted once somebody has taken it.
class ServerState::Seat {
public:
    explicit Seat(ServerState& server) : server_(&server) {
        if (server.slots_) server.slots_->acquire();
    }
    Seat(Seat&& other) noexcept
        : server_(std::exchange(other.server_, nullptr)), taken_(other.taken_) {}
    Seat& operator=(Seat&&) = delete;
    ~Seat() {
        if (server_ == nullptr) return;
        if (taken_) --server_->connections_;
        if (server_->slots_) server_->slots_->release();
    }
    void take() noexcept {
        ++server_->connections_;
        taken_ = true;
    }

private:
    ServerState* server_;
    bool taken_ = false;
};

int ServerState::accept_one(Descriptor& listener, TaskGroup& connections) {
    Seat seat(*this);
    int result = listener.once(calls::accept);
    return result < 0 ? result : take(result, std::move(seat), connections);
}

void ServerState::accept_from(Descriptor& listener, TaskGroup& connections) {
    Duration pause_length{};
    for (int in_a_row = 1;; ++in_a_row) {
        int result = accept_one(listener, connections);
        // Without a seat: others may have it meanwhile, who listen for this server too.
        if (result == -EAGAIN) result = wait_for_one(listener);
        if (result == 0) {
            pause_length = {};
        } else if (result == -EBADF) {
            return;
        } else if (is_shortage(-result)) {
            pause(-result, pause_length);
        } else if (!concerns_one_connection(-result)) {
            throw std::system_error(-result, std::generic_category(), "weft::Server: accept");
        }
        if (in_a_row % kAcceptsInARow == 0) yield();
    }
}

/// 0; or an error of the kernel's.
int ServerState::wait_for_one(Descriptor& listener) {
    try {
        return listener.wait(Side::in, "Server.accept");
    } catch (const std::system_error& error) {
        if (!is_shortage(error.code().value())) throw;
        return -error.code().value();  // it could not be watched
    }
}

void ServerState::report(int error) noexcept {
    try {
        report_error("a server pauses: no connection can be accepted",
                     std::make_exception_ptr(
                         std::system_error(error, std::generic_category(), "weft::Server: accept")),
                     nullptr, {});
    } catch (const std::bad_alloc&) {
        // It is what the server pauses for.
    }
}

void ServerState::pause(int error, Duration& length) {
    if (length == Duration{}) report(error);
    length = std::clamp<Duration>(length * 2, kShortestPause, kLongestPause);
    weft::sleep(length);
}

/// 0; -ENOMEM: it cannot be served, which its peer learns by its end.
int ServerState::take(int fd, Seat seat, TaskGroup& connections) {
    try {
        Descriptor socket(fd, "weft::Server");
        seat.take();
        connections.create_task(
            [this, socket = std::move(socket), seat = std::move(seat)]() mutable {
                serve_one(std::move(socket), std::move(seat));
            });
        return 0;
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
}

void ServerState::report(const std::exception_ptr& error) const noexcept {
    try {
        report_error("error in the handler of a connection to " + addresses_.front().to_string(),
                     error, nullptr, {});
    } catch (const std::bad_alloc&) {
        // The connection is closed all the same, and the others go on.
    }
}

void ServerState::serve_one(Descriptor socket, Seat) {
    // What is accepted is of the listener's kind.
    const StreamKind kind = addresses_.front().is_unix() ? StreamKind::socket : StreamKind::tcp;
    try {
        StreamStatePtr stream(new StreamState(std::move(socket), kind));
        stream->set_limit(options_.limit);
        handler_->handle(std::move(stream));
    } catch (const CancelledError&) {
        throw;
    } catch (const KeyboardInterrupt&) {
        throw;
    } catch (...) {
        report(std::current_exception());
    }
}

std::vector<SocketAddress> addresses_to_listen_on(const std::string& host, int port,
                                                  const ServerOptions& options) {
    lowlevel::require_task("start_server");
    return getaddrinfo(host, port, options.family, Passive::yes);
}

std::shared_ptr<ServerState> serve(std::unique_ptr<ConnectionHandler> handler,
                                   const std::vector<SocketAddress>& addresses,
                                   const ServerOptions& options, const char* what) {
    lowlevel::require_task(what);
    if (options.shards == 0)
        throw std::invalid_argument(std::string(what) + ": shards must be one at least");
    if (options.shards > 1 && addresses.front().is_unix())
        throw std::invalid_argument(std::string(what) + ": a path cannot be shared by shards");
    if (options.limit == 0)
        throw std::invalid_argument(std::string(what) + ": limit must be one at least");
    auto state = std::make_shared<ServerState>(std::move(handler), options);
    state->listen_on(addresses, what);
    state->start();
    return state;
}

}  // namespace detail

// --- Server -------------------------------------------------------------------------------------------------------

Server& Server::operator=(Server&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
}

Server::~Server() {
    if (state_ == nullptr) return;
    state_->cancel();
    if (!state_->is_in_handler()) state_->wait_to_the_end();
}

namespace {

detail::ServerState& state_of(const std::shared_ptr<detail::ServerState>& state) {
    if (state == nullptr) throw UsageError("weft::Server: there is no server");
    return *state;
}

}  // namespace

int Server::port() const { return addresses().front().port(); }

const std::vector<SocketAddress>& Server::addresses() const { return state_of(state_).addresses(); }

bool Server::is_serving() const noexcept { return state_ != nullptr && state_->is_serving(); }

std::size_t Server::connections() const noexcept {
    return state_ != nullptr ? state_->connections() : 0;
}

void Server::close() noexcept {
    if (state_ != nullptr) state_->close();
}

void Server::cancel() noexcept {
    if (state_ != nullptr) state_->cancel();
}

// Held: a handler may destroy the Server meanwhile.
void Server::wait_closed() {
    auto state = state_;
    state_of(state).wait_closed();
}

void Server::serve_forever() {
    auto state = state_;
    try {
        state_of(state).wait_closed();
    } catch (const CancelledError&) {
        state->close();
        state->wait_to_the_end();
        throw;
    }
}

}  // namespace weft
