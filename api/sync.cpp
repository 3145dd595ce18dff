// The slow paths of the primitives but Barrier: who waits, who is next. detail/wait_list.hpp tells the protocol.
#include <weft/sync.hpp>

#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace weft {

using detail::Turn;
using detail::Waiter;
using detail::WaitList;
using detail::WaitNode;
using detail::WakeBatch;
using lowlevel::Interrupt;
using lowlevel::kNever;
using lowlevel::Woken;

namespace detail {

// noinline: what the compiler knows of the exception state's address must not outlive a switch in the caller.
[[gnu::noinline]] bool cancel_due() noexcept {
    const TaskCore* task = current_task();
    return task != nullptr && task->word.cancel_pending() && task->shield_depth == 0 &&
           std::uncaught_exceptions() == 0;
}

void wake_all(SpinLock& lock, WaitList& list, Turn turn) noexcept {
    // Apart from those who come while the lock is free for a moment. A cancelled waiter can leave this list as well.
    WaitList chosen;
    chosen.splice(list);
    for (;;) {
        WakeBatch batch;
        bool more = batch.fill(chosen, turn);
        lock.unlock();
        batch.unpark();
        if (!more) return;
        lock.lock();
    }
}

}  // namespace detail

// --- Lock ---------------------------------------------------------------------------------------

// Under spin_: takes the lock, or makes sure that its release will look at the line.
bool Lock::take_or_mark() noexcept {
    while (!mark_waiters()) {
        if (try_lock()) return true;
    }
    return false;
}

// Under spin_: false if it is not held.
bool Lock::mark_waiters() noexcept {
    // order [lock.1]: relaxed - kWaiters is only changed under spin_.
    std::uint8_t word = word_.load(std::memory_order_relaxed);
    if (word == (kHeld | kWaiters)) return true;
    return word == kHeld && word_.compare_exchange_strong(word, kHeld | kWaiters);
}

// Under spin_, when the last one has left the line.
void Lock::mark_no_waiters() noexcept {
    // order [lock.2]: release - to its next holder, who takes the lock by an exchange of this word.
    word_.store(kHeld, std::memory_order_release);
}

// Under spin_, by its holder: lets go of the lock. True: it belongs to *next now, who is to be unparked.
bool Lock::give_up(Waiter* next) noexcept {
    if (waiters_.empty()) {
        word_.store(0);
        return false;
    }
    WaitNode& first = waiters_.pop_front();
    *next = first.waiter;
    first.set_turn(Turn::served);
    if (waiters_.empty()) mark_no_waiters();
    return true;
}

// Under spin_.
void Lock::leave_line(WaitNode& node) noexcept {
    node.unlink();
    if (waiters_.empty()) mark_no_waiters();
}

void Lock::acquire_slow(Interrupt interrupt) {
    WaitNode node;
    auto commit = [&](Waiter self) noexcept {
        std::lock_guard guard(spin_);
        if (take_or_mark()) return false;
        node.waiter = self;
        waiters_.push_back(node);
        return true;
    };
    Woken woken = lowlevel::park({"Lock.acquire", this}, commit, kNever, interrupt);
    if (woken != Woken::by_cancel) {
        if (interrupt == Interrupt::never || !detail::cancel_due()) return;
        release();
        lowlevel::throw_cancelled();
    }
    spin_.lock();
    bool served = node.turn() == Turn::served;
    if (node.linked()) leave_line(node);
    spin_.unlock();
    if (served) release();
    lowlevel::throw_cancelled();
}

void Lock::release_slow() {
    for (;;) {
        std::uint8_t seen = word_.load();
        if (seen == 0) throw UsageError("weft::Lock::release: the lock is not held");
        if (seen == kHeld) {
            if (word_.compare_exchange_strong(seen, 0)) return;
            continue;
        }
        spin_.lock();
        if (waiters_.empty()) {
            // They have left meanwhile. Not from here: who takes a free lock may destroy it, spin_ and all.
            spin_.unlock();
            continue;
        }
        Waiter next;
        give_up(&next);
        spin_.unlock();
        lowlevel::unpark(next);
        return;
    }
}

// --- Semaphore ----------------------------------------------------------------------------------

// Under spin_: takes a unit, or makes sure that a release will look at the line.
bool Semaphore::take_or_mark() noexcept {
    for (;;) {
        if (try_lock()) return true;
        std::ptrdiff_t none = 0;
        if (value_.compare_exchange_strong(none, kLine) || none < 0) return false;
    }
}

// Under spin_: gives a unit to the first in line.
Waiter Semaphore::serve_first() noexcept {
    WaitNode& first = waiters_.pop_front();
    Waiter waiter = first.waiter;
    --spare_;
    ++woken_;
    first.set_turn(Turn::served);
    return waiter;
}

// The node's owner goes on, with the unit that it was given or without. Who came behind it may have what is left. It
// counts as woken until the end: so the line stays one, though the lock is free for a moment.
void Semaphore::leave_line(WaitNode& node, bool with_unit) noexcept {
    spin_.lock();
    if (node.turn() == Turn::served) {
        if (!with_unit) ++spare_;
    } else if (node.linked()) {
        node.unlink();
        ++woken_;
    } else {
        return spin_.unlock();  // it has never come to wait
    }
    while (spare_ > 0 && !waiters_.empty()) {
        Waiter next = serve_first();
        spin_.unlock();
        lowlevel::unpark(next);
        spin_.lock();
    }
    if (--woken_ == 0 && waiters_.empty()) {
        // order [sem.1]: release - to whoever takes a unit later, by an exchange of this word.
        value_.store(std::exchange(spare_, 0), std::memory_order_release);
    }
    spin_.unlock();
}

void Semaphore::acquire_slow() {
    WaitNode node;
    auto commit = [&](Waiter self) noexcept {
        std::lock_guard guard(spin_);
        if (take_or_mark()) return false;
        node.waiter = self;
        waiters_.push_back(node);
        return true;
    };
    Woken woken = lowlevel::park({"Semaphore.acquire", this}, commit);
    bool cancelled = woken == Woken::by_cancel || detail::cancel_due();
    bool waited = woken == Woken::by_cancel || node.turn() == Turn::served;
    if (waited)
        leave_line(node, !cancelled);
    else if (cancelled)
        release();
    if (cancelled) lowlevel::throw_cancelled();
}

void Semaphore::release_slow() {
    auto check_bound = [&](std::ptrdiff_t units) {
        if (units < bound_) return;
        throw std::invalid_argument(
            "weft::BoundedSemaphore::release: released more often than acquired");
    };
    for (;;) {
        std::ptrdiff_t value = value_.load();
        check_bound(value);
        if (value >= 0) {
            if (value_.compare_exchange_strong(value, value + 1)) return;
            continue;
        }
        std::unique_lock guard(spin_);
        if (value_.load() >= 0) continue;
        check_bound(spare_);
        ++spare_;
        if (waiters_.empty()) return;
        Waiter next = serve_first();
        guard.unlock();
        lowlevel::unpark(next);
        return;
    }
}

// --- Event --------------------------------------------------------------------------------------

std::uint8_t Event::lock_word() noexcept {
    for (int spins = 1;; ++spins) {
        std::uint8_t flags = word_.load();
        if ((flags & kBusy) == 0 &&
            word_.compare_exchange_weak(flags, static_cast<std::uint8_t>(flags | kBusy))) {
            return flags;
        }
        detail::cpu_relax();
        if (spins % 128 == 0) std::this_thread::yield();
    }
}

void Event::wait_slow() {
    WaitNode node;
    auto commit = [&](Waiter self) noexcept {
        std::uint8_t flags = lock_word();
        if (flags == 0) {
            node.waiter = self;
            waiters_.push_back(node);
        }
        unlock_word(flags);
        return flags == 0;
    };
    Woken woken = lowlevel::park({"Event.wait", this}, commit);
    if (woken != Woken::by_cancel) {
        if (!detail::cancel_due()) return;
        lowlevel::throw_cancelled();
    }
    std::uint8_t flags = lock_word();
    if (node.linked()) node.unlink();
    unlock_word(flags);
    lowlevel::throw_cancelled();
}

void Event::set() noexcept {
    if (lock_word() == kSet) return unlock_word(kSet);
    WaitList chosen;  // apart from those who come after a clear()
    chosen.splice(waiters_);
    for (std::uint8_t flags = kSet;; flags = lock_word()) {
        WakeBatch batch;
        bool more = batch.fill(chosen, Turn::served);
        unlock_word(flags);
        batch.unpark();
        if (!more) return;
    }
}

void Event::clear() noexcept {
    lock_word();
    unlock_word(0);
}

// --- Condition ----------------------------------------------------------------------------------

bool Condition::wait() {
    if (!locked()) throw UsageError("weft::Condition::wait: the lock is not held");
    WaitNode node;
    auto commit = [&](Waiter self) noexcept {
        Waiter next;
        lock_->spin_.lock();
        node.waiter = self;
        waiters_.push_back(node);
        bool handed_over = lock_->give_up(&next);
        lock_->spin_.unlock();
        if (handed_over) lowlevel::unpark(next);
        return true;
    };
    Woken woken = lowlevel::park({"Condition.wait", this}, commit);
    if (woken == Woken::by_cancel) cancelled(node);
    if (detail::cancel_due()) {
        notify(1);
        lowlevel::throw_cancelled();
    }
    return true;
}

// Waits for the lock, whatever comes, and throws.
void Condition::cancelled(WaitNode& node) {
    lock_->spin_.lock();
    Turn turn = node.turn();
    bool in_line = node.linked();
    if (in_line && turn == Turn::waiting) node.unlink();
    lock_->spin_.unlock();

    std::string message;
    lowlevel::take_cancel(&message);
    if (turn == Turn::waiting && in_line) {
        lock_->acquire_slow(Interrupt::never);
    } else if (turn == Turn::promised) {
        // It was notified and is in the lock's line: it waits on, in the same place.
        auto commit = [&](Waiter self) noexcept {
            std::lock_guard guard(lock_->spin_);
            if (node.turn() == Turn::served) return false;
            node.waiter = self;
            return true;
        };
        lowlevel::park({"Condition.wait", this}, commit, kNever, Interrupt::never);
    }
    if (turn != Turn::waiting) notify(1);
    std::string last;
    if (lowlevel::take_cancel(&last)) message = std::move(last);
    throw CancelledError(message);
}

void Condition::notify(std::size_t n) {
    constexpr std::size_t kMostAtOnce = 64;  // bounds how long the spin lock is held
    for (;;) {
        std::lock_guard guard(lock_->spin_);
        if (!locked()) throw UsageError("weft::Condition::notify: the lock is not held");
        for (std::size_t moved = 0; moved < kMostAtOnce; ++moved) {
            if (n == 0 || waiters_.empty()) return;
            if (!lock_->mark_waiters()) break;
            WaitNode& first = waiters_.pop_front();
            first.set_turn(Turn::promised);
            lock_->waiters_.push_back(first);
            --n;
        }
    }
}

}  // namespace weft
