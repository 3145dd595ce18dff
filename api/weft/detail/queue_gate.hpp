// The door of a queue: how many items and how much room there are, whose turn it is, whether it is shut. No types.
//
// A queue has two sides, items and room. `free` counts what anybody may take; while somebody waits on a side, its `free`
// is 0 (invariant), because whatever comes is promised to the first in line. (Room may be below 0 for a while: an item
// that could not be moved out is in again, and its room has been given already.) A promise moves the waiter to `promised`;
// the item itself stays in the queue (or the room in it unused) until the waiter has run: so a waiter that is
// cancelled before has nothing to undo but to pass its promise on, and what it did not put is not in.
//
// Promises are kept in their order though several workers run the waiters in any order: whoever comes first serves
// those promised ahead of it too, into and out of their frames (Turn::served). They need not touch the queue again.
//
// Thread rules: everything is guarded by lock_, under which no code of the user's runs and nothing is allocated.
#pragma once

#include <weft/detail/wait_list.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>

namespace weft {

struct Immediate {
    explicit Immediate() = default;
};
/// For a queue's shutdown(weft::immediate): drops what is in it, too.
inline constexpr Immediate immediate{};

namespace detail {

template <class Queue, class Handler>
class GetCase;
template <class Queue, class Value, class Handler>
class PutCase;

[[noreturn]] void throw_queue_empty();
[[noreturn]] void throw_queue_full();
[[noreturn]] void throw_queue_shut_down();
[[noreturn]] void throw_called_by_comparison();

/// What the queues have in common whatever they hold.
class QueueGate {
public:
    QueueGate(const QueueGate&) = delete;
    QueueGate& operator=(const QueueGate&) = delete;

    /// As given to the constructor; 0 or less: unbounded.
    std::ptrdiff_t maxsize() const noexcept { return maxsize_; }
    /// How many items get_nowait() would find now. Any task or thread; never waits.
    std::size_t qsize() const noexcept;
    bool empty() const noexcept { return qsize() == 0; }
    /// Whether put_nowait() would throw QueueFull now. Any task or thread; never waits.
    bool full() const noexcept;

    /// Says that the work on an item from get() is finished. Any task or thread; never waits.
    /// @throws  std::invalid_argument if said more often than items were put
    void task_done();
    /// Waits until task_done() was said for every item that was put, which is not the same as an empty queue. Any
    /// task or thread. Cancelled there: nothing to undo.
    /// @throws  CancelledError
    void join();

protected:
    enum class Shut : std::uint8_t { no, drain, immediate };

    struct Side {
        std::ptrdiff_t free;
        WaitList waiting;
        WaitList promised;

        constexpr explicit Side(std::ptrdiff_t n) noexcept : free(n) {}
        /// One more: promised to the first in line, who is to be unparked without the lock, or free to all. (Who is in
        /// line by select, and has won elsewhere, is passed over.)
        [[nodiscard]] Waiter give() noexcept {
            if (waiting.empty() || free < 0) [[likely]] {
                ++free;
                return {};
            }
            return promise();
        }
        Waiter promise() noexcept;
    };

    constexpr explicit QueueGate(std::ptrdiff_t maxsize) noexcept
        : maxsize_(maxsize),
          items_(0),
          room_(maxsize > 0 ? maxsize : std::numeric_limits<std::ptrdiff_t>::max()) {}
    ~QueueGate() = default;

    /// Lets go of the lock and wakes, if there is somebody to wake.
    void unlock_and_wake(Waiter next) noexcept {
        lock_.unlock();
        if (next.core != nullptr) lowlevel::unpark(next);
    }
    /// Lets go of the lock, with one more on that side.
    void give_and_unlock(Side& side) noexcept { unlock_and_wake(side.give()); }

    enum class Line : std::uint8_t { promised, served };
    /// Gets in line on that side, and waits. `promised`: returns with the lock held and the node in side.promised,
    /// its owner is to take it out. `served`: another has done it all, and the lock is not held.
    /// Throws CancelledError, QueueShutDown; then it is no longer in line.
    Line wait_in_line(Side& side, WaitNode& node, lowlevel::WaitReason reason);
    // Its parts, which select() calls one by one. First: throws QueueShutDown if it is no use to wait.
    void check_not_refused(const Side& side);
    /// In the commit of a park: true if the node waits. False: it was refused or promised at once, or has lost.
    bool enter_line(Side& side, WaitNode& node, Waiter self) noexcept;
    /// After the park: as wait_in_line().
    Line after_wait(Side& side, WaitNode& node, lowlevel::Woken woken);
    /// Takes a node that was not promised anything out of its line, if it is still there.
    void quit_line(WaitNode& node) noexcept;
    /// Takes the lock again, after letting it go while promised. As above; throws QueueShutDown.
    Line back_in_line(Side& side, WaitNode& node);
    /// Without the lock: gives the promise up, unless it has been kept meanwhile: then false.
    bool leave_line(Side& side, WaitNode& node) noexcept;

    /// With the lock, which it lets go: from now on nothing is put. `dropped`: how many items the caller destroys.
    void shut_and_unlock(Shut how, std::ptrdiff_t dropped) noexcept;
    /// With the lock, which it lets go: an item that was taken has come to nothing, and is done.
    void finish_one_and_unlock() noexcept;
    /// In a destructor: the destructors of the items that are left find the queue empty and shut. How many are left.
    std::ptrdiff_t close_for_good() noexcept;
    /// Who calls: the running task, or the thread.
    static const void* caller() noexcept;
    /// With the lock: how many items there are, promised ones too.
    std::ptrdiff_t count_items() const noexcept { return items_.free + items_.promised.count(); }
    /// Lets go of the lock and throws what asyncio's *_nowait throw.
    [[noreturn]] void fail_get_and_unlock();
    [[noreturn]] void fail_put_and_unlock();

    mutable SpinLock lock_;
    Shut shut_ = Shut::no;
    std::ptrdiff_t unfinished_ = 0;
    const std::ptrdiff_t maxsize_;
    Side items_;
    Side room_;

private:
    bool refuses(const Side& side, Turn turn) const noexcept;
    bool finish(std::ptrdiff_t n) noexcept;

    WaitList joiners_;
};

}  // namespace detail

}  // namespace weft
