// A semaphore that knows who has its units: Trio's and anyio's CapacityLimiter, for what is scarce, as threads are.
//
// Each borrower has one token or none. A borrower is the task that calls, or the plain thread, or whatever the
// caller names. Waiting and hand-off are sync.hpp's; what is new is the table of those who hold a token.
#pragma once

#include <weft/detail/wait_list.hpp>

#include <cstddef>
#include <memory>
#include <stdexcept>

namespace weft {

namespace detail {

/// A set of addresses, by open addressing. Whoever owns it guards it, and brings larger room: it allocates nothing.
class BorrowerSet {
public:
    constexpr BorrowerSet() noexcept = default;
    /// Empty, with room for at least n. std::bad_alloc.
    explicit BorrowerSet(std::size_t n);

    /// How many it can hold.
    std::size_t room() const noexcept { return slots_ == nullptr ? 0 : (mask_ + 1) / 4 * 3; }
    bool contains(const void* who) const noexcept;
    /// It has room, and does not contain it. Not null.
    void insert(const void* who) noexcept;
    /// False if it is not there.
    bool erase(const void* who) noexcept;
    /// Moves all that it has into `larger`, which is empty, and changes places with it.
    void grow(BorrowerSet& larger) noexcept;

private:
    std::size_t home_of(const void* who) const noexcept;
    std::size_t find(const void* who) const noexcept;

    std::unique_ptr<const void*[]> slots_;  // null: free
    std::size_t mask_ = 0;                  // their number, a power of two, less one
};

}  // namespace detail

/// So many tokens, lent to one borrower each, in order of arrival. How many there are can be changed at any time.
///
///     weft::CapacityLimiter limiter(4);
///     { std::lock_guard guard(limiter); ... }     // at most four tasks at a time
///     weft::to_thread(limiter, [] { ... });       // at most four threads at a time
///
/// It may be destroyed with tokens lent, but not while somebody waits. A task that ends with a token has lost it, and a later
/// task may be taken for that one: a borrower is known by its address.
class CapacityLimiter {
public:
    /// @throws  std::invalid_argument if total_tokens is below 1
    constexpr explicit CapacityLimiter(std::ptrdiff_t total_tokens) : total_(total_tokens) {
        if (total_tokens < 1) refuse_total();
    }
    CapacityLimiter(const CapacityLimiter&) = delete;
    CapacityLimiter& operator=(const CapacityLimiter&) = delete;

    /// Borrows a token for the calling task or plain thread. Waits while there is none, in order of arrival.
    /// Cancelled there: the place in line is given up, and a token that had just been handed over goes to the next.
    /// @throws  UsageError if the caller has one already; CancelledError; std::bad_alloc
    /// @cost    a token is there: one spin lock and a look-up; none: one park
    void acquire() { acquire_on_behalf_of(caller()); }
    /// Gives the caller's token to the first in line, or takes it back. Never waits.
    /// @throws  UsageError if the caller has none
    /// @cost    one spin lock and a look-up
    void release() { release_on_behalf_of(caller()); }

    /// The same for a borrower that is named by its address, whatever lies there: it may borrow in one task and give
    /// back in another. Who waits on behalf of one that has got a token meanwhile gets UsageError when it is its turn.
    /// @throws  as acquire(); std::invalid_argument for null
    void acquire_on_behalf_of(const void* borrower);
    /// @throws  UsageError if that one has none
    void release_on_behalf_of(const void* borrower);

    /// acquire(), by std's name.
    void lock() { acquire(); }
    /// Borrows a token for the caller if one is there. Never waits.
    /// @throws  UsageError if the caller has one already; std::bad_alloc
    bool try_lock();
    /// release(), by std's name.
    void unlock() { release(); }

    /// How many there are, lent or not. Any task or thread.
    std::ptrdiff_t total_tokens() const noexcept;
    /// How many are lent now, to waiters that are about to go on too.
    std::ptrdiff_t borrowed_tokens() const noexcept;
    /// How many are left: total less borrowed, which is negative after the total was lowered below what is lent.
    std::ptrdiff_t available_tokens() const noexcept;
    /// Changes their number. More: those first in line get them at once. Fewer: no token is taken away, but what is
    /// given back is not lent again until the number fits. Any task or thread. Never waits.
    /// @throws  std::invalid_argument below 1; std::bad_alloc. Then it is as it was
    void set_total_tokens(std::ptrdiff_t n);

private:
    [[noreturn]] static void refuse_total();
    static const void* caller() noexcept;
    bool borrow_now(const void* borrower, bool or_wait);
    bool try_lend(const void* borrower) noexcept;
    bool may_lend() const noexcept { return borrowed_ < total_; }
    void take_back(const void* borrower);
    void lock_with_room(std::ptrdiff_t more, const std::ptrdiff_t& total);
    void hand_over_and_unlock() noexcept;

    mutable detail::SpinLock spin_;  // guards what follows; nothing is allocated under it
    std::ptrdiff_t total_;
    std::ptrdiff_t borrowed_ = 0;
    std::ptrdiff_t wanting_ = 0;  // who is in line, or about to be
    // Has room for min(total_, borrowed_ + wanting_): so a hand-over never needs more.
    detail::BorrowerSet borrowers_;
    detail::WaitList
        waiters_;  // empty unless total_ are lent, but for a moment in hand_over_and_unlock()
};

}  // namespace weft
