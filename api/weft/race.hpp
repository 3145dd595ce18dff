// Racing attempts against each other: the first that succeeds wins ("happy eyeballs", RFC 8305).
#pragma once

#include <weft/wait.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <ranges>
#include <source_location>
#include <utility>
#include <vector>

namespace weft {

/// What staggered_race() found.
template <class R>
struct RaceResult {
    /// The value of the one that won; empty: none did.
    std::optional<detail::ValueOf<R>> winner;
    /// Its place in the range.
    std::optional<std::size_t> index;
    /// For each that was started, in order: its error (CancelledError if it was cut short), or null for the winner.
    std::vector<std::exception_ptr> exceptions;
};

namespace detail {

/// Starts attempts until one ends with a value, and ends all others before it returns or throws. `start(argument)` starts
/// the next one and keeps it alive, or gives null. The place of the winner.
std::optional<std::size_t> race(Core* (*start)(void* argument), void* argument, TimeLimit delay);

}  // namespace detail

/// Starts the first of a range of coroutine objects or callables, and the next when `delay` has passed or the one before
/// has failed; the first that gives a value wins, and the others are cancelled and waited for
/// (asyncio.staggered.staggered_race). Without a delay, the next one is started only when the one before has failed.
///
/// No failure is thrown: they are in the result. Cancelled here, all are cancelled and waited for, then CancelledError.
/// UsageError outside of a task.
template <detail::AwaitableRange Range>
auto staggered_race(Range&& attempts, TimeLimit delay = no_timeout,
                    std::source_location where = std::source_location::current()) {
    lowlevel::require_task("staggered_race");
    static_assert(detail::Startable<std::ranges::range_value_t<Range>>,
                  "weft::staggered_race needs coroutine objects or callables: a task runs already");
    using H = detail::HandleOf<Range>;
    using R = typename H::result_type;
    std::vector<H> tasks;
    auto next = std::ranges::begin(attempts);
    auto start = [&]() -> detail::Core* {
        if (next == std::ranges::end(attempts)) return nullptr;
        auto&& attempt = *next;
        tasks.push_back(create_task(detail::take_element<Range>(attempt), where));
        ++next;
        return tasks.back().core();
    };
    RaceResult<R> result;
    result.index = detail::race(
        [](void* argument) { return (*static_cast<decltype(start)*>(argument))(); }, &start, delay);
    for (const H& task : tasks)
        result.exceptions.push_back(task.cancelled() ? task.core()->error : task.exception());
    if (result.index) result.winner.emplace(detail::value_of(tasks[*result.index], true));
    return result;
}

}  // namespace weft
