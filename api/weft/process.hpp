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
// sockets of the program's. Static constructors run once more, in the server.
// Its standard input is empty, its standard output is the program's, and its standard error is a
// pipe: what comes out of it is written to the program's standard error before the call returns,
// and the end of it is in WorkerDied. If the program's takes nothing for a second, what workers
// write is dropped until it does. The pipe ends with the worker, also for processes it has started.
// The program must be linked with weft_main, which the CMake target weft::weft and pkg-config do.
//
// Who comes in: any task of weft's, or any plain thread, which then blocks. A call runs at most
// once, unless it is marked idempotent().
#pragma once

#include <weft/archive.hpp>
#include <weft/detail/process.hpp>
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

/// The function threw something that is no exception of std's. (Those come back as what they were.)
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

/// What idempotent() gives.
template <class F>
struct Idempotent {};

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

namespace detail {

/// What a worker is told to call: reads arguments, runs the function, writes the result.
using ProcessThunk = void (*)(InputArchive& in, OutputArchive& out);

/// Makes room in front for what the engine says about the call.
void begin_process_call(OutputArchive& message);
/// Waits for the result; throws everything that is not one.
ProcessReply finish_process_call(rt::process::Pool& pool, ProcessThunk thunk,
                                 std::string_view function, Repeatable repeatable,
                                 OutputArchive& message);
rt::process::Pool& default_process_pool();

/// The text of a template argument, out of what the compiler calls a function that has it.
constexpr std::string_view argument_in(std::string_view pretty_function) {
    std::size_t begin = pretty_function.find("What = ");
    std::size_t end = pretty_function.rfind(']');
    if (begin == std::string_view::npos || end == std::string_view::npos) return pretty_function;
    begin += 7;
    if (pretty_function[begin] == '&') ++begin;
    return pretty_function.substr(begin, end - begin);
}

/// A function named at compile time, as a function object.
template <auto What>
struct NamedFunction {
    template <class... Args>
        requires std::is_invocable_v<decltype(What), Args...>
    decltype(auto) operator()(Args&&... args) const {
        return std::apply(What, std::forward_as_tuple(std::forward<Args>(args)...));
    }
    static constexpr auto name() { return argument_in(__PRETTY_FUNCTION__); }
};

template <class What>
struct FunctionObject {
    static constexpr auto name() { return argument_in(__PRETTY_FUNCTION__); }
};
template <auto Function>
struct FunctionObject<NamedFunction<Function>> : NamedFunction<Function> {};

/// Named in the compiler's message, once for each type that is refused.
template <class T>
constexpr bool require_serializable() {
    static_assert(
        Serializable<T>,
        "weft::to_process: a value of this type cannot travel to another process. What can: "
        "numbers, enums, trivially copyable types without pointers, and std's strings, containers, "
        "optional, variant, tuple, pair, array and unique_ptr of such. For a string literal pass a "
        "std::string; for a type with serialize() include <weft/cereal.hpp>; see weft::Codec and "
        "weft::kSendAsBytes in <weft/archive.hpp>");
    return Serializable<T>;
}

template <class F>
constexpr bool require_empty() {
    constexpr bool kPointer = std::is_pointer_v<F> || std::is_member_pointer_v<F>;
    static_assert(!kPointer,
                  "weft::to_process: a pointer to a function means nothing in another process. "
                  "Name the function at compile time: weft::to_process<&work>(x)");
    constexpr bool kEmpty = kPointer || (std::is_empty_v<F> && std::is_default_constructible_v<F>);
    static_assert(kEmpty,
                  "weft::to_process: the function must be a lambda with [] or an empty function "
                  "object. Captures stay in this process: pass what it needs as arguments");
    return !kPointer && kEmpty;
}

/// Reads the arguments, calls, and writes what comes out: the code that is found in the worker.
template <class F, class... Args>
void process_thunk(InputArchive& in, OutputArchive& out) {
    std::tuple<Args...> arguments{Codec<Args>::read(in)...};
    in.finish();
    F function{};
    using Result = std::invoke_result_t<F&, Args...>;
    if constexpr (std::is_void_v<Result>) {
        std::apply(function, std::move(arguments));
    } else {
        Codec<Result>::write(out, std::apply(function, std::move(arguments)));
    }
}

/// A step of a pool's own, run there: writes what went wrong.
void write_failure_of_step(OutputArchive& out);
template <class F>
void step_thunk(InputArchive&, OutputArchive& out) {
    try {
        F function{};
        function();
    } catch (...) {
        write_failure_of_step(out);
    }
}

template <class F, class... Args>
auto call_in_process(rt::process::Pool& pool, std::size_t bytes_max, Repeatable repeatable,
                     const Args&... args) {
    OutputArchive message(bytes_max + kProcessCallHeadroom);
    begin_process_call(message);
    (Codec<Args>::write(message, args), ...);
    ProcessReply reply = finish_process_call(pool, &process_thunk<F, Args...>,
                                             FunctionObject<F>::name(), repeatable, message);
    InputArchive in(reply.bytes.bytes(), &reply.memories);
    using Result = std::invoke_result_t<F&, Args...>;
    if constexpr (std::is_void_v<Result>) {
        in.finish();
    } else {
        Result result = Codec<Result>::read(in);
        in.finish();
        return result;
    }
}

/// What is to be run of what was given, and how often.
template <class F>
struct Marked {
    using Function = F;
    static constexpr Repeatable kRepeatable = Repeatable::no;
};
template <class F>
struct Marked<Idempotent<F>> {
    using Function = F;
    static constexpr Repeatable kRepeatable = Repeatable::yes;
};

/// One clear message for each thing that is wrong, and none that follow from it.
template <class Given, class... Args>
auto checked_call_in_process(rt::process::Pool& pool, std::size_t bytes_max, const Args&... args) {
    using F = typename Marked<Given>::Function;
    constexpr Repeatable kRepeatable = Marked<Given>::kRepeatable;
    constexpr bool kFunction = require_empty<F>();
    constexpr bool kArguments = (require_serializable<Args>() + ... + 0U) == sizeof...(Args);
    if constexpr (kFunction && kArguments) {
        constexpr bool kInvocable = std::is_invocable_v<F&, Args...>;
        static_assert(kInvocable,
                      "weft::to_process: the function cannot be called with these arguments. It "
                      "gets values of its own, so its parameters are values or const references");
        if constexpr (kInvocable) {
            using Result = std::invoke_result_t<F&, Args...>;
            static_assert(!std::is_reference_v<Result>,
                          "weft::to_process: the function returns a reference, and what it refers "
                          "to stays in the other process: return a value");
            if constexpr (std::is_void_v<Result>) {
                call_in_process<F, Args...>(pool, bytes_max, kRepeatable, args...);
            } else if constexpr (!std::is_reference_v<Result>) {
                if constexpr (require_serializable<std::remove_cv_t<Result>>()) {
                    return call_in_process<F, Args...>(pool, bytes_max, kRepeatable, args...);
                }
            }
        }
    }
}

}  // namespace detail

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
    /// Between SIGTERM and SIGKILL to a worker whose call was cancelled, or ran into a timeout. The
    /// caller does not wait for that: its call is given up at once, and a new worker takes the place
    /// of the old, so that for this while there may be more than `workers`. 0: SIGKILL at once. A day
    /// at most.
    std::chrono::milliseconds kill_grace{};
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
    /// As shutdown().
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

    /// Kills the workers, fails the calls that wait or run with weft::Error, and those made later
    /// as well, and returns when no process is left. Blocks the thread for about a millisecond.
    void shutdown() noexcept;

    /// With Shutdown::drain: refuses calls from now on, with weft::Error, waits until those that wait
    /// or run have ended, for so long at most, and then does as shutdown().
    ///
    /// @return   whether all have ended by themselves
    /// @suspends if there are such calls
    /// @threads  any; outside of a task it blocks the thread
    /// @cancel   a cancel point; the calls go on, and the pool goes on refusing others
    /// @throws   CancelledError
    bool shutdown(Shutdown how,
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
/// copied there and back, a weft::SharedBuffer's bytes excepted.
/// @suspends  always
/// @threads   any; outside of a task it blocks the thread
/// @cancel    a cancel point; a call that has not begun never will, and one that runs is killed
/// with its process
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
