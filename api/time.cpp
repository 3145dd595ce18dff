#include <weft/time.hpp>

namespace weft {

namespace detail {

void sleep_until(TimePoint deadline) {
    auto commit = [](Waiter) noexcept { return true; };
    if (lowlevel::park({"sleep", nullptr}, commit, deadline) == lowlevel::Woken::by_cancel)
        lowlevel::throw_cancelled();
}

void cancel_and_wait(Core& core) {
    cancel_core(core, {});
    while (!core.word.done())
        if (join_core(core, lowlevel::kNever, lowlevel::Interrupt::by_cancel,
                      {"wait_for", &core}) == lowlevel::Woken::by_cancel)
            lowlevel::throw_cancelled();
}

}  // namespace detail

Timeout::Timeout(TimePoint when)
    : task_(*detail::current_task()), cancelling_before_(detail::cancelling(task_)) {
    deadline = when;
    fire = on_fire;
    arm();
}

Timeout::~Timeout() { leave(); }

void Timeout::arm() noexcept {
    if (deadline == lowlevel::kNever) return;
    // One that is due already does not wait for the timers: it is met at the block's first wait.
    if (deadline <= now())
        on_fire(*this);
    else
        detail::start_timer(*this);
}

// Under the timers' lock, or from arm().
void Timeout::on_fire(detail::TimerNode& node) noexcept {
    auto& self = static_cast<Timeout&>(node);
    self.state_.store(State::expiring);
    detail::cancel_task(self.task_, {});
}

void Timeout::reschedule(TimePoint when) {
    detail::stop_timer(*this);
    switch (state_.load()) {
        case State::active:
            break;
        case State::expiring:
            throw UsageError("Timeout::reschedule: it is expiring");
        case State::expired:
            throw UsageError("Timeout::reschedule: it has expired");
        case State::exited:
            throw UsageError("Timeout::reschedule: its block has ended");
    }
    deadline = when;
    arm();
}

std::optional<TimePoint> Timeout::when() const noexcept {
    if (deadline == lowlevel::kNever) return std::nullopt;
    return deadline;
}

bool Timeout::expired() const noexcept {
    State state = state_.load();
    return state == State::expiring || state == State::expired;
}

void Timeout::leave_by_exception() {
    detail::stop_timer(*this);
    if (state_.load() != State::expiring) return;
    state_.store(State::expired);
    // A cancel from outside, beside ours, stays one.
    if (detail::uncancel_task(task_) > cancelling_before_) return;
    try {
        throw;
    } catch (const CancelledError&) {
        throw TimeoutError();
    } catch (...) {
        // Something else, in answer to the cancel: it goes on as it is.
    }
}

void Timeout::leave() noexcept {
    detail::stop_timer(*this);
    switch (state_.load()) {
        case State::expiring:
            detail::uncancel_task(task_);
            state_.store(State::expired);
            break;
        case State::active:
            state_.store(State::exited);
            break;
        default:
            break;
    }
}

}  // namespace weft
