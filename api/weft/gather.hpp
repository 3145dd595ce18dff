// gather: run awaitables side by side, get their values in the order of the arguments.
//
// Plain gather never runs a child on the waiter's stack, since it may go on before its children (at the first
// failure). With return_exceptions it cannot, so children that have not started run inline.
#pragma once

#include <weft/detail/start_all.hpp>

#include <array>
#include <cstddef>
#include <iterator>
#include <ranges>
#include <source_location>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft {

/// gather's first argument when failures shall be given in place.
struct ReturnExceptions {};
inline constexpr ReturnExceptions return_exceptions{};

namespace detail {

enum class GatherMode { first_error, all };

/// Waits for n cores: until all are done or, with first_error, one has failed; then that failure is thrown.
/// A cancel cancels them all; CancelledError is thrown when they are done.
/// With at_most: the cores are tasks that are not launched yet, and so many of them shall run at once.
void gather_cores(Core* const* cores, std::size_t n, GatherMode mode, std::size_t at_most = 0,
                  Unlaunched* unlaunched = nullptr);

template <class H>
weft::Outcome<typename Awaitable<H>::result_type> outcome_of(const H& handle, bool may_take) {
    using R = typename Awaitable<H>::result_type;
    Core& core = *handle.core();
    if (core.outcome != detail::Outcome::value) {
        core.error_read.store(true);
        return weft::Outcome<R>(core.error);
    }
    if constexpr (std::is_reference_v<R>)
        return weft::Outcome<R>(std::in_place,
                                std::addressof(read_result(core, Awaitable<H>::slot(core))));
    else
        return weft::Outcome<R>(std::in_place, value_of(handle, may_take));
}

// A value is moved out of what gather itself made; a handle that the caller still has keeps its own.
template <class A>
inline constexpr bool kMayTake = !std::is_lvalue_reference_v<A> || !Handle<A>;

template <class A>
using FutureOf = std::remove_cvref_t<decltype(ensure_future(std::declval<A>(),
                                                            std::declval<std::source_location>()))>;

template <class H>
void gather_handles(const std::vector<H>& handles, GatherMode mode) {
    std::vector<Core*> cores = cores_of(handles);
    gather_cores(cores.data(), cores.size(), mode);
}
template <class H>
void gather_handles(Prepared<H>& made, GatherMode mode, AtMost bound) {
    std::vector<Core*> cores = cores_of(made.handles);
    gather_cores(cores.data(), cores.size(), mode, bound.n, &made.unlaunched);
}

template <class H>
auto values_of(const std::vector<H>& handles, bool may_take) {
    using R = typename Awaitable<H>::result_type;
    static_assert(
        !std::is_reference_v<R>,
        "weft::gather: a range of awaitables that give references has no std::vector of results; "
        "give pointers or std::reference_wrapper");
    std::vector<ValueOf<R>> values;
    values.reserve(handles.size());
    for (const H& handle : handles) values.push_back(value_of(handle, may_take));
    return values;
}

template <class H>
auto outcomes_of(const std::vector<H>& handles, bool may_take) {
    std::vector<weft::Outcome<typename Awaitable<H>::result_type>> outcomes;
    outcomes.reserve(handles.size());
    for (const H& handle : handles) outcomes.push_back(outcome_of(handle, may_take));
    return outcomes;
}

}  // namespace detail

/// Runs all side by side and waits for all: auto [a, b] = gather(f(1), g()). void gives std::monostate.
///
/// At the first failure it throws that, at once; the others run on (their later errors count as read). Cancelled
/// here, all are cancelled and waited for, then CancelledError. An awaitable given twice runs once. UsageError
/// outside of a task.
template <class... A>
    requires((detail::Startable<A> || detail::Handle<A>) && ...)
auto gather(A&&... awaitables) {
    lowlevel::require_task("gather");
    [[maybe_unused]] auto where = std::source_location::current();
    // Braces: children start in the order of the arguments.
    std::tuple<detail::FutureOf<A>...> handles{
        detail::ensure_future(std::forward<A>(awaitables), where)...};
    return std::apply(
        [](auto&... handle) {
            std::array<detail::Core*, sizeof...(A)> cores{handle.core()...};
            detail::gather_cores(cores.data(), cores.size(), detail::GatherMode::first_error);
            return std::tuple<detail::ValueOf<
                typename detail::Awaitable<std::remove_cvref_t<decltype(handle)>>::result_type>...>{
                detail::value_of(handle, detail::kMayTake<A>)...};
        },
        handles);
}

/// The same; each result is an Outcome: the value, or the error in its place.
template <class... A>
    requires((detail::Startable<A> || detail::Handle<A>) && ...)
auto gather(ReturnExceptions, A&&... awaitables) {
    lowlevel::require_task("gather");
    [[maybe_unused]] auto where = std::source_location::current();
    // Braces: children start in the order of the arguments.
    std::tuple<detail::FutureOf<A>...> handles{
        detail::ensure_future(std::forward<A>(awaitables), where)...};
    return std::apply(
        [](auto&... handle) {
            std::array<detail::Core*, sizeof...(A)> cores{handle.core()...};
            detail::gather_cores(cores.data(), cores.size(), detail::GatherMode::all);
            return std::make_tuple(detail::outcome_of(handle, detail::kMayTake<A>)...);
        },
        handles);
}

/// gather over a range of awaitables: a std::vector of values, in order.
template <detail::AwaitableRange Range>
auto gather(Range&& range, std::source_location where = std::source_location::current()) {
    lowlevel::require_task("gather");
    auto handles = detail::start_all(std::forward<Range>(range), where);
    detail::gather_handles(handles, detail::GatherMode::first_error);
    return detail::values_of(handles, !detail::Handle<std::ranges::range_value_t<Range>>);
}

template <detail::AwaitableRange Range>
auto gather(ReturnExceptions, Range&& range,
            std::source_location where = std::source_location::current()) {
    lowlevel::require_task("gather");
    auto handles = detail::start_all(std::forward<Range>(range), where);
    detail::gather_handles(handles, detail::GatherMode::all);
    return detail::outcomes_of(handles, !detail::Handle<std::ranges::range_value_t<Range>>);
}

/// gather(at_most(8), range): the same over coroutine objects or callables, of which no more than that run at once.
/// One is started as one ends; at a failure those that have not been started never are.
template <detail::AwaitableRange Range>
auto gather(AtMost bound, Range&& range,
            std::source_location where = std::source_location::current()) {
    lowlevel::require_task("gather");
    auto made = detail::prepare_all(std::forward<Range>(range), where);
    detail::gather_handles(made, detail::GatherMode::first_error, bound);
    return detail::values_of(made.handles, true);
}

template <detail::AwaitableRange Range>
auto gather(AtMost bound, ReturnExceptions, Range&& range,
            std::source_location where = std::source_location::current()) {
    lowlevel::require_task("gather");
    auto made = detail::prepare_all(std::forward<Range>(range), where);
    detail::gather_handles(made, detail::GatherMode::all, bound);
    return detail::outcomes_of(made.handles, true);
}

}  // namespace weft
