// Who waits for a primitive, in the order of arrival: what Lock, Semaphore, Event, Condition, Barrier and the queues share.
//
// A WaitNode lives in the frame of the one that waits, so waiting allocates nothing. All links and turns change under the
// lock of the primitive (for a Condition: of its Lock), and the protocol is the same everywhere:
//
//   to wait    park(); its commit takes the lock, looks once more, writes node.waiter and links the node
//   to wake    take the lock; unlink the node and give it its turn (the lock, a unit, an item: what it waited for is
//              now its own, so that nobody can come between); copy the Waiter; let go of the lock; unpark
//   to go on   by_unpark: the turn is there. by_cancel: take the lock; either the node is still linked, and leaves, or
//              the turn came first, and is passed on to the next in line. Then throw
//
// The waker's last touch of the primitive is to let go of its lock, before anybody can go on because of it: so the woken
// one may destroy the primitive at once. It need not look at what unpark() returns: a waiter that was cancelled
// meanwhile finds its turn and passes it on itself. A cancel that comes after the turn but before the waiter runs
// again strikes in this wait too, as in asyncio (cancel_due()): otherwise a task that is cancelled there would end
// with a unit or an item in its hands.
//
// Rejected: unpark() under the lock, so as to skip the cancelled at once. It may make a system call, and whoever it
// wakes can be done with the primitive before the waker has let go of the lock.
#pragma once

#include <weft/detail/spin_lock.hpp>
#include <weft/lowlevel.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace weft::detail {

/// Whether a cancel is to be delivered to the running task at this point of a wait: one is pending, and the task is
/// neither unwinding nor in a ShieldScope. False outside of a task. Takes nothing.
bool cancel_due() noexcept;

/// How far a waiter has come.
enum class Turn : std::uint8_t {
    waiting,   ///< in line, or not yet
    promised,  ///< what it waited for is set aside for it, in an order that others keep too
    served,    ///< it has what it waited for
    refused,   ///< it will never come
};

/// Decides a wait in several lines at once (weft::select): a word in the waiter's frame, that all its nodes share.
///
/// Invariant: the word changes once, from kOpen, by one claim() that returns true; whoever made that one decides how
/// the wait ends, and nobody else does anything for or to the waiter. Claims are made
///   - by a giver, for the node that it has just unlinked, under its line's lock and before anything is taken or
///     promised. If it fails, the node is dropped as if it had not been in line, and the next one is served. If it
///     succeeds, the giver unparks the waiter, as it does any other;
///   - by the waiter as it gets in line, under that line's lock, when it finds that it need not wait there. Then nobody
///     unparks it;
///   - by the waiter when its deadline or a cancel has ended the wait. If that fails, it has what the winner promised.
/// The waiter leaves every line, under its lock, before its frame goes: so who sees a node linked may look at the word.
/// If something else than the winner's unpark() has woken it, it takes the winner's lock too, for the giver may still
/// be there. No two lines' locks are held at once, so there is no order among lines, and one line may be entered twice.
class Contest {
public:
    static constexpr std::int32_t kOpen = -1;
    static constexpr std::int32_t kCancelled = -2;

    bool claim(std::int32_t entry) noexcept {
        std::int32_t open = kOpen;
        return winner_.compare_exchange_strong(open, entry);
    }
    /// The entry that has won, kCancelled, or kOpen.
    std::int32_t winner() const noexcept { return winner_.load(); }

private:
    std::atomic<std::int32_t> winner_{kOpen};
};

struct WaitLink {
    WaitLink* prev = nullptr;
    WaitLink* next = nullptr;  // null: not linked
};

struct WaitNode : WaitLink {
    Waiter waiter;
    void* item = nullptr;        // a queue's: where the item is, or goes
    Contest* contest = nullptr;  // of one that waits in other lines too: see there
    std::int32_t entry = 0;      // which of its lines this is

    /// Under the primitive's lock, where it may be in a contest: whether it may be given its turn.
    bool claim() noexcept { return contest == nullptr || contest->claim(entry); }

    /// Under the primitive's lock. After `served` the node may be gone.
    void set_turn(Turn turn) noexcept {
        // order [wait.1]: release - whoever sees `served` without the lock has the item too; pairs with turn().
        turn_.store(turn, std::memory_order_release);
    }
    /// The waiter itself, under the lock, or without it to ask for `served`.
    Turn turn() const noexcept {
        // order [wait.1]: acquire - pairs with set_turn().
        return turn_.load(std::memory_order_acquire);
    }
    bool linked() const noexcept { return next != nullptr; }
    void unlink() noexcept {
        prev->next = next;
        next->prev = prev;
        prev = next = nullptr;
    }

private:
    std::atomic<Turn> turn_{Turn::waiting};
};

/// A ring through its own head, so that a node can leave without knowing which list it is in. Constant-initialised:
/// static primitives work before main.
class WaitList {
public:
    constexpr WaitList() noexcept : head_{&head_, &head_} {}
    WaitList(const WaitList&) = delete;
    WaitList& operator=(const WaitList&) = delete;

    bool empty() const noexcept { return head_.next == &head_; }
    /// The oldest. Not of an empty list.
    WaitNode& pop_front() noexcept {
        auto& node = static_cast<WaitNode&>(*head_.next);
        node.unlink();
        return node;
    }
    void push_back(WaitNode& node) noexcept {
        node.prev = head_.prev;
        node.next = &head_;
        head_.prev->next = &node;
        head_.prev = &node;
    }
    /// Appends all of the other list.
    void splice(WaitList& other) noexcept {
        if (other.empty()) return;
        other.head_.next->prev = head_.prev;
        other.head_.prev->next = &head_;
        head_.prev->next = other.head_.next;
        head_.prev = other.head_.prev;
        other.head_.prev = other.head_.next = &other.head_;
    }
    std::ptrdiff_t count() const noexcept {
        std::ptrdiff_t n = 0;
        for (const WaitLink* link = head_.next; link != &head_; link = link->next) ++n;
        return n;
    }

private:
    WaitLink head_;
};

/// Some waiters that have their turn, to be unparked when the lock is free again.
class WakeBatch {
public:
    static constexpr std::size_t kMost =
        32;  // bounds how long the lock is held, and 512 bytes of stack

    /// Unlinks the oldest of `list` and gives them `turn`, unless they have lost it; false once the list is empty.
    bool fill(WaitList& list, Turn turn) noexcept {
        while (!full()) {
            if (list.empty()) return false;
            if (WaitNode& node = list.pop_front(); node.claim()) add(node, turn);
        }
        return !list.empty();
    }
    bool full() const noexcept { return count_ == kMost; }
    /// One that is unlinked already. Not if it is full.
    void add(WaitNode& node, Turn turn) noexcept {
        waiters_[count_++] = node.waiter;
        node.set_turn(turn);
    }
    void unpark() noexcept {
        for (std::size_t i = 0; i < count_; ++i) lowlevel::unpark(waiters_[i]);
        count_ = 0;
    }

private:
    std::size_t count_ = 0;
    Waiter waiters_[kMost];
};

/// Gives all who are in `list` now their turn. Called with `lock` held, returns without it.
void wake_all(SpinLock& lock, WaitList& list, Turn turn = Turn::served) noexcept;

}  // namespace weft::detail
