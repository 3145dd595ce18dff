// Entering weft: run, Runner, Runtime.
#pragma once

#include <weft/context_var.hpp>
#include <weft/detail/engine.hpp>
#include <weft/detail/offload_call.hpp>
#include <weft/time.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft {

/// What an exception handler is told.
struct ExceptionContext {
    /// A sentence: "exception of task 'x' was never retrieved". Shorter, or empty, where no memory is left for it.
    std::string message;
    std::exception_ptr exception;  ///< may be null
    AnyTask task;                  ///< may be empty
};

/// A callable as void(const ExceptionContext&), or nothing. Copies share it. It runs on whatever thread met the error,
/// under no lock; it must not throw.
class ExceptionHandler {
public:
    ExceptionHandler() noexcept = default;
    template <class F>
        requires std::is_invocable_v<F&, const ExceptionContext&>
    ExceptionHandler(F f)
        : object_(std::make_shared<F>(std::move(f))),
          call_([](void* object, const ExceptionContext& context) {
              (*static_cast<F*>(object))(context);
          }) {}

    explicit operator bool() const noexcept { return call_ != nullptr; }
    void operator()(const ExceptionContext& context) const { call_(object_.get(), context); }

private:
    std::shared_ptr<void> object_;
    void (*call_)(void*, const ExceptionContext&) = nullptr;
};

namespace detail {

void require_no_task(const char* what);
[[noreturn]] void throw_keyboard_interrupt();
/// Blocks a thread or waits in a task; TimeoutError at the deadline.
void wait_for_core(Core& core, TimePoint deadline);

}  // namespace detail

/// A yes or no of RunOptions: what the program says or, where it says nothing, the environment.
class Switch {
public:
    constexpr Switch(bool on) noexcept : on_(on) {}
    static Switch from_environment(const char* name) noexcept;
    constexpr operator bool() const noexcept { return on_; }
    constexpr bool said_by_program() const noexcept { return !from_environment_; }

private:
    bool on_;
    bool from_environment_ = false;
};

/// How the workers and the arena (to_arena) of a runtime share RunOptions::cores. No one takes a core from code that runs.
enum class CoreBudget : std::uint8_t {
    /// Each as if the other were not there.
    off,
    /// While the threads at work in the arena and the workers that are awake are more than the cores, a worker with nothing to do
    /// sleeps at once; else it looks around for 20 us first, since a wake takes as long.
    yielding,
    /// And the arena has no more threads than the busy workers leave cores, but one at least: a hundred times a second it is
    /// told how many, and a thread too many is parked when it has done what it holds. Costs a thread that does this, and two
    /// looks at the clock whenever a worker sleeps.
    strict,
};

/// How a runtime is made. What the program sets wins over the environment, which sets the defaults.
struct RunOptions {
    /// Threads that run tasks; 0: WEFT_WORKERS, or one for each core that the process may use (affinity mask and
    /// cgroup quota). 1 promises that nothing else runs between two waits.
    unsigned workers = 0;
    /// asyncio's own order: one worker (more is std::invalid_argument), first in first out, nothing started out of
    /// turn.
    Switch strict = Switch::from_environment("WEFT_STRICT");
    /// Looks for mistakes that only cost later, and names them on stderr: docs/reference.md lists them.
    Switch debug = Switch::from_environment("WEFT_DEBUG");
    /// Bytes of a task's stack: address space; memory is used as it is touched.
    std::size_t stack_size = std::size_t{256} * 1024;
    std::size_t main_stack_size = std::size_t{8} * 1024 * 1024;
    /// The budget of cores that workers, arena and pools share; 0: all there are.
    unsigned cores = 0;
    /// So much higher than the workers' is the nice value of the arena's threads (to_arena), 0 to 19: they give way to the
    /// workers, and to what else runs on the machine. A weight and no more: a lock that such a thread holds (malloc's, yours) is
    /// held for longer while the cores are taken. oneTBB's threads are the process's, and keep the value in arenas that are not
    /// weft's; without the privilege to raise a priority (CAP_SYS_NICE) in later ones of weft's too.
    int arena_nice = 0;
    CoreBudget core_budget = CoreBudget::yielding;
    /// How long the runtime's end waits for what abandon_on_cancel has left in threads. After ten seconds it names those calls
    /// on stderr; after this it goes on without them, and their threads are left to themselves.
    std::chrono::nanoseconds abandoned_grace = std::chrono::seconds(300);
    /// Told of errors that nobody reads; the default prints a line on stderr.
    ExceptionHandler exception_handler{};
    /// How long a cancelled task may take to end, when all are ended, before it is cancelled again and named.
    std::chrono::nanoseconds shutdown_grace = std::chrono::seconds(10);
    /// Debug mode: what a task may run without waiting before it is named (asyncio's slow_callback_duration).
    std::chrono::nanoseconds slow_step = std::chrono::milliseconds(100);
};

/// The handle of work submitted from outside a runtime. result() blocks a plain thread, and waits in a task. Any
/// thread; shared.
template <class R>
class ConcurrentFuture {
    static constexpr bool kMovesOut =
        std::is_void_v<R> || std::is_reference_v<R> || std::is_move_constructible_v<R>;

public:
    ConcurrentFuture() noexcept = default;
    explicit ConcurrentFuture(Task<R> task) noexcept : task_(std::move(task)) {}

    /// Waits for the value; throws the error. Of a temporary, as in runtime.submit(f).result(), the value is moved out, where
    /// it can be: copies of the future have none then.
    decltype(auto) result() const& {
        wait(lowlevel::kNever);
        return task_.result();
    }
    R result() &&
        requires kMovesOut
    {
        wait(lowlevel::kNever);
        return take();
    }
    /// The same with a limit; TimeoutError, and the work goes on.
    template <class Rep, class Period>
    decltype(auto) result(std::chrono::duration<Rep, Period> limit) const& {
        wait(detail::deadline_after(detail::to_duration(limit)));
        return task_.result();
    }
    template <class Rep, class Period>
    R result(std::chrono::duration<Rep, Period> limit) &&
        requires kMovesOut
    {
        wait(detail::deadline_after(detail::to_duration(limit)));
        return take();
    }
    bool cancel(const std::string& message = {}) const { return task_.cancel(message); }
    bool done() const noexcept { return task_.done(); }
    bool cancelled() const noexcept { return task_.cancelled(); }
    std::exception_ptr exception() const { return task_.exception(); }

private:
    void wait(TimePoint deadline) const;
    R take() {
        auto& core = static_cast<detail::TaskCore&>(*task_.core());
        return detail::take_result(core, detail::result_of<R>(core));
    }
    Task<R> task_;
};

class Runtime;
class Runner;

/// The runtime whose task this is. UsageError outside of one.
Runtime& current_runtime();

/// Workers in threads of their own, for programs that own main. Several may live in one process.
class Runtime {
public:
    /// std::invalid_argument for options that cannot be, std::system_error where threads cannot be had.
    explicit Runtime(const RunOptions& options = {});
    /// As shutdown() without a deadline.
    ~Runtime();
    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;

    /// Starts a task from any thread (asyncio's run_coroutine_threadsafe). UsageError after shutdown.
    template <detail::Startable A>
    auto submit(A&& awaitable, std::source_location where = std::source_location::current()) {
        using R = detail::StartResult<A>;
        require_open("Runtime::submit");
        detail::TaskCore& core = detail::make_task_core<R>(std::forward<A>(awaitable), where);
        auto task = Task<R>(detail::CoreRef::adopt(core));
        launch(core, "Runtime::submit");
        return ConcurrentFuture<R>(std::move(task));
    }
    /// Calls f soon in a worker, from any thread (asyncio's call_soon_threadsafe). UsageError after shutdown.
    template <std::invocable F>
    void post(F&& f, std::source_location where = std::source_location::current()) {
        require_open("Runtime::post");
        detail::TaskCore& core = detail::make_task_core<void>(std::forward<F>(f), where);
        core.is_callback = true;
        detail::drop_ref(
            core);  // no handle: the runtime's reference is the last, so that it hears of an error
        launch(core, "Runtime::post");
    }
    /// Cancels what runs, waits until all has ended or the deadline, stops the workers. True: all had ended; else
    /// what remains is named on stderr. Blocks this thread; not from a task of this runtime (UsageError). Once.
    bool shutdown(TimePoint deadline = lowlevel::kNever);
    template <class Rep, class Period>
    bool shutdown(std::chrono::duration<Rep, Period> limit) {
        return shutdown(detail::deadline_after(detail::to_duration(limit)));
    }

    unsigned workers() const noexcept;
    /// What the event loop asks the kernel by: "epoll", or "io_uring" where WEFT_POLLER=io_uring asked for it and it can be
    /// had.
    const char* poller() const noexcept;
    /// How many tasks have ended with a value though they were cancelled and nobody took that back (uncancel): a
    /// `catch (...)` may have swallowed it. Any thread.
    std::size_t swallowed_cancels() const noexcept;
    /// What the threads behind to_thread, and the arena behind to_arena, have done for this runtime; files and subprocesses use
    /// the threads too. Any thread. std::bad_alloc, as they are made with the first question.
    detail::ExecutorFigures thread_figures() const;
    detail::ExecutorFigures arena_figures() const;
    /// All its tasks that are not done, from any thread. A snapshot; costs a walk over all of them.
    std::vector<AnyTask> all_tasks() const;
    rt::Scheduler& scheduler() const noexcept { return *scheduler_; }

private:
    friend class Runner;
    friend Runtime& current_runtime();
    enum class Entry { own_threads, callers_thread };
    Runtime(const RunOptions& options, Entry entry);

    /// UsageError after shutdown: before anything is moved out of the caller's hands.
    void require_open(const char* what);
    /// UsageError after shutdown; then the task is closed, unrun.
    void launch(detail::TaskCore& task, const char* what);

    /// While one lives, which is never while code of the user's runs, the runtime is open, or on its way to shutdown() but waiting for it: so a task is either
    /// launched before shutdown() looks for what to end, or refused. Both sides seq_cst: one writes its word and
    /// then reads the other's.
    class Submission {
    public:
        Submission(Runtime& runtime, const char* what);
        ~Submission() { runtime_.submissions_.fetch_sub(1); }
        Submission(const Submission&) = delete;
        Submission& operator=(const Submission&) = delete;

    private:
        Runtime& runtime_;
    };

    RunOptions options_;
    detail::SchedulerPtr scheduler_;
    std::atomic<bool> open_{true};
    std::atomic<unsigned> submissions_{0};
    bool has_survivors_ =
        false;  // tasks that did not end refer to the scheduler: it is kept for ever
};

/// Several runs of a main function in one runtime, on the calling thread and, with more workers, on others
/// (asyncio.Runner). Context variables that one run sets are there in the next.
class Runner {
public:
    explicit Runner(const RunOptions& options = {});
    /// close()
    ~Runner();

    /// Runs a coroutine object or callable as a task until it is done; gives its value or throws its error.
    /// On the process's main thread, where SIGINT has its default action, the first SIGINT cancels the task, and if
    /// that is what ends it KeyboardInterrupt is thrown; a second SIGINT ends the process.
    /// UsageError inside a task (the coroutine is not consumed), or after close().
    template <detail::Startable A>
    auto run(A&& main, std::source_location where = std::source_location::current())
        -> detail::StartResult<A> {
        using R = detail::StartResult<A>;
        require_can_run();
        detail::TaskCore& core = detail::make_task_core<R>(std::forward<A>(main), where);
        Task<R> task(detail::CoreRef::adopt(core));
        run_main(core);
        return detail::take_result(core, detail::result_of<R>(core));
    }
    /// Cancels what is left, waits for it, ends the threads. Twice is fine.
    void close();
    Runtime& runtime() noexcept { return *runtime_; }

private:
    void require_can_run() const;
    void run_main(detail::TaskCore& core);
    void prepare(detail::TaskCore& core);

    std::unique_ptr<Runtime> runtime_;
    Context context_;
};

/// Runs main, a coroutine object or a callable, to its end and gives its value or throws its error (asyncio.run).
///
/// What still runs then is cancelled and waited for. KeyboardInterrupt as Runner::run. The calling thread is the first worker. UsageError inside a
/// task; std::invalid_argument for options that cannot be.
template <detail::Startable A>
auto run(A&& main, const RunOptions& options = {},
         std::source_location where = std::source_location::current()) -> detail::StartResult<A> {
    detail::require_no_task("run");
    Runner runner(options);
    using R = detail::StartResult<A>;
    if constexpr (std::is_void_v<R>) {
        runner.run(std::forward<A>(main), where);
        runner.close();
    } else {
        R value = runner.run(std::forward<A>(main), where);
        runner.close();
        return static_cast<R&&>(value);
    }
}

template <class R>
void ConcurrentFuture<R>::wait(TimePoint deadline) const {
    detail::wait_for_core(task_.core_or_throw(), deadline);
}

/// All tasks of this runtime that are not done. A snapshot; costs a walk over all of them.
std::vector<AnyTask> all_tasks();

}  // namespace weft
