// Waiting for several tasks and futures, as they end: wait and as_completed.
//
// Unlike gather, neither of them reads a result, and neither cancels anything: not at a failure, not when time runs out,
// not when the waiter is cancelled.
#pragma once

#include <weft/detail/start_all.hpp>
#include <weft/time.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <source_location>
#include <utility>
#include <vector>

namespace weft {

/// When wait() returns; asyncio's names.
enum class ReturnWhen : std::uint8_t {
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,  ///< or when all are done; a cancel is no exception here
};
inline constexpr ReturnWhen ALL_COMPLETED = ReturnWhen::ALL_COMPLETED;
inline constexpr ReturnWhen FIRST_COMPLETED = ReturnWhen::FIRST_COMPLETED;
inline constexpr ReturnWhen FIRST_EXCEPTION = ReturnWhen::FIRST_EXCEPTION;

/// A time limit as an option: any duration, or no_timeout.
class TimeLimit {
public:
    constexpr TimeLimit(NoTimeout = no_timeout) noexcept {}
    template <class Rep, class Period>
    TimeLimit(std::chrono::duration<Rep, Period> limit) : limit_(detail::to_duration(limit)) {}
    TimePoint deadline() const noexcept { return detail::deadline_after(limit_); }

private:
    Duration limit_ = Duration::max();
};

struct WaitOptions {
    TimeLimit timeout{};
    ReturnWhen return_when = ALL_COMPLETED;
};

/// What wait() found: auto [done, pending] = wait(tasks).
template <class H>
struct WaitResult {
    std::vector<H> done;
    std::vector<H> pending;
};

namespace detail {

/// What can be waited for as it is: a task, with its type or without, or a future.
template <class H>
concept Waitable = requires(const std::remove_cvref_t<H>& handle) { handle.core_or_throw(); };

/// Which of them come for the first time.
std::vector<bool> first_of_each(const std::vector<Core*>& cores);
/// std::invalid_argument if there are none.
void wait_cores(const std::vector<Core*>& cores, ReturnWhen return_when, TimePoint deadline);

}  // namespace detail

/// Waits until all of a range of tasks or futures are done, or the first one is, or one has failed, or time is up.
///
/// Gives those that are done and those that are not, in the order given, each once; reads no result. Never throws
/// TimeoutError. Cancelled here: CancelledError, and they go on. UsageError outside of a task; std::invalid_argument if
/// there are none, or a bad return_when. Cost: a node in each of them, and one park.
template <std::ranges::input_range Range>
auto wait(Range&& range, const WaitOptions& options = {}) {
    using H = std::ranges::range_value_t<Range>;
    static_assert(detail::Waitable<H>,
                  "weft::wait takes tasks or futures: give coroutines to create_task first");
    lowlevel::require_task("wait");
    std::vector<detail::Core*> cores;
    std::vector<H> handles;
    for (const H& handle : range) {
        cores.push_back(&handle.core_or_throw());
        handles.push_back(handle);
    }
    std::vector<bool> first = detail::first_of_each(cores);
    detail::wait_cores(cores, options.return_when, options.timeout.deadline());
    WaitResult<H> result;
    for (std::size_t i = 0; i < handles.size(); ++i)
        if (first[i])
            (handles[i].done() ? result.done : result.pending).push_back(std::move(handles[i]));
    return result;
}
template <std::ranges::input_range Range>
auto wait(Range&& range, ReturnWhen return_when) {
    return wait(std::forward<Range>(range), WaitOptions{.return_when = return_when});
}
template <class H>
auto wait(std::initializer_list<H> handles, const WaitOptions& options = {}) {
    return wait(std::vector<H>(handles), options);
}
template <class H>
auto wait(std::initializer_list<H> handles, ReturnWhen return_when) {
    return wait(std::vector<H>(handles), WaitOptions{.return_when = return_when});
}

struct AsCompletedOptions {
    TimeLimit timeout{};      ///< for all of them together
    std::size_t at_most = 0;  ///< how many may run at once; 0: any number
};

namespace detail {

/// The order in which cores end.
class Completions {
public:
    /// With at_most: tasks that are not launched yet, and so many of them shall run at once.
    Completions(std::vector<Core*> cores, TimePoint deadline, std::size_t at_most);
    ~Completions();
    Completions(const Completions&) = delete;
    Completions& operator=(const Completions&) = delete;
    /// Waits for the next; nothing: there is none left. TimeoutError, CancelledError.
    std::optional<std::size_t> next();

private:
    class Order;
    std::vector<Core*> cores_;
    TimePoint deadline_;
    std::shared_ptr<Order> order_;
};

}  // namespace detail

/// What as_completed() gives: a range of handles, to be gone through once, by the task that made it.
template <class H>
class AsCompleted {
public:
    class Iterator {
    public:
        using value_type = H;
        using difference_type = std::ptrdiff_t;
        explicit Iterator(AsCompleted& from) : from_(&from), now_(from.next()) {}
        const H& operator*() const noexcept { return *now_; }
        const H* operator->() const noexcept { return &*now_; }
        Iterator& operator++() {
            now_ = from_->next();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const noexcept { return !now_.has_value(); }

    private:
        AsCompleted* from_;
        std::optional<H> now_;
    };

    AsCompleted(std::vector<H> handles, const AsCompletedOptions& options)
        : handles_(std::move(handles)),
          completions_(detail::cores_of(handles_), options.timeout.deadline(), 0) {}
    AsCompleted(detail::Prepared<H> made, const AsCompletedOptions& options)
        : handles_(std::move(made.handles)),
          completions_(detail::cores_of(handles_), options.timeout.deadline(), options.at_most) {
        made.unlaunched.release();
    }

    /// Waits for the first.
    Iterator begin() { return Iterator(*this); }
    std::default_sentinel_t end() const noexcept { return {}; }
    /// Waits for the next one to end; empty: there is none left. Once time is up, TimeoutError for what has not ended.
    /// Cancelled here: CancelledError, and they go on.
    std::optional<H> next() {
        std::optional<std::size_t> index = completions_.next();
        if (!index) return std::nullopt;
        return handles_[*index];
    }

private:
    std::vector<H> handles_;
    detail::Completions completions_;
};

/// Starts a range of awaitables, and gives them as they end: for (auto&& task : as_completed(jobs)) use(task.result()).
///
/// Gives handles: those that were given, and of coroutines and callables the tasks made of them; each once. When time
/// is up, the next step throws TimeoutError, and what runs goes on. With at_most, as many run at once, and what has
/// not been started when the loop is left never is. UsageError outside of a task.
template <detail::AwaitableRange Range>
auto as_completed(Range&& range, const AsCompletedOptions& options = {},
                  std::source_location where = std::source_location::current()) {
    lowlevel::require_task("as_completed");
    using Element = std::ranges::range_value_t<Range>;
    if constexpr (detail::Waitable<Element>) {
        std::vector<Element> given;
        for (const Element& handle : range) {
            handle.core_or_throw();
            given.push_back(handle);
        }
        std::vector<bool> first = detail::first_of_each(detail::cores_of(given));
        std::vector<Element> handles;
        for (std::size_t i = 0; i < given.size(); ++i)
            if (first[i]) handles.push_back(std::move(given[i]));
        return AsCompleted<Element>(std::move(handles), options);
    } else {
        using H = detail::HandleOf<Range>;
        if (options.at_most == 0)
            return AsCompleted<H>(detail::start_all(std::forward<Range>(range), where), options);
        return AsCompleted<H>(detail::prepare_all(std::forward<Range>(range), where), options);
    }
}

}  // namespace weft
