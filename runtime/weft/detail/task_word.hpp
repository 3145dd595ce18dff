// The state word: everything about a task, future or parked thread that several threads may change at once.
//
// One 64-bit atomic, so that every question "who won?" (finish x join, wake x cancel x deadline, last reference)
// is answered by one read-modify-write. Nothing outside this file knows where a bit is.
//
//   bits    name       set by                    cleared by           meaning
//   0       done       the finisher, once        never                result and outcome are published
//   1       joiners    whoever registers (lock)  never                the joiner list may be non-empty
//   2       parked     the task, off its stack   the claimer          waits for a claim; its stack is at rest
//   3       shielded   with parked               the claimer          this wait is not ended by a cancel
//   4-5     reason     the claimer               the next claimer     why the last wait ended (Woken)
//   6       cancel     any thread                the task             a cancel is due at the current or next wait
//   7       buried     the task above it         the task itself      a task run inline on top of it is parked
//   8       asked      who asks for a cancel     never                a value may be one that swallowed a cancel
//   12-35   epoch      the claimer               -                    number of the current wait
//   36-63   refs       any holder                any holder           handles, queue entries, and the runtime's own
//
// Waiting. A Waiter is {word, epoch}. The owner reads its epoch e, publishes Waiters, leaves its stack and calls
// park(e). A waker calls claim(e, reason). Invariant: the epoch goes from e to e+1 exactly once, and whoever moves it
// (a claimer, or park() itself when a cancel is due) is the one who wakes; so a wait ends once, for one reason, and
// a late or duplicate waker changes nothing. The claimer makes the task runnable if it had parked; if it had not,
// park(e) fails and the task's own side goes on.
//
// Finishing. With no joiner, `done` is set and the runtime's reference given back in one operation. A registrar sets
// `joiners` under the core's lock; if it meets `done` it has come too late and unlinks itself. So either the finisher
// sees `joiners`, or the registrar sees `done`. A task that returned with a cancel due ends as cancelled, as in
// asyncio; who asked has been told that it would, and may rely on that (a parent that passes its own cancel on): so
// the operation that sets `done` refuses while `cancel` is set, and the finisher turns the outcome and tries again.
//
// All operations are seq_cst: the read-modify-writes cost the same on x86, and loads are free there. Weaker ones
// carry their tag.
#pragma once

#include <weft/detail/env.hpp>

#include <atomic>
#include <cstdint>

namespace weft::lowlevel {

/// Why a wait ended.
enum class Woken : std::uint8_t { by_unpark = 0, by_deadline = 1, by_cancel = 2 };

}  // namespace weft::lowlevel

namespace weft::detail {

using lowlevel::Woken;

enum class Parked : std::uint8_t { yes, already_woken };
enum class Claim : std::uint8_t { lost, won_running, won_parked };
enum class CancelRequest : std::uint8_t { is_done, is_buried, pending, claimed };
enum class Finish : std::uint8_t { finished, finished_last_ref, has_joiners, cancel_is_due };
/// What finishing does about a cancel that is due: a task that returned a value minds it, all else does not.
enum class IfCancelled : std::uint8_t { finish, refuse };

template <class Env>
class BasicTaskWord {
    using Bits = std::uint64_t;

public:
    static constexpr Bits kDone = 1u << 0;
    static constexpr Bits kJoiners = 1u << 1;
    static constexpr Bits kParked = 1u << 2;
    static constexpr Bits kShielded = 1u << 3;
    static constexpr int kReasonShift = 4;
    static constexpr Bits kReasonMask = Bits{3} << kReasonShift;
    static constexpr Bits kCancel = 1u << 6;
    static constexpr Bits kBuried = 1u << 7;
    static constexpr Bits kAsked = 1u << 8;
    static constexpr int kEpochShift = 12;
    static constexpr Bits kEpochMask = ((Bits{1} << 24) - 1) << kEpochShift;
    static constexpr int kRefShift = 36;
    static constexpr Bits kRefOne = Bits{1} << kRefShift;

    constexpr BasicTaskWord() noexcept = default;
    constexpr explicit BasicTaskWord(unsigned refs) noexcept : bits_(refs * kRefOne) {}

    /// Starts a new life in a recycled block. Only its new owner sees the block yet, but the task registry may look
    /// at the word of a block at any time, so this is a store and not a construction.
    void reset(unsigned refs) noexcept {
        // order [word.4]: release - whoever finds the block by looking and takes a reference with try_add_ref sees
        // the fields that were set before.
        bits_.store((load_relaxed() & kEpochMask) | refs * kRefOne, std::memory_order_release);
    }

    bool done() const noexcept { return (bits_.load() & kDone) != 0; }
    bool cancel_pending() const noexcept { return (load_relaxed() & kCancel) != 0; }
    bool buried() const noexcept { return (load_relaxed() & kBuried) != 0; }
    bool parked() const noexcept { return (load_relaxed() & kParked) != 0; }
    bool shielded() const noexcept { return (load_relaxed() & kShielded) != 0; }
    std::uint32_t epoch() const noexcept { return epoch_of(load_relaxed()); }
    Woken reason() const noexcept {
        return static_cast<Woken>((load_relaxed() & kReasonMask) >> kReasonShift);
    }
    unsigned refs() const noexcept { return static_cast<unsigned>(bits_.load() >> kRefShift); }

    // --- waiting: see the file's head ---------------------------------------------------------------------------

    /// Owner, off its stack: rests in wait `epoch`, unless it has been claimed meanwhile or a cancel is due.
    Parked park(std::uint32_t epoch, bool shielded) noexcept {
        Bits old = bits_.load();
        for (;;) {
            if (epoch_of(old) != epoch) return Parked::already_woken;
            bool cancelled = !shielded && (old & kCancel) != 0;
            Bits next = cancelled ? next_epoch(old, Woken::by_cancel)
                                  : old | kParked | (shielded ? kShielded : 0);
            if (bits_.compare_exchange_weak(old, next))
                return cancelled ? Parked::already_woken : Parked::yes;
        }
    }

    /// Any thread: ends wait `epoch`. The winner of a parked task must make it runnable.
    Claim claim(std::uint32_t epoch, Woken reason) noexcept {
        Bits old = bits_.load();
        do {
            if (epoch_of(old) != epoch) return Claim::lost;
        } while (!bits_.compare_exchange_weak(old, next_epoch(old, reason)));
        return (old & kParked) != 0 ? Claim::won_parked : Claim::won_running;
    }

    // --- cancellation -------------------------------------------------------------------------------------------

    /// Any thread: asks for a cancel. `claimed` means it ended a wait, and the caller must make the task runnable.
    CancelRequest request_cancel() noexcept {
        Bits old = bits_.load();
        for (;;) {
            if ((old & kDone) != 0) return CancelRequest::is_done;
            if ((old & kBuried) != 0) return CancelRequest::is_buried;
            bool claims = (old & kParked) != 0 && (old & kShielded) == 0;
            Bits next = (claims ? next_epoch(old, Woken::by_cancel) : old) | kCancel;
            if (bits_.compare_exchange_weak(old, next))
                return claims ? CancelRequest::claimed : CancelRequest::pending;
        }
    }
    /// Before it: from now on a task that ends with a value takes the long way, where it is looked at. False: it is done.
    bool note_request() noexcept { return (bits_.fetch_or(kAsked) & kDone) == 0; }
    /// Takes the pending cancel, if there is one.
    bool take_cancel() noexcept {
        return cancel_pending() && (bits_.fetch_and(~kCancel) & kCancel) != 0;
    }

    /// By the task parked above it: from now on a cancel must go to the top. Returns whether a cancel was due.
    /// A read-modify-write on both sides of the same word orders the caller's earlier store of `inner` before the
    /// canceller's load of it.
    bool bury() noexcept { return (bits_.fetch_or(kBuried) & kCancel) != 0; }
    void unbury() noexcept { bits_.fetch_and(~kBuried); }

    // --- the end ------------------------------------------------------------------------------------------------

    /// The finisher, when nothing but the word needs to be told: sets done and gives back one reference.
    /// has_joiners (or a value in spite of a cancel): nothing is changed; finish() and drop_ref() are needed.
    Finish finish_alone(IfCancelled if_cancelled) noexcept {
        Bits obstacles = kJoiners | (if_cancelled == IfCancelled::refuse ? kCancel | kAsked : 0);
        Bits old = bits_.load();
        do {
            if ((old & obstacles) != 0)
                return (old & obstacles & kCancel) != 0 ? Finish::cancel_is_due
                                                        : Finish::has_joiners;
        } while (!bits_.compare_exchange_weak(old, (old | kDone) - kRefOne));
        return (old >> kRefShift) == 1 ? Finish::finished_last_ref : Finish::finished;
    }
    /// Sets done. has_joiners: and a joiner may be registered.
    Finish finish(IfCancelled if_cancelled = IfCancelled::finish) noexcept {
        Bits old = bits_.load();
        do {
            if (if_cancelled == IfCancelled::refuse && (old & kCancel) != 0)
                return Finish::cancel_is_due;
        } while (!bits_.compare_exchange_weak(old, old | kDone));
        return (old & kJoiners) != 0 ? Finish::has_joiners : Finish::finished;
    }
    /// As finish(), by one who may hold no reference (a future is set through somebody's handle, and whoever sees it
    /// done may drop that at once): has_joiners comes with one, taken by the same operation.
    Finish finish_and_hold() noexcept {
        Bits old = bits_.load();
        Bits next = 0;
        do {
            next = (old | kDone) + ((old & kJoiners) != 0 ? kRefOne : 0);
        } while (!bits_.compare_exchange_weak(old, next));
        return (old & kJoiners) != 0 ? Finish::has_joiners : Finish::finished;
    }
    /// A registrar, under the core's lock. False: it is done already.
    bool announce_joiner() noexcept { return (bits_.fetch_or(kJoiners) & kDone) == 0; }
    /// Before the task is published: it will be watched, so its end must take the long way.
    void expect_joiner() noexcept {
        // order [word.1]: relaxed - not yet published.
        bits_.store(load_relaxed() | kJoiners, std::memory_order_relaxed);
    }

    // --- references ---------------------------------------------------------------------------------------------

    void add_ref() noexcept {
        // order [word.2]: relaxed - the caller holds a reference already, so nothing is published by this one.
        bits_.fetch_add(kRefOne, std::memory_order_relaxed);
    }
    /// For a block found by looking (the registry, a task's `inner`): fails if it is no longer alive, or done.
    /// That it never touches a done word is what lets drop_ref() end such a one with a plain store.
    bool try_add_ref() noexcept {
        Bits old = bits_.load();
        do {
            if ((old >> kRefShift) == 0 || (old & kDone) != 0) return false;
        } while (!bits_.compare_exchange_weak(old, old + kRefOne));
        return true;
    }
    /// True: it was the last one, and the caller destroys.
    bool drop_ref() noexcept {
        Bits old = bits_.load();
        // The only holder of the only reference of a finished core has no rival: no read-modify-write.
        if ((old >> kRefShift) == 1 && (old & kDone) != 0) {
            clear_refs(old);
            return true;
        }
        return (bits_.fetch_sub(kRefOne) >> kRefShift) == 1;
    }

private:
    static std::uint32_t epoch_of(Bits bits) noexcept {
        return static_cast<std::uint32_t>((bits & kEpochMask) >> kEpochShift);
    }
    static Bits next_epoch(Bits bits, Woken reason) noexcept {
        Bits epoch = (bits + (Bits{1} << kEpochShift)) & kEpochMask;
        Bits rest = bits & ~(kEpochMask | kParked | kShielded | kReasonMask);
        return rest | epoch | (static_cast<Bits>(reason) << kReasonShift);
    }
    Bits load_relaxed() const noexcept {
        // order [word.3]: relaxed - a task reading its own word, or a hint; decisions are made by the CAS after it.
        return bits_.load(std::memory_order_relaxed);
    }
    void clear_refs(Bits old) noexcept {
        // order [word.1]: relaxed - nobody else holds it, and try_add_ref leaves done words alone.
        bits_.store(old - kRefOne, std::memory_order_relaxed);
    }

    typename Env::template atomic<Bits> bits_{0};
};

using TaskWord = BasicTaskWord<StdEnv>;

}  // namespace weft::detail
