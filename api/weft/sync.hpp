// asyncio's primitives: Lock, Semaphore, BoundedSemaphore, Event, Condition, Barrier.
//
// They park the task and not the thread; a plain thread that uses one blocks. Waiters are served strictly in the order
// of arrival, and by hand-off: what release() gives back belongs to the first waiter at once, so nobody who comes
// later can be faster. Waiting allocates nothing; an uncontended acquire or release is one compare-and-swap, inline.
//
// Invariants. A Lock's kWaiters bit is set exactly while somebody is in line; a Semaphore's value is -1 exactly while
// somebody is in line or has been woken and has not gone on: for there may be more units, and who comes now must not
// be faster than the woken. Both change only under the spin lock. So a fast path that meets neither knows that the line
// is empty. How waiting and waking works is told in detail/wait_list.hpp.
//
// All constructors are constexpr: a static primitive works before main, and the destructors of all but Barrier are
// trivial, so it works as long as there are threads. None may be destroyed while somebody waits for it; but whoever
// has been woken may destroy it, though the waker is still about to return.
//
// What is refused: an owner (asyncio has none: any task may release), recursion, barging for the sake of throughput.
#pragma once

#include <weft/detail/wait_list.hpp>
#include <weft/error.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>

namespace weft {

class Condition;
namespace detail {
class EventCase;
class ShieldedGuard;
}  // namespace detail

/// One at a time, in order of arrival. Not recursive: acquiring it twice in one task waits for ever.
///
///     weft::Lock lock;
///     { std::lock_guard guard(lock); ... }        // may wait in the block; others wait meanwhile
class Lock {
public:
    constexpr Lock() noexcept = default;
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

    /// Takes the lock; always true (asyncio's). Waits while it is held, in order of arrival. Any task or thread.
    /// Cancelled there: the place in line is given up, and a lock that had just been handed over goes to the next.
    /// @throws  CancelledError
    /// @cost    free: one compare-and-swap; held: one park
    bool acquire() {
        if (!try_lock()) acquire_slow(lowlevel::Interrupt::by_cancel);
        return true;
    }
    /// Gives the lock to the first in line, or lets it go. Any task or thread may, not only the one that took it.
    /// Never waits.
    /// @throws  UsageError if it is not held
    /// @cost    nobody waits: one compare-and-swap
    void release() {
        // order [lock.1]: relaxed - a hint; the exchange decides. A failing one would cost as much as a good one.
        std::uint8_t held = word_.load(std::memory_order_relaxed);
        if (held != kHeld || !word_.compare_exchange_strong(held, 0)) release_slow();
    }
    /// Whether it is held, or promised to a waiter.
    bool locked() const noexcept { return word_.load() != 0; }

    /// acquire(), by std's name.
    void lock() { acquire(); }
    /// Takes the lock if it is free. Never waits.
    bool try_lock() noexcept {
        std::uint8_t free = 0;
        return word_.compare_exchange_strong(free, kHeld);
    }
    /// release(), by std's name.
    void unlock() { release(); }

private:
    friend class Condition;
    friend class detail::ShieldedGuard;

    static constexpr std::uint8_t kHeld = 1;
    static constexpr std::uint8_t kWaiters = 2;  // only with kHeld; only under spin_

    void acquire_slow(lowlevel::Interrupt interrupt);
    void release_slow();
    bool take_or_mark() noexcept;
    bool mark_waiters() noexcept;
    void mark_no_waiters() noexcept;
    bool give_up(detail::Waiter* next) noexcept;
    void leave_line(detail::WaitNode& node) noexcept;

    std::atomic<std::uint8_t> word_{0};
    detail::SpinLock spin_;  // guards waiters_
    detail::WaitList waiters_;
};

/// A count of units: as many tasks at a time as there are units, in order of arrival.
class Semaphore {
public:
    /// @throws  std::invalid_argument if value is negative
    constexpr explicit Semaphore(std::ptrdiff_t value = 1) : Semaphore(value, kNoBound) {}
    Semaphore(const Semaphore&) = delete;
    Semaphore& operator=(const Semaphore&) = delete;

    /// Takes a unit; always true (asyncio's). Waits while there is none, in order of arrival. Any task or thread.
    /// Cancelled there: the place in line is given up, and a unit that had just been handed over goes to the next.
    /// @throws  CancelledError
    /// @cost    a unit is there: one compare-and-swap; none: one park
    bool acquire() {
        if (!try_lock()) acquire_slow();
        return true;
    }
    /// Adds a unit, or gives it to the first in line. Any task or thread. Never waits.
    /// @throws  std::invalid_argument from a BoundedSemaphore that has all its units already
    /// @cost    nobody waits: one compare-and-swap
    void release() {
        std::ptrdiff_t value = value_.load();
        while (value >= 0 && value < bound_) {
            if (value_.compare_exchange_weak(value, value + 1)) return;
        }
        release_slow();
    }
    /// Whether acquire() would wait: there is no unit, or somebody has been woken and has not gone on yet.
    bool locked() const noexcept { return value_.load() <= 0; }

    /// acquire(), by std's name.
    void lock() { acquire(); }
    /// Takes a unit unless locked(). Never waits.
    bool try_lock() noexcept {
        std::ptrdiff_t value = value_.load();
        while (value > 0) {
            if (value_.compare_exchange_weak(value, value - 1)) return true;
        }
        return false;
    }
    /// release(), by std's name.
    void unlock() { release(); }

protected:
    static constexpr std::ptrdiff_t kNoBound = std::numeric_limits<std::ptrdiff_t>::max();

    constexpr Semaphore(std::ptrdiff_t value, std::ptrdiff_t bound) : value_(value), bound_(bound) {
        if (value < 0) {
            throw std::invalid_argument("weft::Semaphore: the initial value must not be negative");
        }
    }

private:
    static constexpr std::ptrdiff_t kLine = -1;  // set and unset only under spin_

    void acquire_slow();
    void release_slow();
    bool take_or_mark() noexcept;
    detail::Waiter serve_first() noexcept;
    void leave_line(detail::WaitNode& node, bool with_unit) noexcept;

    std::atomic<std::ptrdiff_t> value_;
    const std::ptrdiff_t bound_;
    detail::SpinLock spin_;  // guards what follows
    detail::WaitList waiters_;
    std::ptrdiff_t woken_ = 0;  // who have a unit and have not gone on
    std::ptrdiff_t spare_ = 0;  // units that nobody has, while value_ is kLine
};

/// A Semaphore that never has more units than it began with: one release() too many throws std::invalid_argument.
class BoundedSemaphore : public Semaphore {
public:
    /// @throws  std::invalid_argument if value is negative
    constexpr explicit BoundedSemaphore(std::ptrdiff_t value = 1) : Semaphore(value, value) {}
};

/// A flag to wait for.
class Event {
public:
    constexpr Event() noexcept = default;
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;

    /// Waits until the flag is set; always true (asyncio's). Returns at once while it is. Any task or thread.
    /// Cancelled there: nothing to undo.
    /// @throws  CancelledError
    /// @cost    set: one load; not set: one park
    bool wait() {
        if (!is_set()) wait_slow();
        return true;
    }
    /// Sets the flag and wakes all who wait, even if clear() follows before they run. Any task or thread. Never waits.
    /// @cost    an atomic operation, and one unpark for each waiter
    void set() noexcept;
    /// Takes the flag down: later calls of wait() wait. Any task or thread. Never waits.
    void clear() noexcept;
    bool is_set() const noexcept { return (word_.load() & kSet) != 0; }

private:
    friend class detail::EventCase;

    // Flag and spin lock share a word, so that the store that shows the flag is also the setter's last touch: one who
    // sees it set may destroy the Event.
    static constexpr std::uint8_t kSet = 1;
    static constexpr std::uint8_t kBusy = 2;

    void wait_slow();
    std::uint8_t lock_word() noexcept;
    void unlock_word(std::uint8_t flags) noexcept {
        // order [event.1]: release - publishes the critical section; pairs with the exchange in lock_word().
        word_.store(flags, std::memory_order_release);
    }

    std::atomic<std::uint8_t> word_{0};
    detail::WaitList waiters_;  // guarded by kBusy
};

/// A Lock together with a line of those who wait for a change of what it guards.
///
///     std::lock_guard guard(condition);
///     condition.wait([&] { return !items.empty(); });
class Condition {
public:
    /// With a lock of its own.
    constexpr Condition() noexcept : lock_(&own_) {}
    /// With one that others share; it must live longer.
    constexpr explicit Condition(Lock& lock) noexcept : lock_(&lock) {}
    Condition(const Condition&) = delete;
    Condition& operator=(const Condition&) = delete;

    // The lock's.
    bool acquire() { return lock_->acquire(); }
    void release() { lock_->release(); }
    bool locked() const noexcept { return lock_->locked(); }
    void lock() { lock_->lock(); }
    bool try_lock() noexcept { return lock_->try_lock(); }
    void unlock() { lock_->unlock(); }

    /// Lets go of the lock, waits to be notified, takes the lock again; always true (asyncio's). Any task or thread
    /// that holds the lock. It may return without a notification: look again, or use wait(predicate).
    /// Cancelled there: takes the lock again all the same, waiting for it as long as that takes, and then throws; what
    /// cancels come meanwhile are one with the first, and the last one's message is thrown. A notification that it
    /// had already got goes to the next in line.
    /// @throws  CancelledError, with the lock held; UsageError if the lock is not held
    /// @cost    one park
    bool wait();

    /// Waits until predicate() holds, and returns what it returned (asyncio's wait_for). The predicate is called with
    /// the lock held, and first before any waiting. Otherwise as wait().
    template <class Predicate>
    auto wait(Predicate predicate) -> decltype(predicate()) {
        for (;;) {
            auto result = predicate();
            if (result) return result;
            wait();
        }
    }

    /// Wakes the n that have waited longest, or all if they are fewer. They go on as they get the lock, which the
    /// caller holds. Never waits.
    /// @throws  UsageError if the lock is not held
    /// @cost    waiters are moved to the lock's line, and woken when it is their turn there: one wake each
    void notify(std::size_t n = 1);
    /// Wakes all. As notify().
    void notify_all() { notify(std::numeric_limits<std::size_t>::max()); }

private:
    [[noreturn]] void cancelled(detail::WaitNode& node);

    Lock own_;
    Lock* const lock_;
    detail::WaitList
        waiters_;  // guarded by lock_->spin_: so a waiter moves from line to line in one step
};

/// A place where `parties` tasks wait for each other, again and again.
///
/// As asyncio's, it is in one of four states: *filling*; *draining* from the arrival of the last party until all have
/// gone on; *resetting* from reset() until those who waited have left; *broken* from abort() until reset(). Who comes
/// while it drains or resets waits for the next round.
class Barrier {
public:
    /// @throws  std::invalid_argument if parties is not positive
    constexpr explicit Barrier(std::ptrdiff_t parties) : parties_(parties) {
        if (parties < 1) {
            throw std::invalid_argument("weft::Barrier: the number of parties must be positive");
        }
    }
    Barrier(const Barrier&) = delete;
    Barrier& operator=(const Barrier&) = delete;
    /// Waits for those whose wait() has been let through and is about to return. Not a cancel point.
    ~Barrier();

    /// Waits until `parties` have called it; returns the caller's index, 0 to parties-1, in order of arrival. Any
    /// task or thread. Cancelled there: leaves, and the barrier is as if it had not come.
    /// @throws  BrokenBarrierError if the barrier is broken, or is aborted or reset meanwhile; CancelledError
    /// @cost    one park
    std::size_t wait();
    /// Breaks the barrier: all who wait, or come later, get BrokenBarrierError. Any task or thread. Never waits.
    void abort() noexcept;
    /// Makes it as new: those who wait get BrokenBarrierError; those who come later, a fresh round. Never waits.
    void reset() noexcept;

    std::size_t parties() const noexcept { return static_cast<std::size_t>(parties_); }
    /// How many wait for the round to fill; 0 while it drains or resets.
    std::size_t n_waiting() const noexcept;
    bool broken() const noexcept;

private:
    enum class State : std::uint8_t { filling, draining, resetting, broken };

    bool between_rounds() const noexcept;
    void wait_for_round();
    State leave(detail::WaitNode& node) noexcept;

    mutable detail::SpinLock spin_;  // guards what follows
    State state_ = State::filling;
    const std::ptrdiff_t parties_;
    std::ptrdiff_t count_ = 0;  // who has come and not left
    detail::WaitList waiting_;  // for the round to fill
    detail::WaitList blocked_;  // for the next round
    detail::WaitList drained_;  // the destructor, for the last to leave
};

namespace detail {

/// Holds a Lock for a block that is no cancel point: weft's own short ones.
class ShieldedGuard {
public:
    explicit ShieldedGuard(Lock& lock) : lock_(lock) {
        if (!lock.try_lock()) lock.acquire_slow(lowlevel::Interrupt::never);
    }
    ~ShieldedGuard() { lock_.release(); }
    ShieldedGuard(const ShieldedGuard&) = delete;
    ShieldedGuard& operator=(const ShieldedGuard&) = delete;

private:
    Lock& lock_;
};

}  // namespace detail

}  // namespace weft
