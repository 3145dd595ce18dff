// The outside world of one runtime: its clock, and where an idle worker waits for it.
//
// A seam of virtual functions: a call here is one per poll, never one per task. The real driver is epoll or io_uring with
// an eventfd (reactor.hpp, poller.hpp); the simulated one is in simulation.hpp.
// One worker at a time has the driver, for wait() and for deliver(): a worker that waits counts as asleep, and is to be
// counted as awake again before it makes tasks runnable. wake() may come from any thread and is never lost: it makes the
// wait in progress, or the next one, return.
#pragma once

#include <weft/detail/engine.hpp>
#include <weft/lowlevel.hpp>

#include <memory>

namespace weft::rt {

class Reactor;

class Driver {
public:
    Driver() = default;
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;
    virtual ~Driver() = default;

    virtual TimePoint now() noexcept = 0;
    virtual void wait(TimePoint deadline) noexcept = 0;
    /// Makes runnable who waited for what wait() has met. Whether anything has come.
    virtual bool deliver() noexcept = 0;
    virtual void wake() noexcept = 0;
    /// Whether descriptors are watched, so that a busy worker shall look now and then.
    virtual bool watches() const noexcept = 0;
    virtual Reactor& reactor() noexcept = 0;
};

/// std::system_error where the process has no file descriptor left.
std::unique_ptr<Driver> make_driver(detail::PollerKind poller);

}  // namespace weft::rt
