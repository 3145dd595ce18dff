// Executors: pools of one's own behind one shape, and map, which keeps so many calls ahead of who takes the results.
//
//     weft::ThreadPool disk({.threads = 4, .name = "disk"});
//     std::string text = disk.run(read_all, path);                   // as to_thread, in these threads
//     std::string same = weft::run_in_executor(disk, read_all, path);  // asyncio's word for it
//     for (Digest digest : disk.map(digest_of, paths)) ...           // in order, a few calls ahead
//
// ThreadPool and Arena are here, ProcessPool is in <weft/process.hpp>. to_thread and to_arena use executors that each runtime
// has of its own.
#pragma once

#include <weft/offload.hpp>
#include <weft/task.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>

namespace weft {

using ExecutorFigures = detail::ExecutorFigures;

namespace detail {

struct DoNothing {
    void operator()() const noexcept {}
};

/// How many map() keeps under way where it was asked for so many; 0: it was not.
std::size_t calls_ahead(std::size_t wanted) noexcept;
/// Waits until the task is done, whatever comes; its error is nobody's any more.
void wait_for_end(const AnyTask& task) noexcept;

}  // namespace detail

/// What runs functions elsewhere: executor.run(f, args...) waits, in a task, and gives f's value or throws its exception.
template <class E>
concept Executor = requires(E& executor, const detail::DoNothing& f) { executor.run(f); };

/// Runs f(args...) there, waits and gives its value (asyncio's loop.run_in_executor, which gives a future: for that,
/// create_task). What cancels it, what it throws and what f may be is the executor's: see its run().
template <Executor E, class F, class... Args>
decltype(auto) run_in_executor(E& executor, F&& f, Args&&... args) {
    return executor.run(std::forward<F>(f), std::forward<Args>(args)...);
}

struct MapOptions {
    /// Calls that are under way, or whose results wait to be taken; 0: two for each core.
    std::size_t ahead = 0;
};

/// The results of f(input) for each input, in the inputs' order: a range to be walked through once, in a task. Inputs are
/// taken, and calls begun, as results are taken: never more than MapOptions::ahead are under way or waiting, so a slow consumer
/// holds the producer back (Python's Executor.map with a buffersize).
///
/// An exception of f's comes when it is that result's turn; then the range is at its end. Whatever ends the walk early (that,
/// `break`, a cancel), the calls under way are cancelled and waited for, as the executor does it. It refers to the executor and
/// to the inputs, where those are an lvalue.
template <class E, class F, std::ranges::view V>
class MapResults {
    using Input = std::ranges::range_value_t<V>;
    using Result =
        std::decay_t<decltype(std::declval<E&>().run(std::declval<F&>(), std::declval<Input>()))>;
    static_assert(!std::is_void_v<Result>, "weft: map needs a function that gives a value");

public:
    MapResults(E& executor, F f, V inputs, MapOptions options)
        : executor_(executor),
          f_(std::move(f)),
          inputs_(std::move(inputs)),
          ahead_(detail::calls_ahead(options.ahead)) {}
    MapResults(const MapResults&) = delete;
    MapResults& operator=(const MapResults&) = delete;
    ~MapResults() { stop(); }

    class iterator {
    public:
        using value_type = Result;
        using difference_type = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;
        explicit iterator(MapResults& results) noexcept : results_(&results) {}
        Result& operator*() const noexcept { return *results_->value_; }
        iterator& operator++() {
            results_->advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const noexcept { return !results_->value_; }

    private:
        MapResults* results_;
    };
    /// Begins the first calls and waits for the first result. Once.
    iterator begin() {
        next_.emplace(std::ranges::begin(inputs_));
        advance();
        return iterator(*this);
    }
    std::default_sentinel_t end() const noexcept { return {}; }

private:
    void advance() {
        value_.reset();
        try {
            while (calls_.size() < ahead_ && *next_ != std::ranges::end(inputs_)) {
                begin_call(**next_);
                ++*next_;
            }
            if (calls_.empty()) return;
            // Cancelled here, await cancels it too. In the list until it has ended, as it refers to this.
            value_.emplace(await(std::move(calls_.front())));
            calls_.pop_front();
        } catch (...) {
            stop();
            throw;
        }
    }
    template <class I>
    void begin_call(I&& input) {
        calls_.emplace_back();  // first: a task that is in no list would not be waited for
        try {
            calls_.back() =
                create_task([this, own = Input(std::forward<I>(input))]() mutable -> Result {
                    return executor_.run(f_, std::move(own));
                });
        } catch (...) {
            calls_.pop_back();
            throw;
        }
    }
    /// They refer to what goes with this.
    void stop() noexcept {
        for (const Task<Result>& call : calls_) call.cancel();
        for (const Task<Result>& call : calls_) detail::wait_for_end(call);
        calls_.clear();
    }

    E& executor_;
    F f_;
    V inputs_;
    std::size_t ahead_;
    std::optional<std::ranges::iterator_t<V>> next_;
    std::deque<Task<Result>> calls_;
    std::optional<Result> value_;
};

/// See MapResults. For an executor of your own; weft's have it as a member.
template <Executor E, class F, std::ranges::viewable_range R>
auto map_in_executor(E& executor, F f, R&& inputs, MapOptions options = {}) {
    return MapResults<E, F, std::views::all_t<R>>(
        executor, std::move(f), std::views::all(std::forward<R>(inputs)), options);
}

struct ThreadPoolOptions {
    /// At most; they come as calls need them. 0: cores + 4, and 32 at most.
    std::size_t threads = 0;
    /// What errors call it, and its threads, with a number: Linux shows the first ten characters.
    std::string name = "weft-pool";
    /// A thread that has had nothing to do for so long ends.
    std::chrono::nanoseconds idle_time = std::chrono::seconds(10);
    /// Calls that may wait for a thread; one more is refused with QueueFull. 0: as many as there are.
    std::size_t queue_max = 0;
};

/// Threads of one's own for calls that block. Any number of runtimes and tasks may share it; it must outlive its calls.
class ThreadPool {
public:
    /// Starts nothing before the first call.
    explicit ThreadPool(ThreadPoolOptions options = {});
    /// As shutdown(). In a task it waits, shielded; else it blocks the thread. In a forked child it waits for nothing.
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    /// As to_thread(f, args...), in these threads. QueueFull beyond the bound, Error after a shutdown.
    template <class F, class... Args>
        requires detail::Offloadable<F, Args...>
    auto run(F&& f, Args&&... args) -> detail::OffloadResult<F, Args...> {
        return detail::call_elsewhere(
            [this](detail::OffloadCall& call) { detail::run_on_thread(call, *threads_); },
            std::forward<F>(f), std::forward<Args>(args)...);
    }
    /// As to_thread(abandon_on_cancel, f, args...). The pool's end waits for what was left behind.
    template <class F, class... Args>
        requires detail::Offloadable<std::decay_t<F>, std::decay_t<Args>...>
    auto run(AbandonOnCancel, F&& f, Args&&... args)
        -> detail::OffloadResult<std::decay_t<F>, std::decay_t<Args>...> {
        return detail::call_elsewhere_by_values(
            [this](detail::OffloadCall& call) { detail::run_on_thread(call, *threads_); },
            std::forward<F>(f), std::forward<Args>(args)...);
    }
    template <class F, std::ranges::viewable_range R>
    auto map(F f, R&& inputs, MapOptions options = {}) {
        return map_in_executor(*this, std::move(f), std::forward<R>(inputs), options);
    }

    /// Refuses calls from here on, and returns when the threads have been joined: with `kill` those that have not begun fail with
    /// Error, and those that run are asked to stop (their stop token, checkpoint()); a function that does not listen is waited
    /// for. In a task it waits, and a cancel does not end that; else it blocks the thread. Twice is fine; in a function that it
    /// runs it would wait for itself.
    void shutdown(Shutdown how = Shutdown::drain);

    /// Any thread.
    ExecutorFigures figures() const noexcept;

private:
    std::unique_ptr<rt::Threads, detail::ThreadsDeleter> threads_;
};

struct ArenaOptions {
    /// Threads at work in it; 0: one for each core that the process may use.
    unsigned cores = 0;
    /// See RunOptions::arena_nice.
    int nice = 0;
    std::string name = "arena";
    /// Calls that may wait for a slot; one more is refused with QueueFull. 0: as many as there are. Each slot that runs no
    /// call's function counts as free for one, also while it works for another's algorithm.
    std::size_t queue_max = 0;
};

/// A oneTBB arena of one's own for data-parallel CPU work: its calls have these slots, beside those of other arenas. Any
/// number of runtimes and tasks may share it; it must outlive its calls.
class Arena {
public:
    /// std::invalid_argument for a nice value that is none, and for more cores than an int holds.
    explicit Arena(const ArenaOptions& options = {});
    /// As shutdown(). In a task it waits, shielded; else it blocks the thread. In a forked child it waits for nothing.
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    /// As to_arena(f, args...), in this arena. QueueFull beyond the bound, Error after a shutdown.
    template <class F, class... Args>
        requires detail::Offloadable<F, Args...>
    auto run(F&& f, Args&&... args) -> detail::OffloadResult<F, Args...> {
        return detail::call_elsewhere(
            [this](detail::OffloadCall& call) { detail::run_in_arena(call, *arena_, 0); },
            std::forward<F>(f), std::forward<Args>(args)...);
    }
    /// As to_arena(at_most(n), f, args...).
    template <class F, class... Args>
        requires detail::Offloadable<F, Args...>
    auto run(AtMost most, F&& f, Args&&... args) -> detail::OffloadResult<F, Args...> {
        return detail::call_elsewhere(
            [this, most](detail::OffloadCall& call) {
                detail::run_in_arena(call, *arena_, most.n);
            },
            std::forward<F>(f), std::forward<Args>(args)...);
    }
    template <class F, std::ranges::viewable_range R>
    auto map(F f, R&& inputs, MapOptions options = {}) {
        return map_in_executor(*this, std::move(f), std::forward<R>(inputs), options);
    }

    /// Refuses calls from here on, and returns when none is left: with `kill` their algorithms are cancelled, and they fail
    /// with Error. Waits as ThreadPool::shutdown does.
    void shutdown(Shutdown how = Shutdown::drain);

    /// Any thread. `threads` are its slots.
    ExecutorFigures figures() const noexcept;

private:
    std::unique_ptr<rt::Arena, detail::ArenaDeleter> arena_;
};

}  // namespace weft
