// Time: sleeping, deadlines, and the clock.
#pragma once

#include <weft/future.hpp>

#include <chrono>
#include <concepts>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft {

/// The runtime's clock: steady; virtual in a simulation. Any thread.
inline TimePoint now() noexcept { return lowlevel::now(); }

namespace detail {

[[noreturn]] void throw_not_a_number();

/// Saturates: no duration, however long, wraps around. std::invalid_argument for NaN.
template <class Rep, class Period>
Duration to_duration(std::chrono::duration<Rep, Period> d) {
    using Seconds = std::chrono::duration<long double>;
    long double seconds = Seconds(d).count();
    if (!(seconds == seconds)) throw_not_a_number();
    constexpr long double kMost = 4.0e9L;  // 126 years
    if (seconds >= kMost) return Duration::max();
    if (seconds <= -kMost) return Duration::min();
    if constexpr (std::is_integral_v<Rep> && std::ratio_greater_equal_v<Period, std::nano>)
        return std::chrono::duration_cast<Duration>(d);
    else
        return Duration(static_cast<Duration::rep>(seconds * 1.0e9L));
}

inline TimePoint deadline_after(Duration d) noexcept {
    TimePoint start = now();
    if (d >= TimePoint::max() - start) return TimePoint::max();
    return start + d;
}

void sleep_until(TimePoint deadline);

template <class T>
concept Number = std::is_arithmetic_v<T>;

template <class T>
inline constexpr bool kNeedsUnit = false;

}  // namespace detail

/// Lets everything else that is ready run first (asyncio's sleep(0)). A cancel point. UsageError outside of a task.
using lowlevel::yield;

/// Throws CancelledError if this task is to be cancelled; never waits. For code that computes for long without waiting. In
/// a function that a task waits for elsewhere (to_thread, to_arena, and the bodies of oneTBB's algorithms in it) it asks
/// whether that call is to stop. Elsewhere it does nothing. Cost: a load or two.
using lowlevel::checkpoint;

/// Waits for that long; zero or less is yield(). A cancel point. UsageError outside of a task. std::invalid_argument
/// for NaN.
/// Cost: one park and one timer, no system call.
template <class Rep, class Period>
void sleep(std::chrono::duration<Rep, Period> duration) {
    lowlevel::require_task("sleep");
    Duration d = detail::to_duration(duration);
    if (d <= Duration::zero())
        yield();
    else
        detail::sleep_until(detail::deadline_after(d));
}
template <detail::Number T>
void sleep(T) {
    static_assert(detail::kNeedsUnit<T>,
                  "weft::sleep needs a unit: weft::sleep(1s), weft::sleep(20ms)");
}
/// Waits until a time on weft::now()'s clock.
inline void sleep_until(TimePoint deadline) {
    lowlevel::require_task("sleep_until");
    detail::sleep_until(deadline);
}

/// For timeout_at and Timeout::reschedule: no deadline.
struct NoTimeout {};
inline constexpr NoTimeout no_timeout{};

/// The time limit of the timeout() block that it is given to.
class Timeout : private detail::TimerNode, private detail::ScopeNode {
public:
    Timeout(const Timeout&) = delete;
    Timeout& operator=(const Timeout&) = delete;

    /// Moves the deadline. UsageError once it has expired or the block has ended.
    void reschedule(TimePoint when);
    void reschedule(NoTimeout) { reschedule(lowlevel::kNever); }
    /// The deadline; empty: none.
    std::optional<TimePoint> when() const noexcept;
    /// Whether it has run out (and cancelled the block).
    bool expired() const noexcept;

private:
    template <class F>
    friend decltype(auto) timeout_at(TimePoint, F&&);
    enum class State : std::uint8_t { active, expiring, expired, exited };

    explicit Timeout(TimePoint when);
    ~Timeout();
    void arm() noexcept;
    static void on_fire(detail::TimerNode& node) noexcept;
    /// The block has ended by an exception, which is being handled: throws TimeoutError in its place if it is ours.
    void leave_by_exception();
    void leave() noexcept;

    detail::TaskCore& task_;
    const detail::CancelState before_;
    std::atomic<State> state_{State::active};
};

/// Runs block() or block(Timeout&) with a deadline; gives what it gives.
///
/// When time runs out, a CancelledError is thrown where the block waits, and comes out here as TimeoutError. A block
/// that never waits is not interrupted. A cancel from outside stays a CancelledError. UsageError outside of a task.
template <class F>
decltype(auto) timeout_at(TimePoint when, F&& block) {
    lowlevel::require_task("timeout");
    Timeout limit(when);
    try {
        if constexpr (std::is_invocable_v<F, Timeout&>)
            return std::forward<F>(block)(limit);
        else
            return std::forward<F>(block)();
    } catch (...) {
        limit.leave_by_exception();
        throw;
    }
}
template <class F>
decltype(auto) timeout_at(NoTimeout, F&& block) {
    return timeout_at(lowlevel::kNever, std::forward<F>(block));
}
template <class Rep, class Period, class F>
decltype(auto) timeout(std::chrono::duration<Rep, Period> duration, F&& block) {
    return timeout_at(detail::deadline_after(detail::to_duration(duration)),
                      std::forward<F>(block));
}
template <class F>
decltype(auto) timeout(NoTimeout, F&& block) {
    return timeout_at(lowlevel::kNever, std::forward<F>(block));
}
/// When the innermost of the timeout() and wait_for() blocks that this task is in runs out, or an outer one before it;
/// empty: none will. So that what is called can pass it on, to a socket or a process. A task does not inherit the blocks
/// of the one that created it, though their end may cancel it. Empty outside of a task.
std::optional<TimePoint> current_deadline() noexcept;

template <detail::Number T, class F>
void timeout(T, F&&) {
    static_assert(detail::kNeedsUnit<T>, "weft::timeout needs a unit: weft::timeout(1s, ...)");
}

namespace detail {

/// Cancels the core and waits until it is done.
void cancel_and_wait(Core& core);
/// Waits until the core is done; a cancel ends the wait and leaves the core alone.
void wait_shielded(Core& core);

template <class A>
decltype(auto) await_any(A&& awaitable) {
    if constexpr (Handle<A> || kIsCoroutine<std::remove_cvref_t<A>>)
        return await(std::forward<A>(awaitable));
    else
        return std::forward<A>(awaitable)();
}

}  // namespace detail

/// Waits for an awaitable, or calls a callable, with a time limit; gives the value.
///
/// When time runs out, what is awaited is cancelled and its end is waited for, then TimeoutError; if it ended with a
/// value all the same, that is given. With a limit of zero or less nothing is started.
template <class A, class Rep, class Period>
decltype(auto) wait_for(A&& awaitable, std::chrono::duration<Rep, Period> duration) {
    lowlevel::require_task("wait_for");
    if (Duration d = detail::to_duration(duration); d <= Duration::zero()) {
        if constexpr (detail::Handle<A>) {
            detail::Core& core = awaitable.core_or_throw();
            if (!awaitable.done()) {
                detail::cancel_and_wait(core);
                if (awaitable.cancelled()) throw TimeoutError();
            }
            return await(std::forward<A>(awaitable));
        } else {
            if constexpr (detail::kIsCoroutine<std::remove_cvref_t<A>>) awaitable.close();
            throw TimeoutError();
        }
    }
    return timeout(duration, [&]() -> decltype(auto) {
        return detail::await_any(std::forward<A>(awaitable));
    });
}
template <class A>
decltype(auto) wait_for(A&& awaitable, NoTimeout) {
    lowlevel::require_task("wait_for");
    return detail::await_any(std::forward<A>(awaitable));
}

/// Waits for an awaitable and gives its value; a cancel here ends the wait, and the awaitable goes on.
template <class A>
decltype(auto) shield(A&& awaitable, std::source_location where = std::source_location::current()) {
    lowlevel::require_task("shield");
    auto handle = detail::ensure_future(std::forward<A>(awaitable), where);
    detail::Core& core = *handle.core();
    detail::wait_shielded(core);
    using R = typename detail::Awaitable<decltype(handle)>::result_type;
    auto& slot = detail::Awaitable<decltype(handle)>::slot(core);
    if constexpr (std::is_void_v<R> || std::is_reference_v<R>)
        return detail::read_result(core, slot);
    else if constexpr (detail::Handle<A> && std::is_copy_constructible_v<R>)
        return R(detail::read_result(core, slot));
    else
        return detail::take_result(core, slot);
}

/// While it lives, waits of this task are not ended by a cancel; the cancel is kept for the first wait after it.
/// For destructors that wait: C++ cannot tell one that runs normally from other code. Does nothing outside of a task.
class ShieldScope {
public:
    ShieldScope() noexcept : task_(detail::current_task()) {
        if (task_ != nullptr) ++task_->shield_depth;
    }
    ~ShieldScope() {
        if (task_ != nullptr) --task_->shield_depth;
    }
    ShieldScope(const ShieldScope&) = delete;
    ShieldScope& operator=(const ShieldScope&) = delete;

private:
    detail::TaskCore* task_;
};

/// While it lives, a cancel of this task is sticky, as in Trio's cancel scopes: once it has been met, every later wait in
/// the scope throws CancelledError too, until the scope ends (asyncio's cancel is met once). So code that swallows a
/// CancelledError cannot go on waiting. Clean-up that waits needs a ShieldScope. A timeout() or task group inside takes
/// its own cancel back as usual. Not copied, closed in the reverse order; UsageError outside of a task.
class StickyScope {
public:
    StickyScope();
    ~StickyScope() { detail::leave_scope(task_, node_); }
    StickyScope(const StickyScope&) = delete;
    StickyScope& operator=(const StickyScope&) = delete;

private:
    detail::TaskCore& task_;
    detail::StickyState state_;
    detail::ScopeNode node_;
};

}  // namespace weft
