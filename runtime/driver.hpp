// The outside world of one runtime: its clock, and where an idle worker waits for it.
//
// A seam of virtual functions: a call here is one per poll, never one per task. The real driver is epoll with an
// eventfd (readiness of sockets joins it there); the simulated one is in simulation.hpp.
// One worker at a time is inside wait(); wake() may come from any thread and is never lost: it makes the wait in
// progress, or the next one, return.
#pragma once

#include <weft/lowlevel.hpp>

#include <memory>

namespace weft::rt {

class Driver {
public:
    Driver() = default;
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;
    virtual ~Driver() = default;

    virtual TimePoint now() noexcept = 0;
    virtual void wait(TimePoint deadline) noexcept = 0;
    virtual void wake() noexcept = 0;
};

/// Throws std::system_error where the process has no file descriptor left.
std::unique_ptr<Driver> make_epoll_driver();

}  // namespace weft::rt
