// TCP without a kernel: the network of a simulation.
//
// What its sockets promise is what the kernel's promise, and what the streams above rest on:
//   - the bytes of a direction arrive in their order, each piece as late as the seed says;
//   - a receive that gives less than was asked for has taken all that had arrived; more comes with an edge;
//   - a send that takes less than it was given, or says -EAGAIN, is followed by an edge when there is room;
//   - bytes that arrived before a reset are read before the reset is;
//   - closing with unread bytes, or with SO_LINGER of 0 s, resets.
// All that happens later is an event with a time. Simulation moves the clock from one to the next, and deliver() is the
// only place from which an edge reaches a waiting task.
//
// network_calls.hpp is the door: there the sockets have numbers, as descriptors have. One lock for everything,
// network_lock(), which the functions here expect to be held: a simulation runs in one thread, and others at most close what they hold.
#pragma once

#include <weft/detail/simulated_network.hpp>
#include <weft/lowlevel.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "random.hpp"

namespace weft::rt {

class Network;
class Reactor;

std::mutex& network_lock();

struct Endpoint {
    int family = 0;
    std::uint16_t port = 0;
    std::array<unsigned char, 16> ip{};

    bool is_wildcard() const noexcept { return ip == decltype(ip){}; }
};

struct VirtualSocket {
    enum class State : std::uint8_t { fresh, listening, connecting, connected, closed };

    explicit VirtualSocket(std::shared_ptr<Network> n) : network(std::move(n)) {}

    const std::shared_ptr<Network> network;
    State state = State::fresh;
    Endpoint local;
    Endpoint remote;
    std::map<std::pair<int, int>, std::string> options;

    // Listening.
    std::size_t backlog = 0;
    std::deque<std::shared_ptr<VirtualSocket>> arrived;

    // Connected.
    std::shared_ptr<VirtualSocket> peer;  // until one of them is closed
    std::string inbox;                    // arrived and not read
    std::size_t read = 0;                 // of the inbox's beginning
    bool ended = false;                   // the peer's end of stream has arrived
    bool broken = false;                  // reset
    int error = 0;                        // said once
    bool may_send = true;
    std::size_t on_the_way = 0;  // sent, and not read by the peer as far as this end knows
    bool stalled = false;        // took less than it could have: no more before the next edge
    TimePoint last_arrival{};    // of what was sent: nothing later may come earlier

    // Who is told of edges.
    Reactor* watcher = nullptr;
    std::uint64_t watch_data = 0;

    std::size_t unread() const noexcept { return inbox.size() - read; }
};

using SocketPtr = std::shared_ptr<VirtualSocket>;

class Network : public std::enable_shared_from_this<Network> {
public:
    Network(std::uint64_t seed, const detail::NetworkOptions& options, TimePoint now);

    /// The simulation is over: nothing comes any more.
    void end() noexcept;
    /// The simulation's clock has moved.
    void set_now(TimePoint now) noexcept { now_.store(now.time_since_epoch().count()); }
    /// kNever: nothing is on its way. Takes the lock.
    TimePoint next_due() const noexcept;
    /// Does what is due and wakes whom it concerns. Whether there was any. Takes the lock.
    bool deliver() noexcept;

    // The rest with the lock held, by network_calls.cpp alone. Each returns -errno.
    int bind(const SocketPtr& socket, Endpoint local);
    int listen(const SocketPtr& socket, int backlog);
    int connect(const SocketPtr& socket, Endpoint to);
    SocketPtr accept(VirtualSocket& listener);
    long receive(VirtualSocket& socket, char* data, std::size_t n);
    long send(const SocketPtr& socket, std::string_view data);
    int end_stream(const SocketPtr& socket);
    void close(const SocketPtr& socket);
    void watch(const SocketPtr& socket, Reactor& reactor, std::uint64_t data);

private:
    enum class What : std::uint8_t {
        call,         // a connect reaches the host
        established,  // and its answer who called
        bytes,
        end,
        reset,
        given_up,
        room,  // bytes have been read by the peer
        look,  // what is there already, for a new watcher
    };
    struct Event {
        TimePoint at;
        std::uint64_t serial;
        What what;
        SocketPtr socket;
        std::string bytes;
        std::size_t n = 0;
    };
    struct Later {
        bool operator()(const Event& a, const Event& b) const noexcept {
            return a.at != b.at ? a.at > b.at : a.serial > b.serial;
        }
    };
    struct Edge {
        Reactor* watcher;
        std::uint64_t data;
        std::uint32_t events;
    };

    TimePoint now() const noexcept { return TimePoint(Duration(now_.load())); }
    Duration delay() noexcept;
    bool chance(double probability) noexcept;
    std::size_t part_of(std::size_t n) noexcept;  // 1..n
    void post(TimePoint at, What what, SocketPtr socket, std::string bytes = {}, std::size_t n = 0);
    /// After all that `from` has sent to its peer.
    void send_event(VirtualSocket& from, What what, std::string bytes = {});
    SocketPtr listener_for(const Endpoint& to) noexcept;
    bool is_taken(const VirtualSocket& socket, const Endpoint& local) const noexcept;
    std::uint16_t free_port() noexcept;
    void on_event(Event& event, std::vector<Edge>& edges);
    void on_call(const SocketPtr& caller, std::size_t calls, std::vector<Edge>& edges);
    static void break_connection(VirtualSocket& socket, int error, std::vector<Edge>& edges);
    static void edge(const VirtualSocket& socket, std::uint32_t events, std::vector<Edge>& edges);
    std::uint32_t ready_events(const VirtualSocket& socket) const noexcept;

    const detail::NetworkOptions options_;
    Random random_;
    std::atomic<TimePoint::rep> now_;
    bool over_ = false;
    std::uint64_t next_serial_ = 0;
    std::uint16_t next_port_ = 49152;
    std::priority_queue<Event, std::vector<Event>, Later> events_;
    std::list<SocketPtr> listeners_;
};

}  // namespace weft::rt
