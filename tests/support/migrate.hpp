// Moves the running task to another worker, in every build: what must not cross a stack switch can be tested
// without waiting for a steal to happen.
#pragma once

#include <weft/lowlevel.hpp>
#include <weft/sync.hpp>
#include <weft/task.hpp>
#include <weft/time.hpp>

#include <atomic>
#include <chrono>
#include <memory>

#include "scheduler.hpp"
#include "worker.hpp"

namespace weft::test_support {

/// Which worker runs this.
inline unsigned worker_id() noexcept { return rt::current_worker()->id; }

namespace detail {

/// One attempt: parks, and lets a task that keeps this worker busy do the waking; so another worker steals this one.
inline void be_stolen() {
    struct Crossing {
        lowlevel::Waiter waiter;
        std::atomic<bool> parked{false};
        std::atomic<bool> arrived{false};
    };
    // Shared with a task that may outlive this frame.
    auto crossing = std::make_shared<Crossing>();
    auto keeper = create_task([crossing] {
        while (!crossing->parked.load()) lowlevel::yield();
        lowlevel::unpark(crossing->waiter);
        // Published where others look for work; the one that was woken is older, so a thief takes that first.
        auto bait = create_task([] {});
        auto patience = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
        while (!crossing->arrived.load() && std::chrono::steady_clock::now() < patience) {
        }
    });
    auto publish = [&](lowlevel::Waiter self) noexcept {
        crossing->waiter = self;
        crossing->parked.store(true);
        return true;
    };
    lowlevel::park({"migrate", nullptr}, publish, lowlevel::kNever, lowlevel::Interrupt::never);
    crossing->arrived.store(true);
}

}  // namespace detail

/// Returns on another worker. Needs two of them, not strict, that have time to look for work. Shielded, so it may be
/// called while unwinding.
inline void migrate() {
    // One at a time: two who keep each other's workers busy would never get across.
    static Lock bridge;
    ShieldScope shield;
    unsigned before = worker_id();
    bridge.acquire();
    while (worker_id() == before) detail::be_stolen();
    bridge.release();
}

}  // namespace weft::test_support
