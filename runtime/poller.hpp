// How the kernel is asked which descriptors have become ready: epoll, or io_uring. What readiness means is reactor.hpp's.
//
// Edges: each time a watched descriptor becomes readable or writable, or its peer hangs up, its data comes with the events
// (EPOLLIN and so on); also once for what it is when it is added. An edge more than there was does no harm, one less
// does.
// Thread rules: add(), remove() and ring() from any thread; fetch() and deliver() by the one worker that has the driver.
#pragma once

#include <weft/lowlevel.hpp>

#include <cstdint>
#include <memory>

namespace weft::rt {

class Reactor;

class Poller {
public:
    /// What add() is never given; for a poller's own.
    static constexpr std::uint64_t kNobody = UINT64_MAX;

    Poller() = default;
    Poller(const Poller&) = delete;
    Poller& operator=(const Poller&) = delete;
    virtual ~Poller() = default;

    virtual const char* name() const noexcept = 0;
    /// -errno.
    virtual int add(int fd, std::uint64_t data) noexcept = 0;
    /// Before the descriptor is closed. Events that have been fetched may still come.
    virtual void remove(int fd, std::uint64_t data) noexcept = 0;
    /// Makes the fetch() in progress, or the next one, return.
    virtual void ring() noexcept = 0;
    /// Waits for events until the deadline, and keeps them.
    virtual void fetch(TimePoint deadline) noexcept = 0;
    /// Hands what fetch() brought to Reactor::meet(). Whether there was any.
    virtual bool deliver(Reactor& reactor) noexcept = 0;
};

/// std::system_error where the process has no descriptor left.
std::unique_ptr<Poller> make_epoll_poller();
/// Null: weft was built without it, or this kernel or its rules (seccomp, a limit) refuse it.
std::unique_ptr<Poller> make_uring_poller();

}  // namespace weft::rt
