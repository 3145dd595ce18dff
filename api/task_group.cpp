#include <weft/detail/engine.hpp>
#include <weft/detail/wait_list.hpp>
#include <weft/task_group.hpp>

#include <algorithm>
#include <mutex>

#include "detail/call_soon.hpp"

namespace weft::detail {

TaskGroupState::TaskGroupState() : parent_(*detail::current_task()) {
    child_done = on_child_done;
    awaiter = &parent_;
    CancelHook::cancel = on_cancel;
}

// --- children -----------------------------------------------------------------------------------------------------

// In asyncio nothing runs between the failure of a child and the cancel that tells the others, so theirs is a
// CancelledError. Here a child may fail on another worker while the caller is about to make one more.
void TaskGroupState::refuse_while_aborting() {
    if (current_task() == &parent_)
        while (interrupting_.load()) cpu_relax();
    if (current_task() != canceller_.load()) lowlevel::checkpoint();
    throw UsageError("TaskGroup::create_task: the group is shutting down");
}

void TaskGroupState::adopt(TaskCore& child) {
    std::unique_lock guard(lock_);
    if (phase_ == Phase::finished || (phase_ == Phase::exiting && first_ == nullptr))
        throw UsageError("TaskGroup::create_task: the group is finished");
    if (aborting_) {
        guard.unlock();
        refuse_while_aborting();
    }
    child.scope = this;
    child.scope_prev = last_;
    child.scope_next = nullptr;
    (last_ != nullptr ? last_->scope_next : first_) = &child;
    last_ = &child;
}

void TaskGroupState::unlink(TaskCore& child) noexcept {
    if (cursor_ == &child) cursor_ = child.scope_next;
    (child.scope_prev != nullptr ? child.scope_prev->scope_next : first_) = child.scope_next;
    (child.scope_next != nullptr ? child.scope_next->scope_prev : last_) = child.scope_prev;
}

void TaskGroupState::on_child_done(Scope& self, TaskCore& child) noexcept {
    auto& group = static_cast<TaskGroupState&>(self);
    if (!options_of(*child.scheduler).strict || group.starting_ == &child)
        return group.settle(child);
    // asyncio's order to the letter: the group hears of a child's end by a callback, one turn later, so that others
    // which are ready now run first. The child counts until then, so the group lives.
    auto settle = [&group, ref = CoreRef::share(child)] {
        group.settle(static_cast<TaskCore&>(*ref));
    };
    if (!call_soon(*child.scheduler, settle)) group.settle(child);
}

bool TaskGroupState::start_interrupt_locked() noexcept {
    if (phase_ != Phase::body) return false;
    body_interrupted_ = true;
    interrupting_.store(true);
    return true;
}

void TaskGroupState::interrupt_body() noexcept {
    cancel_task(parent_, {});
    interrupting_.store(false);
}

void TaskGroupState::settle(TaskCore& child) noexcept {
    // Without the lock (lock order), and while this child still counts: else the group might be gone by then.
    bool failed = child.outcome == Outcome::error;
    if (failed && (child.started.load() || !goes_on_without_unstarted_.load())) note_failure(child);
    std::lock_guard guard(lock_);
    unlink(child);
    if (canceller_.load() == &child) canceller_.store(nullptr);
    if (first_ == nullptr && waiter_.core != nullptr) lowlevel::unpark(waiter_);
}

void TaskGroupState::note_failure(TaskCore& child) noexcept {
    bool interrupt = false;
    CancelWalk walk;
    {
        std::lock_guard guard(lock_);
        child.error_read.store(true);
        errors_.push_back(child.error);
        if (!aborting_) {
            abort_locked(walk);
            interrupt = start_interrupt_locked();
        }
    }
    walk.run();
    if (interrupt) interrupt_body();
}

// The walk runs without the lock: what a child waits for may wait for this group's task, and then it comes back here.
void TaskGroupState::abort_locked(CancelWalk& walk) noexcept {
    aborting_ = true;
    parent_.keeps_waiting.store(phase_ == Phase::exiting && first_ != nullptr);
    for (TaskCore* child = first_; child != nullptr; child = child->scope_next) walk.add(*child);
}

void TaskGroupState::abort(const std::string& message) noexcept {
    CancelWalk walk(message);
    {
        std::lock_guard guard(lock_);
        if (!aborting_) abort_locked(walk);
    }
    walk.run();
}

void TaskGroupState::cancel_all(const std::string& message) noexcept {
    CancelWalk walk(message);
    {
        std::lock_guard guard(lock_);
        abort_locked(walk);
    }
    walk.run();
}

// A cancel from outside that meets the parent while children run inline on top of it.
void TaskGroupState::on_cancel(CancelHook& self, CancelWalk& walk) noexcept {
    auto& group = static_cast<TaskGroupState&>(self);
    std::lock_guard guard(group.lock_);
    try {
        group.cancelled_ = std::make_exception_ptr(CancelledError(walk.message()));
    } catch (const std::bad_alloc&) {
        group.cancelled_ = std::make_exception_ptr(CancelledError());
    }
    if (!group.aborting_) group.abort_locked(walk);
}

void TaskGroupState::cancel_group() {
    bool interrupt = false;
    CancelWalk walk;
    {
        std::lock_guard guard(lock_);
        if (phase_ == Phase::finished || cancelled_by_user_) return;
        cancelled_by_user_ = true;
        canceller_.store(current_task());
        if (!aborting_) {
            abort_locked(walk);
            interrupt = start_interrupt_locked();
        }
    }
    walk.run();
    if (interrupt) interrupt_body();
    discard_now();
}

void TaskGroupState::launch_eagerly(TaskCore& child) noexcept {
    if (!options_of(*current_scheduler()).strict) return detail::launch_eagerly(child);
    const TaskCore* outer = std::exchange(starting_, &child);
    detail::launch_eagerly(child);
    starting_ = outer;
}

// --- the end of the block -----------------------------------------------------------------------------------------

// Oldest first, as they would have run. The cursor moves on by itself when the child it points to ends.
// Whether any ran.
bool TaskGroupState::run_unstarted_inline() noexcept {
    bool ran = false;
    set_cancel_hook(parent_, this);
    std::unique_lock guard(lock_);
    cursor_ = first_;
    while (TaskCore* child = cursor_) {
        cursor_ = child->scope_next;
        if (child->started.load()) continue;
        // It has not ended, or it would be unlinked, so it holds the runtime's reference; keep it while we look.
        add_ref(*child);
        guard.unlock();
        ran |= try_run_inline(*child);
        drop_ref(*child);
        guard.lock();
    }
    guard.unlock();
    set_cancel_hook(parent_, nullptr);
    return ran;
}

void TaskGroupState::note_cancel(const std::string& message) {
    {
        std::lock_guard guard(lock_);
        // Whether it is our own, for the body, or from outside is told by the count, at the end. Ours has no message: the
        // one of a cancel that comes from outside after it is not lost.
        if (cancelled_ == nullptr || (body_interrupted_ && !message.empty()))
            cancelled_ = std::make_exception_ptr(CancelledError(message));
    }
    abort(message);
}

void TaskGroupState::wait_for_children() {
    std::string message;
    PassingOn passing_on(parent_);
    // A child on top that took turns with others was a wait of the parent too.
    bool waited = run_unstarted_inline();
    for (;;) {
        // So is one that comes before the parent runs again.
        if (waited && cancel_due()) {
            lowlevel::take_cancel(&message);
            note_cancel(message);
        }
        {
            std::lock_guard guard(lock_);
            waiter_ = {};
            parent_.keeps_waiting.store(aborting_ && first_ != nullptr);
            if (first_ == nullptr) return;
        }
        auto commit = [this](Waiter self) noexcept {
            std::lock_guard guard(lock_);
            if (first_ == nullptr) return false;
            waiter_ = self;
            return true;
        };
        lowlevel::park({"TaskGroup", this}, commit);
        message.clear();
        waited = true;
    }
}

namespace {

bool is_keyboard_interrupt(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const KeyboardInterrupt&) {
        return true;
    } catch (...) {
        return false;
    }
}

/// asyncio: it is no error among others. Those that it supplants would be heard of by nobody.
void throw_keyboard_interrupt(const std::vector<std::exception_ptr>& errors, TaskCore& parent) {
    auto interrupt = std::find_if(errors.begin(), errors.end(), is_keyboard_interrupt);
    if (interrupt == errors.end()) return;
    for (const std::exception_ptr& error : errors)
        if (!is_keyboard_interrupt(error))
            report_error(
                "error in a task group of '" + name_of(parent) + "' that KeyboardInterrupt ended",
                error, nullptr, {});
    std::rethrow_exception(*interrupt);
}

}  // namespace

bool TaskGroupState::finish(std::exception_ptr body_error) {
    bool body_cancelled = false;
    if (body_error != nullptr) {
        try {
            std::rethrow_exception(body_error);
        } catch (const CancelledError&) {
            body_cancelled = true;
            cancelled_ = body_error;
        } catch (...) {
        }
    }
    {
        std::lock_guard guard(lock_);
        phase_ = Phase::exiting;
    }
    if (body_error != nullptr) abort({});
    wait_for_children();
    // Our own cancel of the body is taken back; what is left came from outside. Not before the children are gone: the
    // one whose failure interrupts the body counts until its cancel has landed.
    if (body_interrupted_ && uncancel_task(parent_) == 0) cancelled_ = nullptr;
    {
        std::lock_guard guard(lock_);
        phase_ = Phase::finished;
    }
    if (cancelled_ != nullptr && errors_.empty() && (body_error == nullptr || body_cancelled))
        std::rethrow_exception(cancelled_);
    if (body_error != nullptr && !body_cancelled) errors_.push_back(body_error);
    if (errors_.empty()) return !body_cancelled;
    throw_keyboard_interrupt(errors_, parent_);
    // asyncio: a cancel from outside that lost against errors is due again, and its count stays as it was.
    if (cancel_state(parent_).requests > 0) {
        uncancel_task(parent_);
        cancel_task(parent_, {});
    }
    throw ExceptionGroup("unhandled errors in a TaskGroup", std::move(errors_));
}

void prepare_child(TaskGroupState& state, TaskCore& child, const TaskOptions& options) {
    try {
        apply_options(child, options);
        state.adopt(child);
    } catch (...) {
        close_unlaunched(child);
        throw;
    }
    if (options.eager)
        state.launch_eagerly(child);
    else
        launch(child);
}

}  // namespace weft::detail
