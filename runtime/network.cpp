#include "network.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "reactor.hpp"

namespace weft::rt {

using State = VirtualSocket::State;

std::mutex& network_lock() {
    static std::mutex lock;
    return lock;
}

namespace {

/// A caller who finds the backlog full asks again, as TCP's first retransmission does, and so often.
constexpr Duration kCallAgain = std::chrono::seconds(1);
constexpr std::size_t kMostCalls = 60;

/// What has been read is cut off the inbox's beginning only where it is much.
constexpr std::size_t kMuchRead = 64 * 1024;

constexpr std::uint32_t kBroken = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR;

bool option_is_set(const VirtualSocket& socket, int level, int name) {
    auto option = socket.options.find({level, name});
    if (option == socket.options.end()) return false;
    int value = 0;
    std::memcpy(&value, option->second.data(), std::min(sizeof value, option->second.size()));
    return value != 0;
}

bool resets_on_close(const VirtualSocket& socket) {
    if (socket.unread() > 0) return true;
    auto option = socket.options.find({SOL_SOCKET, SO_LINGER});
    linger value{};
    if (option == socket.options.end() || option->second.size() != sizeof value) return false;
    std::memcpy(&value, option->second.data(), sizeof value);
    return value.l_onoff != 0 && value.l_linger == 0;
}

}  // namespace

Network::Network(std::uint64_t seed, const detail::NetworkOptions& options, TimePoint now)
    : options_(options), random_(~seed), now_(now.time_since_epoch().count()) {}

void Network::end() noexcept {
    decltype(events_) dropped;
    std::lock_guard guard(network_lock());
    over_ = true;
    dropped.swap(events_);
}

// --- time ---------------------------------------------------------------------------------------------------------

TimePoint Network::next_due() const noexcept {
    std::lock_guard guard(network_lock());
    return events_.empty() ? lowlevel::kNever : events_.top().at;
}

bool Network::deliver() noexcept {
    std::vector<Edge> edges;
    bool any = false;
    {
        std::lock_guard guard(network_lock());
        while (!events_.empty() && events_.top().at <= now()) {
            Event event = std::move(const_cast<Event&>(events_.top()));
            events_.pop();
            on_event(event, edges);
            any = true;
        }
    }
    for (const Edge& edge : edges) edge.watcher->meet(edge.data, edge.events);
    return any;
}

Duration Network::delay() noexcept {
    auto range = static_cast<std::uint64_t>(
        std::max(Duration{}, options_.most_delay - options_.least_delay).count());
    // Never 0: what is sent comes later, and others run before.
    return std::max(Duration(1), options_.least_delay) +
           Duration(static_cast<Duration::rep>(random_.next() % (range + 1)));
}

bool Network::chance(double probability) noexcept {
    return static_cast<double>(random_.next() >> 11) * 0x1p-53 < probability;
}

std::size_t Network::part_of(std::size_t n) noexcept { return 1 + random_.next() % n; }

void Network::post(TimePoint at, What what, SocketPtr socket, std::string bytes, std::size_t n) {
    if (over_) return;
    events_.push({at, next_serial_++, what, std::move(socket), std::move(bytes), n});
}

void Network::send_event(VirtualSocket& from, What what, std::string bytes) {
    if (from.peer == nullptr) return;
    from.last_arrival = std::max(from.last_arrival, now() + delay());
    post(from.last_arrival, what, from.peer, std::move(bytes));
}

// --- names --------------------------------------------------------------------------------------------------------

std::uint16_t Network::free_port() noexcept {
    if (next_port_ == 0) next_port_ = 49152;
    return next_port_++;
}

bool Network::is_taken(const VirtualSocket& socket, const Endpoint& local) const noexcept {
    return std::any_of(listeners_.begin(), listeners_.end(), [&](const SocketPtr& other) {
        bool same =
            other->local.family == local.family && other->local.port == local.port &&
            (other->local.ip == local.ip || local.is_wildcard() || other->local.is_wildcard());
        bool shared = option_is_set(socket, SOL_SOCKET, SO_REUSEPORT) &&
                      option_is_set(*other, SOL_SOCKET, SO_REUSEPORT);
        return same && !shared;
    });
}

SocketPtr Network::listener_for(const Endpoint& to) noexcept {
    std::size_t exact = 0;
    std::size_t wildcard = 0;
    auto fits = [&to](const VirtualSocket& socket) {
        return socket.local.family == to.family && socket.local.port == to.port &&
               (socket.local.ip == to.ip || socket.local.is_wildcard());
    };
    for (const SocketPtr& socket : listeners_)
        if (fits(*socket)) ++(socket->local.ip == to.ip ? exact : wildcard);
    if (exact + wildcard == 0) return nullptr;
    std::size_t chosen = random_.next() % (exact != 0 ? exact : wildcard);
    for (const SocketPtr& socket : listeners_) {
        if (!fits(*socket) || (exact != 0 && socket->local.ip != to.ip)) continue;
        if (chosen-- == 0) return socket;
    }
    return nullptr;
}

int Network::bind(const SocketPtr& socket, Endpoint local) {
    if (socket->state != State::fresh || socket->local.port != 0) return -EINVAL;
    if (local.port == 0) {
        do {
            local.port = free_port();
        } while (is_taken(*socket, local));
    }
    if (is_taken(*socket, local)) return -EADDRINUSE;
    socket->local = local;
    return 0;
}

// --- connections --------------------------------------------------------------------------------------------------

int Network::listen(const SocketPtr& socket, int backlog) {
    if (socket->state != State::fresh) return -EINVAL;
    if (is_taken(*socket, socket->local)) return -EADDRINUSE;
    listeners_.push_back(socket);
    socket->state = State::listening;
    socket->backlog = static_cast<std::size_t>(std::max(0, backlog));
    return 0;
}

int Network::connect(const SocketPtr& socket, Endpoint to) {
    if (socket->state == State::connecting) return -EALREADY;
    if (socket->state != State::fresh) return -EISCONN;
    if (to.is_wildcard()) {
        to.ip = {};
        if (to.family == AF_INET6)
            to.ip[15] = 1;
        else
            to.ip = {127, 0, 0, 1};
    }
    if (socket->local.port == 0) socket->local = {to.family, free_port(), to.ip};
    socket->remote = to;
    socket->state = State::connecting;
    post(now() + delay(), What::call, socket);
    return -EINPROGRESS;
}

void Network::on_call(const SocketPtr& caller, std::size_t calls, std::vector<Edge>& edges) {
    if (caller->state != State::connecting) return;
    SocketPtr listener = listener_for(caller->remote);
    if (listener == nullptr) return post(now() + delay(), What::reset, caller);
    if (listener->arrived.size() > listener->backlog) {
        if (calls == kMostCalls) return post(now() + delay(), What::given_up, caller);
        return post(now() + kCallAgain, What::call, caller, {}, calls + 1);
    }
    auto socket = std::make_shared<VirtualSocket>(shared_from_this());
    socket->options = listener->options;
    socket->state = State::connected;
    socket->local = caller->remote;
    socket->remote = caller->local;
    socket->peer = caller;
    caller->peer = socket;
    // The answer first: nothing that is sent on the connection comes before it.
    send_event(*socket, What::established);
    listener->arrived.push_back(std::move(socket));
    edge(*listener, EPOLLIN, edges);
}

SocketPtr Network::accept(VirtualSocket& listener) {
    if (listener.arrived.empty()) return nullptr;
    SocketPtr socket = std::move(listener.arrived.front());
    listener.arrived.pop_front();
    return socket;
}

void Network::close(const SocketPtr& socket) {
    State was = std::exchange(socket->state, State::closed);
    socket->watcher = nullptr;
    if (was == State::listening) {
        listeners_.remove(socket);
        for (const SocketPtr& nobodys : std::exchange(socket->arrived, {})) {
            send_event(*nobodys, What::reset);
            nobodys->broken = true;
            close(nobodys);
        }
    }
    if (was == State::connected && !socket->broken) {
        if (resets_on_close(*socket))
            send_event(*socket, What::reset);
        else if (socket->may_send)
            send_event(*socket, What::end);
    }
    socket->inbox = {};
    socket->read = 0;
    // The one that is closed first stays for the other's bytes, which it answers with a reset.
    if (socket->peer != nullptr && socket->peer->state == State::closed) {
        socket->peer->peer = nullptr;
        socket->peer = nullptr;
    }
}

// --- bytes --------------------------------------------------------------------------------------------------------

long Network::receive(VirtualSocket& socket, char* data, std::size_t n) {
    if (n == 0) return 0;
    if (std::size_t take = std::min(n, socket.unread()); take > 0) {
        std::memcpy(data, socket.inbox.data() + socket.read, take);
        socket.read += take;
        if (socket.unread() == 0 || socket.read >= kMuchRead) {
            socket.inbox.erase(0, socket.read);
            socket.read = 0;
        }
        if (socket.peer != nullptr) post(now() + delay(), What::room, socket.peer, {}, take);
        return static_cast<long>(take);
    }
    if (socket.error != 0) return -std::exchange(socket.error, 0);
    if (socket.broken || socket.ended) return 0;
    return socket.state == State::connected || socket.state == State::connecting ? -EAGAIN
                                                                                 : -ENOTCONN;
}

long Network::send(const SocketPtr& socket, std::string_view data) {
    if (socket->error != 0) return -std::exchange(socket->error, 0);
    if (socket->state == State::connecting) return -EAGAIN;
    if (socket->broken || !socket->may_send || socket->state != State::connected) return -EPIPE;
    std::size_t room = options_.buffer - std::min(options_.buffer, socket->on_the_way);
    if (data.empty()) return 0;
    if (room == 0 || socket->stalled) return -EAGAIN;
    data = data.substr(0, room);
    if (options_.pieces && data.size() > 1 && chance(0.25)) {
        data = data.substr(0, part_of(data.size() - 1));
        socket->stalled = true;
        post(now() + delay(), What::room, socket);
    }
    auto taken = static_cast<long>(data.size());
    socket->on_the_way += data.size();
    while (!data.empty()) {
        if (chance(options_.reset_probability)) {
            send_event(*socket, What::reset);
            post(now() + delay(), What::reset, socket);
            break;
        }
        bool cut = options_.pieces && chance(0.5);
        std::string_view piece = data.substr(0, cut ? part_of(data.size()) : data.size());
        send_event(*socket, What::bytes, std::string(piece));
        data.remove_prefix(piece.size());
    }
    return taken;
}

int Network::end_stream(const SocketPtr& socket) {
    if (socket->state != State::connected || socket->broken) return -ENOTCONN;
    if (std::exchange(socket->may_send, false)) send_event(*socket, What::end);
    return 0;
}

// --- what comes ---------------------------------------------------------------------------------------------------

void Network::edge(const VirtualSocket& socket, std::uint32_t events, std::vector<Edge>& edges) {
    if (socket.watcher != nullptr && events != 0)
        edges.push_back({socket.watcher, socket.watch_data, events});
}

std::uint32_t Network::ready_events(const VirtualSocket& socket) const noexcept {
    if (socket.broken) return kBroken;
    if (socket.state == State::listening && !socket.arrived.empty()) return EPOLLIN;
    if (socket.state != State::connected) return 0;
    std::uint32_t events = 0;
    if (socket.unread() > 0 || socket.ended) events |= EPOLLIN;
    if (socket.ended) events |= EPOLLRDHUP;
    if (!socket.stalled && socket.on_the_way < options_.buffer) events |= EPOLLOUT;
    return events;
}

void Network::watch(const SocketPtr& socket, Reactor& reactor, std::uint64_t data) {
    socket->watcher = &reactor;
    socket->watch_data = data;
    post(now(), What::look, socket);
}

void Network::break_connection(VirtualSocket& socket, int error, std::vector<Edge>& edges) {
    if (socket.broken) return;
    socket.error = error;
    socket.broken = true;
    edge(socket, kBroken, edges);
}

void Network::on_event(Event& event, std::vector<Edge>& edges) {
    VirtualSocket& socket = *event.socket;
    if (socket.state == State::closed) {
        // Nobody reads what still comes: so is the peer told, unless that is all it had to say itself.
        if ((event.what == What::bytes || event.what == What::established) &&
            socket.peer != nullptr)
            post(now() + delay(), What::reset, socket.peer);
        return;
    }
    switch (event.what) {
        case What::call:
            return on_call(event.socket, event.n, edges);
        case What::established:
            socket.state = State::connected;
            return edge(socket, EPOLLOUT, edges);
        case What::bytes:
            if (socket.broken) return;
            socket.inbox += event.bytes;
            return edge(socket, EPOLLIN, edges);
        case What::end:
            socket.ended = true;
            return edge(socket, EPOLLIN | EPOLLRDHUP, edges);
        case What::reset:
            return break_connection(
                socket, socket.state == State::connecting ? ECONNREFUSED : ECONNRESET, edges);
        case What::given_up:
            return break_connection(socket, ETIMEDOUT, edges);
        case What::room:
            socket.on_the_way -= std::min(socket.on_the_way, event.n);
            socket.stalled = false;
            return edge(socket, EPOLLOUT, edges);
        case What::look:
            return edge(socket, ready_events(socket), edges);
    }
}

}  // namespace weft::rt
