// What the templates of <weft/offload.hpp> and <weft/executor.hpp> tell the engine about a call that leaves the fibers.
#pragma once

#include <weft/lowlevel.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stop_token>
#include <string>

namespace weft::rt {
class Arena;
class Threads;
}  // namespace weft::rt

namespace weft {

/// What becomes of the calls that an executor has when it is shut down.
enum class Shutdown : std::uint8_t {
    drain,  ///< they come to their ends
    kill,   ///< those that have not begun end with Error; those that run are stopped, or asked to
            ///< stop where they cannot be
};

}  // namespace weft

namespace weft::detail {

struct OffloadCall {
    using Clock = std::chrono::steady_clock;

    /// Runs the user's function and keeps its value, or its exception in `error`.
    void (*run)(OffloadCall& self) noexcept = nullptr;
    /// Drops one of the two references of a call that may be abandoned; null: the caller's frame owns it.
    void (*release)(OffloadCall& self) noexcept = nullptr;

    std::exception_ptr error;
    void* context = nullptr;                  // context variables; a reference
    TimePoint deadline = lowlevel::kNever;    // of its task, as the call was made
    std::atomic<bool> stop_asked{false};      // for checkpoint()
    std::stop_source stop{std::nostopstate};  // where the function takes a token
    const void* group = nullptr;              // of its function, where that runs in an arena
    OffloadCall* next =
        nullptr;  // in the pool's queue, then of those that run; guarded by its lock
    OffloadCall* prev = nullptr;
    Clock::time_point
        since{};  // it was handed in; from its begin on: it began. Guarded by the pool's lock
    bool killed =
        false;  // by its pool's end, and not its task: so a cancel in answer is none, and what a cut-short algorithm
                // gives is no result. Guarded by the pool's lock
    bool may_queue = true;  // false: EAGAIN in `error` where no thread of the pool is free
    bool queued = false;
    bool ran = false;  // the function was called; written before done

    SpinLock lock;
    bool done = false;  // guarded by lock
    Waiter waiter;      // guarded by lock
    Waiter blocked;     // guarded by lock: the wait that its function is in, on its own thread
    rt::Scheduler* scheduler =
        nullptr;  // guarded by lock from its begin on; null: the runtime has ended without it
    std::string abandoned_by;  // guarded by lock: the name of the task
};

/// What an executor has done.
struct ExecutorFigures {
    std::size_t threads = 0;                ///< or processes, that live now
    std::size_t idle = 0;                   ///< of these
    std::size_t queued = 0;                 ///< calls that have not begun
    std::size_t running = 0;                ///< calls
    std::uint64_t calls = 0;                ///< that were handed in, and not refused
    std::uint64_t ended = 0;                ///< that ran to their end, well or by an exception
    std::uint64_t refused = 0;              ///< for a full queue
    std::uint64_t taken_back = 0;           ///< before they began: cancelled
    std::chrono::nanoseconds queue_time{};  ///< of all that began
    std::chrono::nanoseconds queue_time_max{};
    std::chrono::nanoseconds run_time{};  ///< of all that ended
    std::chrono::nanoseconds run_time_max{};
};

/// Keeps those figures that are sums. Under its owner's lock.
class OffloadMeter {
public:
    using Clock = OffloadCall::Clock;

    void handed_in(OffloadCall& call) noexcept {
        ++figures_.calls;
        ++figures_.queued;
        call.since = Clock::now();
    }
    void refused() noexcept { ++figures_.refused; }
    /// It was handed in, and could not be started.
    void not_started() noexcept {
        --figures_.calls;
        --figures_.queued;
    }
    void taken_back() noexcept {
        ++figures_.taken_back;
        --figures_.queued;
    }
    void began(OffloadCall& call) noexcept {
        Clock::time_point now = Clock::now();
        --figures_.queued;
        ++figures_.running;
        add(now - call.since, figures_.queue_time, figures_.queue_time_max);
        call.since = now;
    }
    void ended(const OffloadCall& call) noexcept {
        --figures_.running;
        ++figures_.ended;
        add(Clock::now() - call.since, figures_.run_time, figures_.run_time_max);
    }
    const ExecutorFigures& figures() const noexcept { return figures_; }

private:
    static void add(Clock::duration time, std::chrono::nanoseconds& sum,
                    std::chrono::nanoseconds& most) noexcept {
        sum += time;
        if (most < time) most = time;
    }
    ExecutorFigures figures_;
};

/// Waits until the call has run on a thread of this runtime's pool, or of that one. Throws CancelledError and nothing else;
/// the call's own error is in `error`.
void run_on_thread(OffloadCall& call);
void run_on_thread(OffloadCall& call, rt::Threads& threads);
/// The same on the runtime's oneTBB arena, or that one, with at most so many threads (0: all of them). On a thread of an
/// arena's, which is no task: it is run there and then.
void run_in_arena(OffloadCall& call, std::size_t threads_most);
void run_in_arena(OffloadCall& call, rt::Arena& arena, std::size_t threads_most);

/// As many as asyncio has: those who block use no core.
constexpr std::size_t default_threads(unsigned cores) noexcept {
    return cores + 4 < 32 ? cores + 4 : 32;
}

/// The deadline that the call running on this thread was given; kNever without one.
TimePoint deadline_of_running_call() noexcept;
/// Its stop token; one that is never asked, without a call.
std::stop_token stop_token_of_running_call() noexcept;

/// An executor of the user's own.
struct ThreadsOptions {
    std::size_t most = 0;  // threads
    std::size_t queue_max = SIZE_MAX;
    Duration idle_time = std::chrono::seconds(10);
    std::string name = "weft-io";
    bool never_destroyed = false;  // so nobody joins its threads
};
struct ThreadsDeleter {
    void operator()(rt::Threads* threads) const noexcept;
};
std::unique_ptr<rt::Threads, ThreadsDeleter> make_threads(const ThreadsOptions& options);
/// From here on calls are refused. `kill`: those that wait end with an error, those that run are asked to stop.
void close_threads(rt::Threads& threads, Shutdown how) noexcept;
/// Blocks until all threads have ended, their thread_local objects included; after close_threads().
void join_threads(rt::Threads& threads) noexcept;
ExecutorFigures figures_of(const rt::Threads& threads) noexcept;
ExecutorFigures thread_figures_of(rt::Scheduler& scheduler);

struct ArenaOptions {
    unsigned cores = 1;
    int nice = 0;
    std::string name = "arena";
    std::size_t queue_max = SIZE_MAX;
};
/// std::invalid_argument, which names whose `cores` they are, beyond what oneTBB counts: an int.
void check_cores(const char* options, unsigned cores);
struct ArenaDeleter {
    void operator()(rt::Arena* arena) const noexcept;
};
std::unique_ptr<rt::Arena, ArenaDeleter> make_arena(const ArenaOptions& options);
void close_arena(rt::Arena& arena, Shutdown how) noexcept;
/// Blocks until all its calls have ended; after close_arena().
void join_arena(rt::Arena& arena) noexcept;
ExecutorFigures figures_of(const rt::Arena& arena) noexcept;
ExecutorFigures arena_figures_of(rt::Scheduler& scheduler);

}  // namespace weft::detail
