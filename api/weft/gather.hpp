// gather: run awaitables side by side, get their values in the order of the arguments.
//
// Plain gather never runs a child on the waiter's stack, since it may go on before its children (at the first
// failure). With return_exceptions it cannot, so children that have not started run inline.
#pragma once

#include <weft/future.hpp>

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
void gather_cores(Core* const* cores, std::size_t n, GatherMode mode);

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

template <class Range>
concept AwaitableRange = std::ranges::input_range<Range>;

template <class Range>
auto start_all(Range&& range, std::source_location where) {
    using Element = std::ranges::range_value_t<Range>;
    using H = std::remove_cvref_t<decltype(ensure_future(std::declval<Element&&>(), where))>;
    std::vector<H> handles;
    if constexpr (std::ranges::sized_range<Range>) handles.reserve(std::ranges::size(range));
    for (auto&& element : range) {
        if constexpr (Handle<Element>)
            handles.push_back(ensure_future(element, where));
        else
            handles.push_back(ensure_future(std::move(element), where));
    }
    return handles;
}

template <class H>
std::vector<Core*> cores_of(const std::vector<H>& handles) {
    std::vector<Core*> cores;
    cores.reserve(handles.size());
    for (const H& handle : handles) cores.push_back(handle.core());
    return cores;
}

template <class R>
inline constexpr bool kCanBeInVector = !std::is_reference_v<R>;

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
    std::vector<detail::Core*> cores = detail::cores_of(handles);
    detail::gather_cores(cores.data(), cores.size(), detail::GatherMode::first_error);
    using H = typename decltype(handles)::value_type;
    constexpr bool kTake = !detail::Handle<std::ranges::range_value_t<Range>>;
    static_assert(
        detail::kCanBeInVector<typename detail::Awaitable<H>::result_type>,
        "weft::gather: a range of awaitables that give references has no std::vector of results; "
        "give pointers or std::reference_wrapper");
    std::vector<detail::ValueOf<typename detail::Awaitable<H>::result_type>> values;
    values.reserve(handles.size());
    for (const H& handle : handles) values.push_back(detail::value_of(handle, kTake));
    return values;
}

template <detail::AwaitableRange Range>
auto gather(ReturnExceptions, Range&& range,
            std::source_location where = std::source_location::current()) {
    lowlevel::require_task("gather");
    auto handles = detail::start_all(std::forward<Range>(range), where);
    std::vector<detail::Core*> cores = detail::cores_of(handles);
    detail::gather_cores(cores.data(), cores.size(), detail::GatherMode::all);
    using H = typename decltype(handles)::value_type;
    constexpr bool kTake = !detail::Handle<std::ranges::range_value_t<Range>>;
    std::vector<Outcome<typename detail::Awaitable<H>::result_type>> outcomes;
    outcomes.reserve(handles.size());
    for (const H& handle : handles) outcomes.push_back(detail::outcome_of(handle, kTake));
    return outcomes;
}

}  // namespace weft
