#include <weft/detail/engine.hpp>
#include <weft/detail/offload_call.hpp>
#include <weft/time.hpp>

#include <stdexcept>

#include "detail/call_soon.hpp"

namespace weft {

namespace detail {

void throw_not_a_number() { throw std::invalid_argument("the duration is not a number (NaN)"); }

void sleep_until(TimePoint deadline) {
    auto commit = [](Waiter) noexcept { return true; };
    if (lowlevel::park({"sleep", nullptr}, commit, deadline) == lowlevel::Woken::by_cancel)
        lowlevel::throw_cancelled();
    lowlevel::checkpoint();  // asyncio: before it runs again is still in this wait
}

void cancel_and_wait(Core& core) {
    cancel_core(core, {});
    while (!core.word.done())
        if (join_core(core, lowlevel::kNever, lowlevel::Interrupt::by_cancel,
                      {"wait_for", &core}) == lowlevel::Woken::by_cancel)
            lowlevel::throw_cancelled();
}

namespace {

struct ShieldNode : JoinNode {
    Waiter waiter;
    std::atomic<TaskCore*> self{current_task()};
    rt::Scheduler* strict = nullptr;  // the waiter's runtime, if it keeps asyncio's order
};

// asyncio wakes who shields through a callback of the inner one's.
void wake_shielded(JoinNode& self, Core&) noexcept {
    auto& node = static_cast<ShieldNode&>(self);
    auto wake = [waiter = node.waiter, alive = CoreRef::share(*node.waiter.core)] {
        lowlevel::unpark(waiter);
    };
    if (node.strict == nullptr || !call_soon(*node.strict, wake)) lowlevel::unpark(node.waiter);
}

}  // namespace

void wait_shielded(Core& core) {
    ShieldNode node;
    node.notify = wake_shielded;
    node.awaiter = &node.self;
    if (options_of(*current_scheduler()).strict) node.strict = current_scheduler();
    auto commit = [&](Waiter self) noexcept {
        node.waiter = self;
        return add_joiner(core, node);
    };
    while (!core.word.done()) {
        if (lowlevel::park({"shield", &core}, commit) == lowlevel::Woken::by_cancel) {
            remove_joiner(core, node);
            lowlevel::throw_cancelled();
        }
        lowlevel::checkpoint();
    }
}

}  // namespace detail

Timeout::Timeout(TimePoint when)
    : task_(*detail::current_task()), before_(detail::enter_scope(task_, *this)) {
    limit = this;
    deadline = when;
    fire = on_fire;
    arm();
}

Timeout::~Timeout() {
    leave();
    detail::leave_scope(task_, *this);
}

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

std::optional<TimePoint> current_deadline() noexcept {
    const detail::TaskCore* task = detail::current_task();
    TimePoint earliest =
        task != nullptr ? detail::deadline_of_task(*task) : detail::deadline_of_running_call();
    if (earliest == lowlevel::kNever) return std::nullopt;
    return earliest;
}

namespace {

detail::TaskCore& task_of_scope() {
    lowlevel::require_task("StickyScope");
    return *detail::current_task();
}

}  // namespace

StickyScope::StickyScope() : task_(task_of_scope()) {
    // One inside another changes nothing.
    bool outermost = task_.scopes == nullptr || task_.scopes->sticky == nullptr;
    if (outermost) node_.sticky = &state_;
    detail::enter_scope(task_, node_);
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
    if (detail::uncancel_task(task_, before_) > before_.requests) return;
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
            // The block did not wait, or has swallowed the cancel: ours is not to be met by what comes next.
            detail::uncancel_task(task_, before_);
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
