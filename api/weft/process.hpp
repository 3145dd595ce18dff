// to_process: a function run in another process, where it may crash, leak, hang or be killed
// without harm to this one.
//
//     int answer = weft::to_process([](int x) { return x * 2; }, 21);
//     double area = weft::to_process<&mandelbrot>(view, 1000);
//     weft::ProcessPool pool{{.workers = 4}};
//     pool.run([](std::string text) { return parse(text); }, text);
//
// It waits, and returns the function's value or throws its exception, as a plain call would;
// create_task, gather and task groups overlap such calls. Arguments and results are values that
// travel (weft::Serializable, see <weft/archive.hpp>).
//
// The processes. A pool's workers are forked from a fork server: the program itself, started anew,
// which stops where main would begin. So a worker has what static constructors made, and nothing of
// what main did since: globals have their first values, there are no other threads, no files and
// sockets of the program's. Static constructors run once more, in the server; one that starts a
// thread is warned of there, since a lock that the thread holds at a fork is held for ever.
// Its standard input is empty, its standard output is the program's, and its standard error is a
// pipe: what comes out of it is written to the program's standard error before the call returns,
// and the end of it is in WorkerDied. If the program's takes nothing for a second, what workers
// write is dropped until it does. The pipe ends with the worker, also for processes it has started,
// and so do these, unless they have left its process group.
// The program must be linked with weft_main, which the CMake target weft::weft and pkg-config do.
//
// Who comes in: any task of weft's, or any plain thread, which then blocks. A call runs at most
// once, unless it is marked idempotent().
#pragma once

#include <weft/archive.hpp>
#include <weft/context_var.hpp>
#include <weft/detail/process.hpp>
#include <weft/detail/process_call.hpp>
#include <weft/error.hpp>
#include <weft/executor.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace weft {

/// The worker process ended before it answered: by a signal, by exit(), or killed by somebody.
class WorkerDied : public Error {
public:
    WorkerDied(const std::string& what, int signal, int exit_status, std::string function,
               std::string stderr_tail = {})
        : Error(what),
          function_(std::move(function)),
          stderr_tail_(std::move(stderr_tail)),
          signal_(signal),
          exit_status_(exit_status) {}

    /// That killed it; 0 if it left by itself.
    int signal() const noexcept { return signal_; }
    /// With which it left; 0 if a signal killed it.
    int exit_status() const noexcept { return exit_status_; }
    /// What it ran, as the compiler spells it.
    const std::string& function() const noexcept { return function_; }
    /// The end, of 8 KiB at most, of what it wrote to standard error during the call. The last
    /// lines of that are in what() too.
    const std::string& stderr_tail() const noexcept { return stderr_tail_; }

private:
    std::string function_;
    std::string stderr_tail_;
    int signal_;
    int exit_status_;
};

/// The function threw something that is no exception of std's. (Those come back as what they were,
/// but std::regex_error, which nobody can make with its text.)
/// An exception nested in it comes along: std::rethrow_if_nested.
class RemoteError : public Error {
public:
    RemoteError(std::string type_name, std::string message)
        : Error(message.empty() ? type_name : type_name + ": " + message),
          type_name_(std::move(type_name)),
          message_(std::move(message)) {}

    const std::string& type_name() const noexcept { return type_name_; }
    /// What its what() said; empty if it had none.
    const std::string& message() const noexcept { return message_; }

private:
    std::string type_name_;
    std::string message_;
};

/// Marks a function that may run twice without harm: one that only computes, or that leaves things
/// the same after the second time as after the first. Where its worker process dies in the middle
/// it is run again, in another one: at least once, instead of at most once.
///
///     weft::to_process(weft::idempotent([](int page) { return render(page); }), 7);
///
/// A call that has killed two workers is not run a third time, whatever
/// ProcessPoolOptions::retry says. Deaths that the call has no part in, those of the fork server,
/// do not count.
template <class F>
constexpr Idempotent<std::decay_t<F>> idempotent(const F&) noexcept {
    return {};
}

using ProcessPoolFigures = detail::ProcessPoolFigures;
using ProcessLimits = detail::ProcessLimits;
using Escalation = detail::Escalation;
using SystemCalls = detail::SystemCalls;

/// A context variable that goes along to other processes: what it is set to where to_process() is
/// called, it is in the function there. What the function sets stays there.
///
///     weft::ProcessContextVar<std::string> request_id("request_id", "none");
///
/// Make them at namespace scope, so that each process has them; each name once. Each call sends
/// those that are set, as it sends its arguments. (A plain ContextVar has its default there.)
template <Serializable T>
class ProcessContextVar : public ContextVar<T>, private detail::SentContextVar {
public:
    /// Without a default, get() of an unset variable throws.
    /// @throws  std::invalid_argument if there is one of that name; std::bad_alloc
    explicit ProcessContextVar(const char* name)
        : ContextVar<T>(name), SentContextVar(name, this->key(), &write_value, &read_value) {}
    ProcessContextVar(const char* name, T default_value)
        : ContextVar<T>(name, std::move(default_value)),
          SentContextVar(name, this->key(), &write_value, &read_value) {}

private:
    static void write_value(const void* value, OutputArchive& out) {
        Codec<T>::write(out, *static_cast<const T*>(value));
    }
    static std::shared_ptr<const void> read_value(InputArchive& in) {
        return std::make_shared<const T>(Codec<T>::read(in));
    }
};

/// The same for a plain function: `weft::idempotent<&work>()`.
template <auto Function>
constexpr Idempotent<detail::NamedFunction<Function>> idempotent() noexcept {
    return {};
}

/// A function that a pool runs on its own account, without arguments: a lambda that captures
/// nothing, or a plain function as `weft::process_function<&setup>`.
class ProcessFunction {
public:
    constexpr ProcessFunction() noexcept = default;
    template <class F>
        requires(std::is_empty_v<F> && std::is_default_constructible_v<F> &&
                 std::is_invocable_v<F&>)
    constexpr ProcessFunction(F) noexcept  // NOLINT(google-explicit-constructor)
        : thunk_(&detail::step_thunk<F>), name_(detail::FunctionObject<F>::name()) {}

    constexpr detail::ProcessThunk thunk() const noexcept { return thunk_; }
    /// As the compiler spells it.
    constexpr std::string_view name() const noexcept { return name_; }

private:
    detail::ProcessThunk thunk_ = nullptr;
    std::string_view name_;
};

template <auto Function>
inline constexpr detail::NamedFunction<Function> process_function{};

struct ProcessPoolOptions {
    /// Processes at most; they come as calls need them. 0: one per core.
    unsigned workers = 0;
    /// The most that the arguments, or the result, of a call may take. Less than 64 KiB counts as
    /// 64 KiB.
    std::size_t message_bytes_max = kMessageBytesMax;
    /// How often an idempotent() call is run again after its worker has died. 0: never.
    unsigned retry = 1;
    /// What each worker may take, and how long it is kept.
    ProcessLimits limits{};
    /// Run once in the fork server, before the first worker is forked: what it makes in memory all
    /// workers share until they write to it. It must leave no threads behind. Should the fork server
    /// be lost, the next one runs it again.
    ProcessFunction preload{};
    /// Run in each worker before its first call, under the worker's limits.
    ///
    /// A preload or an initializer that throws, or ends its process, is tried again for about 0.3
    /// seconds; then the calls that wait fail with an Error that names it and what it threw. Later
    /// calls try again.
    ProcessFunction initializer{};
    /// How a call is made to end that nobody waits for any more. As it is: by SIGKILL, at once.
    Escalation escalation{};
    /// What a worker's calls may ask of the kernel; anything else kills it by SIGSYS, and the call
    /// ends with WorkerDied. From the end of the initializer on, which may open what the calls need.
    SystemCalls system_calls{};
    /// Calls that may wait for a worker; one more is refused with QueueFull. 0: as many as there
    /// are.
    std::size_t queue_max = 0;
    /// What errors call it, and its workers: Linux shows the first fifteen characters.
    std::string name = "weft-worker";
};

/// Worker processes of one's own, instead of those that all share behind to_process(). Starts
/// nothing before the first call.
///
/// @threads  any task or thread may call; it must outlive its calls
class ProcessPool {
public:
    /// @throws  std::invalid_argument for more than 1024 workers; UsageError if a preload or an
    /// initializer lies in no loaded object; std::bad_alloc
    explicit ProcessPool(ProcessPoolOptions options = {});
    ProcessPool(const ProcessPool&) = delete;
    ProcessPool& operator=(const ProcessPool&) = delete;
    /// As shutdown(Shutdown::kill).
    ~ProcessPool();

    /// Runs `f(args...)` in one of this pool's processes; see to_process().
    template <class F, class... Args>
    auto run(const F&, const Args&... args) {
        return detail::checked_call_in_process<std::decay_t<F>, std::decay_t<const Args&>...>(
            *pool_, bytes_max_, args...);
    }
    /// The same for a plain function, `pool.run<&work>(x)`.
    template <auto Function, class... Args>
    auto run(const Args&... args) {
        return run(detail::NamedFunction<Function>{}, args...);
    }

    /// The results of f(input) for each input, in order, a few calls ahead; see MapResults.
    template <class F, std::ranges::viewable_range R>
    auto map(F f, R&& inputs, MapOptions options = {}) {
        return map_in_executor(*this, std::move(f), std::forward<R>(inputs), options);
    }

    /// Refuses calls from here on, with weft::Error, waits until those that wait or run have ended,
    /// for so long at most, and then kills the workers; what still waits or runs fails with
    /// weft::Error. With Shutdown::kill it waits for none of them. Returns when no process is left,
    /// for which it blocks the thread for about a millisecond. Twice is fine.
    ///
    /// @return   whether all calls have ended by themselves; true where it killed
    /// @suspends to drain, if there are such calls
    /// @threads  any; outside of a task it blocks the thread
    /// @cancel   a cancel point of draining; the calls go on, and the pool goes on refusing others
    /// @throws   CancelledError, when draining
    bool shutdown(Shutdown how = Shutdown::drain,
                  std::chrono::nanoseconds patience = std::chrono::nanoseconds::max());

    /// How many workers and calls there are, and have been.
    ProcessPoolFigures figures() const noexcept;

private:
    struct Delete {
        void operator()(rt::process::Pool* pool) const noexcept;
    };
    std::size_t bytes_max_;
    std::unique_ptr<rt::process::Pool, Delete> pool_;
};

/// Runs `f(args...)` in another process, waits, and returns its value.
///
/// `f` is a lambda that captures nothing, or an empty function object; arguments and result are
/// copied there and back, a weft::SharedBuffer's bytes excepted. The deadline (current_deadline())
/// and context variables of the kind ProcessContextVar go along. `f` takes a std::stop_token first
/// if it wants one; it hears of a cancel where the pool's Escalation asks before it kills.
/// @suspends  always
/// @threads   any; outside of a task it blocks the thread
/// @cancel    a cancel point; a call that has not begun never will, and one that runs is killed
/// with its process, at once or as the pool's Escalation has it
/// @throws    what `f` throws, as its std type (with what() and nested exceptions) or as
/// RemoteError; WorkerDied;
///            CancelledError; ArchiveError if a value does not fit; std::system_error if no process
///            can be had; UsageError if the program was linked without weft_main, or `f` lies in a
///            library that was opened at run time
/// @cost      about 50 us there and back; the first call starts the fork server, as long as the
/// program takes to main;
///            a value above 128 KiB travels in a memory file
template <class F, class... Args>
auto to_process(const F&, const Args&... args) {
    return detail::checked_call_in_process<std::decay_t<F>, std::decay_t<const Args&>...>(
        detail::default_process_pool(), kMessageBytesMax, args...);
}

/// The same for a plain function that is named at compile time: `weft::to_process<&work>(x)`.
template <auto Function, class... Args>
auto to_process(const Args&... args) {
    return to_process(detail::NamedFunction<Function>{}, args...);
}

}  // namespace weft
