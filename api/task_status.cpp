#include <weft/detail/engine.hpp>
#include <weft/task_status.hpp>

#include <mutex>

namespace weft::detail {

using lowlevel::Woken;

void throw_started_twice() {
    throw UsageError("weft::TaskStatus::started: it has been said already");
}

// The last touch is to let go of the lock: who has been told may be gone then.
bool StartGate::open() noexcept {
    lock_.lock();
    bool too_late = given_up_;
    open_ = !too_late;
    Waiter waiter = too_late ? Waiter{} : std::exchange(waiter_, {});
    lock_.unlock();
    if (waiter.core != nullptr) lowlevel::unpark(waiter);
    return !too_late;
}

bool StartGate::fail() noexcept {
    error_ = std::current_exception();
    try {
        throw;
    } catch (const CancelledError&) {
        child_cancelled_ = true;
    } catch (...) {
    }
    return child_cancelled_;
}

void StartGate::on_child_end(JoinNode& self, Core&) noexcept {
    auto& gate = static_cast<StartGate&>(self);
    gate.lock_.lock();
    gate.ended_ = true;
    Waiter waiter = std::exchange(gate.waiter_, {});
    gate.lock_.unlock();
    if (waiter.core != nullptr) lowlevel::unpark(waiter);
}

void StartGate::wait(TaskCore& child) {
    if (!add_joiner(child, *this)) ended_ = true;
    auto commit = [this](Waiter self) noexcept {
        std::lock_guard guard(lock_);
        if (open_ || ended_) return false;
        waiter_ = self;
        return true;
    };
    std::string message;
    PassingOn passing_on(*current_task());
    for (;;) {
        Woken woken = lowlevel::park({"TaskGroup.start", &child}, commit);
        lock_.lock();
        bool over = open_ || ended_;
        waiter_ = {};
        if (!over && woken == Woken::by_cancel) given_up_ = true;
        lock_.unlock();
        // A cancel that comes when it is over is kept for the caller's next wait: the value is not lost.
        if (over) break;
        if (woken == Woken::by_cancel) {
            lowlevel::take_cancel(&message);
            cancel_task(child, message);
        }
    }
    remove_joiner(child, *this);
    if (open_) return;
    if (error_ != nullptr && !(given_up_ && child_cancelled_)) std::rethrow_exception(error_);
    if (given_up_) throw CancelledError(message);
    rethrow_failure(child);  // it was cancelled before its first step
    throw UsageError("weft::TaskGroup::start: the child has ended without saying started()");
}

}  // namespace weft::detail
