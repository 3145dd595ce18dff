// select: waits for the first of several things, and does that one alone (Go's select statement).
//
//     weft::select(weft::on_get(jobs, [&](Job job) { run(job); }),
//                  weft::on(stop, [&] { stopped = true; }),
//                  weft::on_timeout(1s, [&] { report(); }));
//
// In order, and not at random as Go's: a program may say what is more urgent, and a test may rely on it. Who wants
// fairness between queues turns the order around from time to time.
#pragma once

#include <weft/detail/select_case.hpp>

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace weft {

/// Case: takes an item, as queue.get(), and calls handler(item).
template <class T, detail::Takes kTakes, class F>
    requires std::invocable<F&, T>
[[nodiscard]] auto on_get(detail::LinearQueue<T, kTakes>& queue, F handler) {
    return detail::GetCase<detail::LinearQueue<T, kTakes>, F>(queue, std::move(handler));
}
template <class T, class Compare, class F>
    requires std::invocable<F&, T>
[[nodiscard]] auto on_get(PriorityQueue<T, Compare>& queue, F handler) {
    return detail::GetCase<PriorityQueue<T, Compare>, F>(queue, std::move(handler));
}

/// Case: puts a value, as queue.put(), and calls handler(). One that is given to be moved (`std::move(value)`) is as it
/// was unless this case wins, and may be given to one case only; any other is copied when the case is made.
template <class T, detail::Takes kTakes, class V, class F = detail::NoHandler>
    requires std::constructible_from<T, V> && std::invocable<F&>
[[nodiscard]] auto on_put(detail::LinearQueue<T, kTakes>& queue, V&& value, F handler = {}) {
    using Value = std::conditional_t<std::is_same_v<V, T>, T&&, T>;
    return detail::PutCase<detail::LinearQueue<T, kTakes>, Value, F>(queue, std::forward<V>(value),
                                                                     std::move(handler));
}
template <class T, class Compare, class V, class F = detail::NoHandler>
    requires std::constructible_from<T, V> && std::invocable<F&>
[[nodiscard]] auto on_put(PriorityQueue<T, Compare>& queue, V&& value, F handler = {}) {
    using Value = std::conditional_t<std::is_same_v<V, T>, T&&, T>;
    return detail::PutCase<PriorityQueue<T, Compare>, Value, F>(queue, std::forward<V>(value),
                                                                std::move(handler));
}

/// Case: a Task, AnyTask or Future is done, however it ended; calls handler(handle) or handler(). It is not cancelled
/// by a cancel of the select, and its error is not read unless the handler does.
/// @throws  InvalidStateError for an empty handle
template <class Handle, class F = detail::NoHandler>
    requires requires(const Handle& handle) {
        { handle.core_or_throw() } -> std::same_as<detail::Core&>;
    } && (std::invocable<F&, const Handle&> || std::invocable<F&>)
[[nodiscard]] auto on(Handle handle, F handler = {}) {
    return detail::HandleCase<Handle, F>(std::move(handle), std::move(handler));
}

/// Case: the flag is set, though it may be cleared again before the handler runs; calls handler().
template <class F = detail::NoHandler>
    requires std::invocable<F&>
[[nodiscard]] auto on(Event& event, F handler = {}) {
    return detail::Handled<detail::EventCase, F>(std::move(handler), event);
}

/// Case: that long has passed since the case was made; zero or less is ready at once. Calls handler().
template <class Rep, class Period, class F = detail::NoHandler>
    requires std::invocable<F&>
[[nodiscard]] auto on_timeout(std::chrono::duration<Rep, Period> duration, F handler = {}) {
    return detail::Handled<detail::DeadlineCase, F>(
        std::move(handler), detail::deadline_after(detail::to_duration(duration)));
}
template <detail::Number T, class F = detail::NoHandler>
void on_timeout(T, F = {}) {
    static_assert(detail::kNeedsUnit<T>, "weft::on_timeout needs a unit: weft::on_timeout(1s)");
}

/// Case: no other is ready now, wherever it stands; calls handler(). A select with it never waits.
template <class F = detail::NoHandler>
    requires std::invocable<F&>
[[nodiscard]] auto on_default(F handler = {}) {
    return detail::Handled<detail::DefaultCase, F>(std::move(handler));
}

/// Waits until one of the cases can be had, does that one, calls its handler, and returns its index. All others are as
/// if they had not been given: nothing is taken, put or promised there. Of several that are ready, the first in order
/// wins, always. A queue's case stands in line as get() and put() do, at the end of it with each select.
///
/// Waits, and is a cancel point where it waits. Cancelled there, nothing was taken or put; a task or future in it is
/// left alone. The handler runs in the caller, when all others are left and no lock is held; what it throws comes out.
/// Any task; a plain thread too, and blocks, unless there is a timeout. The cases are made in the call itself.
/// @throws  QueueShutDown if a queue's case comes to nothing, as get() and put() do, in its place in the order;
///          CancelledError; what a queue's case throws (std::bad_alloc, a comparison's error); UsageError for a
///          timeout outside of a task
/// @cost    one is ready: that case's own, and a look at those before it. None: one park, and for each case a lock
///          to get in line and one to leave. Values that move by code of the user's are boxed while they wait
template <class... Cases>
    requires(sizeof...(Cases) > 0 && (std::derived_from<Cases, detail::SelectCase> && ...))
std::size_t select(Cases&&... cases) {
    detail::SelectCase* const list[] = {&cases...};
    return detail::select_among(list, sizeof...(Cases));
}

}  // namespace weft
