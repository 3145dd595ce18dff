// Barrier: four states, as asyncio's.
//
//   state       arrivals        those inside          goes to
//   filling     come in         wait                  draining: the last party arrives; broken; resetting
//   draining    are blocked     leave with an index   filling: the last one leaves; broken; resetting
//   resetting   are blocked     leave with an error   filling: the last one leaves; broken
//   broken      get an error    leave with an error   resetting or filling: reset()
//
// Each that came in counts until it has left, and on its way out looks at the state once more: so an abort() or reset()
// still strikes those who were let through but have not run yet. Handing each its outcome at once would do without
// leaving, but such a barrier could not be aborted half-way, as asyncio's can.
#include <weft/sync.hpp>

#include <mutex>

namespace weft {

using detail::Waiter;
using detail::WaitNode;
using lowlevel::Interrupt;
using lowlevel::kNever;
using lowlevel::Woken;

bool Barrier::between_rounds() const noexcept {
    return state_ == State::draining || state_ == State::resetting;
}

std::size_t Barrier::wait() {
    spin_.lock();
    while (between_rounds()) {
        spin_.unlock();
        wait_for_round();
        spin_.lock();
    }
    if (state_ == State::broken) {
        spin_.unlock();
        throw BrokenBarrierError("weft::Barrier::wait: the barrier was aborted");
    }
    auto index = static_cast<std::size_t>(count_++);
    WaitNode node;
    if (count_ == parties_) {
        state_ = State::draining;
        detail::wake_all(spin_, waiting_);
        leave(node);
        return index;
    }
    spin_.unlock();

    auto commit = [&](Waiter self) noexcept {
        std::lock_guard guard(spin_);
        if (state_ != State::filling) return false;
        node.waiter = self;
        waiting_.push_back(node);
        return true;
    };
    Woken woken = lowlevel::park({"Barrier.wait", this}, commit);
    bool cancelled = woken == Woken::by_cancel || detail::cancel_due();
    State state = leave(node);
    if (cancelled) lowlevel::throw_cancelled();
    if (state != State::draining) {
        throw BrokenBarrierError("weft::Barrier::wait: the barrier was aborted or reset");
    }
    return index;
}

// Returns what the state was for the one that leaves.
Barrier::State Barrier::leave(WaitNode& node) noexcept {
    spin_.lock();
    if (node.linked()) node.unlink();
    State state = state_;
    if (--count_ > 0) {
        spin_.unlock();
        return state;
    }
    if (between_rounds()) state_ = State::filling;
    blocked_.splice(drained_);
    detail::wake_all(spin_, blocked_);
    return state;
}

void Barrier::wait_for_round() {
    WaitNode node;
    auto commit = [&](Waiter self) noexcept {
        std::lock_guard guard(spin_);
        if (!between_rounds()) return false;
        node.waiter = self;
        blocked_.push_back(node);
        return true;
    };
    Woken woken = lowlevel::park({"Barrier.wait", this}, commit);
    if (woken != Woken::by_cancel) {
        if (!detail::cancel_due()) return;
        lowlevel::throw_cancelled();
    }
    spin_.lock();
    if (node.linked()) node.unlink();
    spin_.unlock();
    lowlevel::throw_cancelled();
}

void Barrier::abort() noexcept {
    spin_.lock();
    state_ = State::broken;
    waiting_.splice(blocked_);
    detail::wake_all(spin_, waiting_);
}

void Barrier::reset() noexcept {
    spin_.lock();
    state_ = count_ > 0 ? State::resetting : State::filling;
    if (count_ == 0) waiting_.splice(blocked_);
    detail::wake_all(spin_, waiting_);
}

std::size_t Barrier::n_waiting() const noexcept {
    std::lock_guard guard(spin_);
    return state_ == State::filling ? static_cast<std::size_t>(count_) : 0;
}

bool Barrier::broken() const noexcept {
    std::lock_guard guard(spin_);
    return state_ == State::broken;
}

Barrier::~Barrier() {
    spin_.lock();
    bool someone_leaves = count_ > 0;
    spin_.unlock();
    if (!someone_leaves) return;
    WaitNode node;
    auto commit = [&](Waiter self) noexcept {
        std::lock_guard guard(spin_);
        if (count_ == 0) return false;
        node.waiter = self;
        drained_.push_back(node);
        return true;
    };
    lowlevel::park({"~Barrier", this}, commit, kNever, Interrupt::never);
}

}  // namespace weft
