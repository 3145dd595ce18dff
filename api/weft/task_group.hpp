// Task groups: a block whose tasks have all ended when it ends.
#pragma once

#include <weft/task.hpp>
#include <weft/task_status.hpp>

#include <source_location>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft {

class TaskGroup;

namespace detail {

class ServerState;

/// The engine room of a group: children in a list, errors in order. Lives in task_group()'s frame.
/// Lock order: the parent task's lock, then `lock_`, then a child's.
class TaskGroupState : public Scope, public CancelHook {
public:
    TaskGroupState();
    TaskGroupState(const TaskGroupState&) = delete;
    TaskGroupState& operator=(const TaskGroupState&) = delete;
    ~TaskGroupState() = default;

    /// Before the child is launched. UsageError where the group takes no more.
    void adopt(TaskCore& child);
    /// After adopt().
    void launch_eagerly(TaskCore& child) noexcept;
    void cancel_all(const std::string& message) noexcept;
    /// The block has ended, with this error (or null): waits for the children and throws what the group throws.
    /// True: the block's value stands; false: it was cut short by TaskGroup::cancel().
    bool finish(std::exception_ptr body_error);
    void cancel_group();
    /// From now on a child that could not begin, there being no memory for its stack, does not end the others. Nobody reads
    /// its error then, so it is reported as such.
    void go_on_without_unstarted() noexcept { goes_on_without_unstarted_.store(true); }

private:
    enum class Phase : std::uint8_t { body, exiting, finished };

    static void on_child_done(Scope& self, TaskCore& child) noexcept;
    void settle(TaskCore& child) noexcept;
    static void on_cancel(CancelHook& self, CancelWalk& walk) noexcept;
    void abort_locked(CancelWalk& walk) noexcept;
    void abort(const std::string& message) noexcept;
    void note_failure(TaskCore& child) noexcept;
    void wait_for_children();
    bool run_unstarted_inline() noexcept;
    void note_cancel(const std::string& message);
    void unlink(TaskCore& child) noexcept;
    [[noreturn]] void refuse_while_aborting();
    bool start_interrupt_locked() noexcept;
    void interrupt_body() noexcept;

    TaskCore& parent_;
    SpinLock lock_;
    TaskCore* first_ = nullptr;
    TaskCore* last_ = nullptr;
    TaskCore* cursor_ = nullptr;  // where run_unstarted_inline() is
    /// In asyncio's order: the child in its eager first step. If it ends there the group hears of it at once.
    const TaskCore* starting_ = nullptr;
    std::vector<std::exception_ptr> errors_;
    std::exception_ptr cancelled_;  // the CancelledError to go on with
    Waiter waiter_;
    Phase phase_ = Phase::body;
    bool aborting_ = false;
    bool cancelled_by_user_ = false;                   // TaskGroup::cancel()
    std::atomic<const TaskCore*> canceller_{nullptr};  // who called it, and so needs not be told
    std::atomic<bool> goes_on_without_unstarted_{false};
    bool body_interrupted_ = false;  // the parent was cancelled by us, and the count must go back
    std::atomic<bool> interrupting_{false};  // it is about to be
};

/// Options, adoption, launch; a child that is not adopted is closed, unrun.
void prepare_child(TaskGroupState& state, TaskCore& child, const TaskOptions& options);

/// A value that outlives the try block it was made in.
template <class R>
struct SlotGuard {
    ResultSlot<R>& slot;
    bool filled = false;
    template <class F>
    void fill(F&& f) {
        slot.emplace_from(std::forward<F>(f));
        filled = true;
    }
    ~SlotGuard() {
        if (filled) slot.destroy();
    }
};

}  // namespace detail

/// Starts tasks that end before its block does. Only inside task_group().
class TaskGroup {
public:
    /// Starts a task of the group, as weft::create_task does. Any task of this runtime may call it, children too,
    /// until the group is done. UsageError when it is done or shutting down; the
    /// CancelledError that is due then, if the caller has not met it yet.
    template <detail::Startable A>
    auto create_task(A&& awaitable, std::source_location where = std::source_location::current()) {
        return create_task(std::forward<A>(awaitable), TaskOptions{}, where);
    }
    template <detail::Startable A>
    auto create_task(A&& awaitable, const TaskOptions& options,
                     std::source_location where = std::source_location::current()) {
        using R = detail::StartResult<A>;
        detail::require_runtime("TaskGroup::create_task");
        detail::TaskCore& core = detail::make_task_core<R>(std::forward<A>(awaitable), where);
        auto task = Task<R>(detail::CoreRef::adopt(core));
        detail::prepare_child(state_, core, options);
        return task;
    }

    /// Starts a child and waits until it says that it is ready: f(status) calls status.started(value), and runs on in
    /// the group. Gives that value; with T void, the default, there is none.
    ///
    ///     int port = tg.start<int>([](weft::TaskStatus<int>& status) { ... status.started(port); serve(); });
    ///
    /// What the child throws before it is ready comes out of here, when it has ended, and does not cancel the group;
    /// what it throws later is the group's. Any task of this runtime; waits. Cancelled here, the child is cancelled and
    /// waited for, then CancelledError, unless it threw something else. A cancel that comes when the child has said
    /// started() is kept for the next wait.
    /// @throws  UsageError if the child ends without started(); as create_task where the group takes no more;
    ///          CancelledError, also when the group cancels the child before it is ready
    /// @cost    that of create_task, and one park
    template <class T = void, class F>
        requires std::invocable<std::decay_t<F>&&, TaskStatus<T>&>
    T start(F&& f, std::source_location where = std::source_location::current()) {
        return start<T>(std::forward<F>(f), TaskOptions{}, where);
    }
    template <class T = void, class F>
        requires std::invocable<std::decay_t<F>&&, TaskStatus<T>&>
    T start(F&& f, const TaskOptions& options,
            std::source_location where = std::source_location::current()) {
        lowlevel::require_task("TaskGroup::start");
        detail::ValueGate<T> gate;
        auto child = create_task(
            detail::StartedChild<T, std::decay_t<F>>{&gate, std::forward<F>(f)}, options, where);
        gate.wait(static_cast<detail::TaskCore&>(*child.core()));
        return gate.take();
    }

    /// Cancels all children and the block; the group then ends without an error of its own.
    void cancel() { state_.cancel_group(); }

private:
    template <class F>
    friend auto task_group(F&& block) -> std::invoke_result_t<F, TaskGroup&>;
    friend detail::ServerState;
    // In task_group() alone: one that is made by hand would not wait for its children.
    TaskGroup() = default;
    detail::TaskGroupState state_;
};

/// Runs block(tg), then waits for all tasks that it, or they, created in tg. Gives what the block gives.
///
/// The first failure of a child cancels the others and the block; so does an error of the block. Failures come as one
/// ExceptionGroup when all have ended; cancelled children are no failures. Cancelled from outside, it cancels the
/// children, waits for them and throws CancelledError, unless some failed. What children capture by reference from
/// around the block is safe: none outlives it. UsageError outside of a task.
template <class F>
auto task_group(F&& block) -> std::invoke_result_t<F, TaskGroup&> {
    using R = std::invoke_result_t<F, TaskGroup&>;
    lowlevel::require_task("task_group");
    TaskGroup group;
    if constexpr (std::is_void_v<R>) {
        std::exception_ptr error;
        try {
            std::forward<F>(block)(group);
        } catch (...) {
            error = std::current_exception();
        }
        group.state_.finish(std::move(error));
    } else {
        detail::ResultSlot<R> value;
        detail::SlotGuard<R> guard{value};
        std::exception_ptr error;
        try {
            guard.fill([&]() -> R { return std::forward<F>(block)(group); });
        } catch (...) {
            error = std::current_exception();
        }
        if (!group.state_.finish(std::move(error)) || !guard.filled)
            throw CancelledError("the task group was cancelled before its block gave a value");
        return value.take();
    }
}

}  // namespace weft
