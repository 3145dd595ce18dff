#include <weft/capacity_limiter.hpp>
#include <weft/detail/engine.hpp>
#include <weft/error.hpp>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <mutex>
#include <utility>

namespace weft {

using detail::BorrowerSet;
using detail::Turn;
using detail::Waiter;
using detail::WaitNode;
using detail::WakeBatch;
using lowlevel::Woken;

namespace detail {

BorrowerSet::BorrowerSet(std::size_t n)
    : mask_(std::bit_ceil(std::max<std::size_t>(8, n / 3 * 4 + 4)) - 1) {
    slots_ = std::make_unique<const void*[]>(mask_ + 1);
}

std::size_t BorrowerSet::home_of(const void* who) const noexcept {
    // Fibonacci hashing: addresses differ in the middle, and the product's upper half has all of it.
    auto bits = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(who));
    return static_cast<std::size_t>((bits * 0x9E3779B97F4A7C15U) >> 32) & mask_;
}

// Where it is, or the free slot where it would be. There is always one: the set is never full.
std::size_t BorrowerSet::find(const void* who) const noexcept {
    std::size_t at = home_of(who);
    while (slots_[at] != nullptr && slots_[at] != who) at = (at + 1) & mask_;
    return at;
}

bool BorrowerSet::contains(const void* who) const noexcept {
    return slots_ != nullptr && slots_[find(who)] != nullptr;
}

void BorrowerSet::insert(const void* who) noexcept { slots_[find(who)] = who; }

bool BorrowerSet::erase(const void* who) noexcept {
    if (!contains(who)) return false;
    std::size_t hole = find(who);
    // Those behind it move up, unless that would put them before their home: so no search meets a hole too early.
    for (std::size_t at = (hole + 1) & mask_; slots_[at] != nullptr; at = (at + 1) & mask_) {
        std::size_t from_home = (at - home_of(slots_[at])) & mask_;
        std::size_t from_hole = (at - hole) & mask_;
        if (from_home >= from_hole) slots_[std::exchange(hole, at)] = slots_[at];
    }
    slots_[hole] = nullptr;
    return true;
}

void BorrowerSet::grow(BorrowerSet& larger) noexcept {
    if (slots_ != nullptr)
        for (std::size_t at = 0; at <= mask_; ++at)
            if (slots_[at] != nullptr) larger.insert(slots_[at]);
    std::swap(slots_, larger.slots_);
    std::swap(mask_, larger.mask_);
}

}  // namespace detail

void CapacityLimiter::refuse_total() {
    throw std::invalid_argument("weft::CapacityLimiter: there must be at least one token");
}

namespace {

// noinline: a task may be on another thread after its next wait, and must not find this one's address in a register.
[[gnu::noinline]] const void* this_thread() noexcept {
    thread_local char address;
    asm volatile("" ::: "memory");
    return &address;
}

[[noreturn]] void throw_has_one() {
    throw UsageError("weft::CapacityLimiter::acquire: this borrower has a token already");
}

}  // namespace

const void* CapacityLimiter::caller() noexcept {
    const void* task = detail::current_task();
    return task != nullptr ? task : this_thread();
}

// --- lending ------------------------------------------------------------------------------------

// Returns with the lock held and with room for `more` borrowers than there are and will be, as far as `total` lets
// them. `total` is looked at under the lock.
void CapacityLimiter::lock_with_room(std::ptrdiff_t more, const std::ptrdiff_t& total) {
    for (;;) {
        spin_.lock();
        auto needed = static_cast<std::size_t>(std::min(total, borrowed_ + wanting_ + more));
        if (borrowers_.room() >= needed) return;
        spin_.unlock();
        BorrowerSet larger(2 * needed);
        spin_.lock();
        if (borrowers_.room() < larger.room()) borrowers_.grow(larger);
        spin_.unlock();
    }
}

// Under spin_.
bool CapacityLimiter::try_lend(const void* borrower) noexcept {
    if (!may_lend() || !waiters_.empty()) return false;
    borrowers_.insert(borrower);
    ++borrowed_;
    return true;
}

bool CapacityLimiter::borrow_now(const void* borrower, bool or_wait) {
    if (borrower == nullptr)
        throw std::invalid_argument("weft::CapacityLimiter::acquire_on_behalf_of: null");
    lock_with_room(1, total_);
    bool has_one = borrowers_.contains(borrower);
    bool lent = !has_one && try_lend(borrower);
    if (!has_one && !lent && or_wait) ++wanting_;
    spin_.unlock();
    if (has_one) throw_has_one();
    return lent;
}

bool CapacityLimiter::try_lock() { return borrow_now(caller(), false); }

void CapacityLimiter::acquire_on_behalf_of(const void* borrower) {
    if (borrow_now(borrower, true)) return;
    WaitNode node;
    node.item = const_cast<void*>(borrower);
    auto commit = [&](Waiter self) noexcept {
        std::lock_guard guard(spin_);
        bool has_one = borrowers_.contains(borrower);
        if (has_one || try_lend(borrower)) {
            --wanting_;
            node.set_turn(has_one ? Turn::refused : Turn::served);
            return false;
        }
        node.waiter = self;
        waiters_.push_back(node);
        return true;
    };
    Woken woken = lowlevel::park({"CapacityLimiter.acquire", this}, commit);
    if (woken == Woken::by_cancel) {
        std::lock_guard guard(spin_);
        if (node.turn() == Turn::waiting) {
            --wanting_;
            if (node.linked()) node.unlink();
        }
    } else if (!detail::cancel_due()) {
        if (node.turn() == Turn::refused) throw_has_one();
        return;
    }
    if (node.turn() == Turn::served) take_back(borrower);
    lowlevel::throw_cancelled();
}

// --- taking back --------------------------------------------------------------------------------

// Lends what there is to the first in line; lets go of the lock, also now and then in between.
void CapacityLimiter::hand_over_and_unlock() noexcept {
    for (;;) {
        WakeBatch batch;
        while (!batch.full() && may_lend() && !waiters_.empty()) {
            WaitNode& first = waiters_.pop_front();
            --wanting_;
            if (borrowers_.contains(first.item)) {
                batch.add(first, Turn::refused);
            } else {
                borrowers_.insert(first.item);
                ++borrowed_;
                batch.add(first, Turn::served);
            }
        }
        bool more = may_lend() && !waiters_.empty();
        spin_.unlock();
        batch.unpark();
        if (!more) return;
        spin_.lock();
    }
}

void CapacityLimiter::take_back(const void* borrower) {
    spin_.lock();
    if (borrower == nullptr || !borrowers_.erase(borrower)) {
        spin_.unlock();
        throw UsageError("weft::CapacityLimiter::release: this borrower has no token");
    }
    --borrowed_;
    hand_over_and_unlock();
}

void CapacityLimiter::release_on_behalf_of(const void* borrower) { take_back(borrower); }

void CapacityLimiter::set_total_tokens(std::ptrdiff_t n) {
    if (n < 1) refuse_total();
    lock_with_room(0, n);
    total_ = n;
    hand_over_and_unlock();
}

std::ptrdiff_t CapacityLimiter::total_tokens() const noexcept {
    std::lock_guard guard(spin_);
    return total_;
}
std::ptrdiff_t CapacityLimiter::borrowed_tokens() const noexcept {
    std::lock_guard guard(spin_);
    return borrowed_;
}
std::ptrdiff_t CapacityLimiter::available_tokens() const noexcept {
    std::lock_guard guard(spin_);
    return total_ - borrowed_;
}

}  // namespace weft
