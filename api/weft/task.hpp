// Tasks: work that runs beside its creator.
//
// A Task<R> is a shared handle to a running or finished task; dropping it changes nothing for the task. The runtime
// owns what runs (unlike asyncio, which keeps weak references only). AnyTask is the same without the type.
#pragma once

#include <weft/coroutine.hpp>
#include <weft/detail/result.hpp>

#include <concepts>
#include <memory>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

namespace weft {

class Context;
template <class R>
class Task;
class AnyTask;

/// How a task starts.
struct TaskOptions {
    std::string name{};                ///< what messages call it; "Task-<n>" by default
    const Context* context = nullptr;  ///< context variables to use, itself and not a copy of it
    bool eager = false;                ///< run at once, on the creator's turn, until the first wait
    std::size_t stack_size = 0;        ///< bytes; 0: RunOptions::stack_size
};

namespace detail {

/// A counted reference to a core.
class CoreRef {
public:
    CoreRef() noexcept = default;
    /// Takes over a reference that the caller holds.
    static CoreRef adopt(Core& core) noexcept {
        CoreRef ref;
        ref.core_ = &core;
        return ref;
    }
    static CoreRef share(Core& core) noexcept {
        add_ref(core);
        return adopt(core);
    }
    CoreRef(const CoreRef& other) noexcept : core_(other.core_) {
        if (core_ != nullptr) add_ref(*core_);
    }
    CoreRef(CoreRef&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    CoreRef& operator=(CoreRef other) noexcept {
        std::swap(core_, other.core_);
        return *this;
    }
    ~CoreRef() {
        if (core_ != nullptr) drop_ref(*core_);
    }
    Core* get() const noexcept { return core_; }
    Core& operator*() const noexcept { return *core_; }
    Core* operator->() const noexcept { return core_; }
    explicit operator bool() const noexcept { return core_ != nullptr; }
    bool operator==(const CoreRef&) const noexcept = default;

private:
    Core* core_ = nullptr;
};

/// Behind the TaskCore: the result first, so that a Task<R> finds it without knowing the callable.
template <class R, class F>
struct TaskBody {
    ResultSlot<R> result;
    union {
        F f;
    };
    explicit TaskBody(F&& function) : f(std::move(function)) {}
    ~TaskBody() {}
};

template <class R>
ResultSlot<R>& result_of(Core& core) noexcept {
    return *static_cast<ResultSlot<R>*>(task_payload(static_cast<TaskCore&>(core)));
}

/// cancel() of a handle. Who cancels what has failed already wants no report of the error.
bool cancel_or_ignore(Core& core, const std::string& message);

/// In a catch (...) block: stores what is being handled as the task's outcome.
void store_failure(Core& core) noexcept;

template <class T>
inline constexpr bool kIsCoroutine = false;
template <class R>
inline constexpr bool kIsCoroutine<Coroutine<R>> = true;

template <class R, class F>
struct TaskOpsOf {
    using Body = TaskBody<R, F>;
    static Body& body(Core& core) noexcept {
        return *static_cast<Body*>(task_payload(static_cast<TaskCore&>(core)));
    }
    static void run(TaskCore& task) noexcept {
        Body& b = body(task);
        try {
            b.result.emplace_from([&]() -> R {
                if constexpr (std::is_void_v<R>)
                    static_cast<void>(std::move(b.f)());
                else
                    return std::move(b.f)();
            });
            task.outcome = Outcome::value;
            // order [goes.1]: release - who finds the block by looking and meets it knows whose task it is.
            if constexpr (!ResultSlot<R>::kNothingToDestroy)
                task.value_goes.store(true, std::memory_order_release);
        } catch (...) {
            store_failure(task);
        }
        b.f.~F();
    }
    static void destroy(Core& core) noexcept {
        if (core.outcome == Outcome::value) body(core).result.destroy();
    }
    static void discard(TaskCore& task) noexcept {
        if (task.outcome == Outcome::value) return body(task).result.destroy();
        // asyncio throws the cancel into the coroutine, so it counts as awaited.
        if constexpr (kIsCoroutine<F>) body(task).f.close();
        body(task).f.~F();
    }
    static constexpr CoreOps ops{run, ResultSlot<R>::kNothingToDestroy ? nullptr : destroy,
                                 discard};
};

/// A callable too large or too aligned for a block of the pool.
template <class R, class F>
struct BoxedCall {
    std::unique_ptr<F> f;
    R operator()() && { return std::move(*f)(); }
};

/// A task that is made but not launched: it has two references, and the caller holds one. With `what`, UsageError
/// that names it outside of a runtime.
template <class R, class F>
TaskCore& make_task_core(F&& function, std::source_location where, const char* what = nullptr) {
    using Callable = std::decay_t<F>;
    using Body = TaskBody<R, Callable>;
    if constexpr (sizeof(Body) > kTaskPayloadMax || alignof(Body) > 16) {
        return make_task_core<R>(
            BoxedCall<R, Callable>{std::make_unique<Callable>(std::forward<F>(function))}, where,
            what);
    } else {
        TaskCore* task =
            allocate_task(size_class_of(sizeof(Body)), &TaskOpsOf<R, Callable>::ops, where, what);
        try {
            new (task_payload(*task)) Body(Callable(std::forward<F>(function)));
        } catch (...) {
            drop_unmade(*task);
            throw;
        }
        return *task;
    }
}

void require_runtime(const char* what);
/// std::invalid_argument for a size that no stack can have. 0 is the usual size.
void check_stack_size(std::size_t bytes);
void apply_options(TaskCore& task, const TaskOptions& options);
/// A task that cannot have these options is closed, unrun.
void launch_with_options(TaskCore& task, const TaskOptions& options);

/// What create_task takes: a coroutine object, or a callable without arguments.
template <class A>
concept Startable = std::invocable<std::decay_t<A>&&>;

template <class A>
using StartResult = std::invoke_result_t<std::decay_t<A>&&>;

}  // namespace detail

/// A registered done callback, for remove_done_callback. C++'s callables cannot be compared, as Python's can.
struct CallbackId {
    std::uint64_t value = 0;
    bool operator==(const CallbackId&) const noexcept = default;
};

namespace detail {

/// Takes a callback out that has not been scheduled yet: how many there were, 0 or 1.
std::size_t remove_callback(Core& core, CallbackId id) noexcept;

}  // namespace detail

/// A task without its type: everything but the value. Cheap to copy; any thread.
class AnyTask {
public:
    AnyTask() noexcept = default;
    explicit AnyTask(detail::CoreRef core) noexcept : core_(std::move(core)) {}

    /// Whether the handle refers to a task at all.
    explicit operator bool() const noexcept { return static_cast<bool>(core_); }
    bool operator==(const AnyTask&) const noexcept = default;

    bool done() const noexcept;
    /// Whether it has ended by a cancel (not: whether one was asked for; see cancelling()).
    bool cancelled() const noexcept;
    /// Its error, or null if it ended with a value; it counts as read. InvalidStateError while it runs,
    /// CancelledError if it was cancelled.
    std::exception_ptr exception() const;
    /// Asks it to stop: a CancelledError, with this message, at its current or next wait. False: it is done.
    /// If it awaits another task or future, that one is cancelled too. Never waits.
    bool cancel(const std::string& message = {}) const;
    /// Takes one request back; at zero, one that was not delivered yet is dropped. Returns how many are left.
    int uncancel() const;
    /// How many requests were made and not taken back.
    int cancelling() const;
    std::string get_name() const;
    void set_name(const std::string& name) const;

    /// Calls f(task) in a worker when the task is done: scheduled, never inline, with the context variables of now.
    template <std::invocable<const AnyTask&> F>
    CallbackId add_done_callback(
        F&& f, std::source_location where = std::source_location::current()) const;
    /// Takes a callback back that has not been scheduled yet. Returns how many there were: 1 or 0.
    std::size_t remove_done_callback(CallbackId id) const {
        return detail::remove_callback(core_or_throw(), id);
    }

    detail::Core* core() const noexcept { return core_.get(); }
    detail::Core& core_or_throw() const {
        if (!core_) throw_empty();
        return *core_;
    }

protected:
    detail::TaskCore& task() const { return static_cast<detail::TaskCore&>(core_or_throw()); }
    [[noreturn]] static void throw_empty();

private:
    detail::CoreRef core_;
};

namespace detail {

/// Registers a task that is launched when the core is done; `*slot` is then the core, with a reference. A core that
/// dies before drops it unlaunched.
CallbackId add_callback(Core& core, TaskCore& callback, CoreRef* slot);

/// It does not hold what it waits for, or a future that is never set would never die.
template <class Handle, class F>
struct DoneCallback {
    CoreRef done;
    std::unique_ptr<F> f;
    void operator()() { (*f)(Handle(std::move(done))); }
};

template <class Handle, class F>
CallbackId add_done_callback(const Handle& handle, F&& f, std::source_location where) {
    Core& core = handle.core_or_throw();
    using Callback = DoneCallback<Handle, std::decay_t<F>>;
    TaskCore& callback = make_task_core<void>(
        Callback{{}, std::make_unique<std::decay_t<F>>(std::forward<F>(f))}, where);
    return add_callback(core, callback, &TaskOpsOf<void, Callback>::body(callback).f.done);
}

}  // namespace detail

template <std::invocable<const AnyTask&> F>
CallbackId AnyTask::add_done_callback(F&& f, std::source_location where) const {
    return detail::add_done_callback(*this, std::forward<F>(f), where);
}

/// A task that gives an R. A shared handle: cheap to copy, any thread. The value stays in the task and may be read
/// as often as one likes, by any number of handles, until somebody moves it out by await(std::move(task)).
template <class R>
class Task : public AnyTask {
public:
    using result_type = R;
    Task() noexcept = default;
    explicit Task(detail::CoreRef core) noexcept : AnyTask(std::move(core)) {}

    /// Its value, or throws its error. InvalidStateError while it runs, or when the value was moved out;
    /// CancelledError if it was cancelled. Never waits: see weft::await.
    decltype(auto) result() const {
        return detail::read_result(this->task(), detail::result_of<R>(this->task()));
    }

    /// Calls f(task) in a worker when the task is done: scheduled, never inline, with the context variables of now.
    template <std::invocable<const Task&> F>
    CallbackId add_done_callback(
        F&& f, std::source_location where = std::source_location::current()) const {
        return detail::add_done_callback(*this, std::forward<F>(f), where);
    }
};

/// Starts a task that runs beside this one: a coroutine object, or a callable without arguments.
///
/// It starts when its creator waits or a worker is free; with {.eager = true} at once. Needs a running runtime:
/// UsageError outside of one. std::bad_alloc. The error of a task that nobody reads is reported once, on stderr or
/// to RunOptions::exception_handler. Cost: one block from a per-worker list, no system call.
template <detail::Startable A>
auto create_task(A&& awaitable, std::source_location where = std::source_location::current()) {
    using R = detail::StartResult<A>;
    detail::TaskCore& core =
        detail::make_task_core<R>(std::forward<A>(awaitable), where, "create_task");
    auto task = Task<R>(detail::CoreRef::adopt(core));
    detail::launch(core);
    return task;
}

template <detail::Startable A>
auto create_task(A&& awaitable, const TaskOptions& options,
                 std::source_location where = std::source_location::current()) {
    using R = detail::StartResult<A>;
    detail::TaskCore& core =
        detail::make_task_core<R>(std::forward<A>(awaitable), where, "create_task");
    auto task = Task<R>(detail::CoreRef::adopt(core));
    detail::launch_with_options(core, options);
    return task;
}

/// Waits until the task is done and gives its value, or throws its error. One that is done does not wait.
///
/// A task that has not started is run here and now, in its own name. Cancelled here, the awaited task is cancelled
/// too and its end is waited for (weft::shield prevents that). UsageError outside of a task, or for a task that
/// awaits itself.
template <class R>
decltype(auto) await(const Task<R>& task) {
    detail::Core& core = task.core_or_throw();
    detail::await_core(core);
    return detail::done_result(core, detail::result_of<R>(core));
}
template <class R>
decltype(auto) await(Task<R>& task) {
    return await(static_cast<const Task<R>&>(task));
}
/// The same for a temporary or moved task: the value is moved out.
template <class R>
R await(Task<R>&& task) {
    detail::Core& core = task.core_or_throw();
    detail::await_core(core);
    return detail::take_result(core, detail::result_of<R>(core));
}
/// Waits until the task is done; throws its error.
void await(const AnyTask& task);

/// The running task; an empty handle outside of tasks.
AnyTask current_task();

}  // namespace weft
