// Cancellation: a request travels to wherever its task waits.
//
// A cancel is a bit in the task's word and a message beside it. If the task is parked, the one operation that sets
// the bit also ends its wait. If it runs, the bit is met at its next wait. If another task runs inline on top of it
// and is parked there ("buried"), the task cannot be woken by itself, and asyncio's rule is that a task which awaits
// another passes the cancel on: so it goes to `inner`, which is on the way to the top.
//
// Order [inner.1]. The parent stores `inner`, and later, when the inner task parks, sets `buried` in the parent's word.
// The canceller sets nothing if it meets `buried` there, and then reads `inner`: both operations are on one word, so it
// sees the store. If it comes before `buried`, it sets the cancel bit, and bury() meets that.
//
// If the inner task has ended, the task below is asked again, and no longer buried: run_inline() unburies it before it
// publishes the end. (Setting the bit without looking again was a lost cancel: by then the task may have another one
// parked above it.)
//
// Order [inner.2]. `inner` may end, and its block be used for another task, while a canceller follows it. Blocks are
// never unmapped; the canceller takes a reference (fails if the block is not alive or done) and looks again whether it
// is still `inner`. If the block has a new life, its word was reset with release after the old life's `inner` was
// cleared, and taking the reference acquires that; so the second look sees the change.
#include <weft/detail/basic_errors.hpp>

#include <algorithm>
#include <mutex>

#include "check.hpp"
#include "completion.hpp"
#include "worker.hpp"

namespace weft::detail {

namespace {

void keep_message(TaskCore& task, const std::string& message) noexcept {
    if (message.empty() && task.extra == nullptr) return;
    try {
        if (task.extra == nullptr) task.extra = new TaskExtra;
        task.extra->cancel_message = message;
    } catch (const std::bad_alloc&) {
        // The cancel matters more than its text.
    }
}

/// With the lock: the request goes to another task in this one's place, which is how this one meets it.
void note_met(TaskCore& task) noexcept {
    if (task.scopes == nullptr || task.scopes->sticky == nullptr) return;
    task.scopes->sticky->met = true;
    task.scopes->sticky->requests = task.cancelling;
}

/// Count, message and bit change together under the lock: who looks there sees all of a request or nothing.
CancelRequest request(TaskCore& task, const std::string& message) noexcept {
    std::lock_guard guard(task.lock);
    if (!task.word.note_request()) return CancelRequest::is_done;
    keep_message(task, message);
    CancelRequest result = task.word.request_cancel();
    if (result != CancelRequest::is_done) ++task.cancelling;
    if (result == CancelRequest::is_buried) note_met(task);
    return result;
}

bool pass_on(TaskCore& task, const std::string& message) noexcept;

bool cancel_one(TaskCore& task, const std::string& message) noexcept {
    for (CancelRequest result = request(task, message);; result = task.word.request_cancel()) {
        switch (result) {
            case CancelRequest::is_done:
                return false;
            case CancelRequest::pending:
                return true;
            case CancelRequest::claimed:
                rt::make_runnable(task);
                return true;
            case CancelRequest::is_buried:
                if (pass_on(task, message)) return true;
                cpu_relax();
        }
    }
}

/// Counted only: another one is cancelled in its place.
void note_passed_request(TaskCore& task, const std::string& message) noexcept {
    std::lock_guard guard(task.lock);
    task.word.note_request();
    keep_message(task, message);
    ++task.cancelling;
    note_met(task);
}

/// Strict mode, as asyncio: a request goes at once to the end of the chain of awaits, instead of waking each on the
/// way. All of a strict runtime's tasks stand still while its one worker is here, so their fields may be read.
bool cancel_in_order(TaskCore& first, const std::string& message) noexcept {
    TaskCore* task = &first;
    for (;;) {
        if (task->scheduler.load() != first.scheduler.load() || !task->word.parked() ||
            task->word.shielded())
            return cancel_one(*task, message);
        if (CancelHook* hook = task->cancel_hook) {
            note_passed_request(*task, message);
            hook->cancel(*hook, message);
            return true;
        }
        if (task->waits_for != rt::kAwaits) return cancel_one(*task, message);
        auto* awaited = static_cast<Core*>(const_cast<void*>(task->waits_on));
        note_passed_request(*task, message);
        if (awaited->kind == CoreKind::task) {
            task = static_cast<TaskCore*>(awaited);
        } else if (cancel_core(*awaited, message)) {
            return true;
        } else {
            // Another thread is just setting that future: the cancel is the waiter's alone.
            if (task->word.request_cancel() == CancelRequest::claimed) rt::make_runnable(*task);
            return true;
        }
    }
}

/// False: the one above has gone, so the task goes on by itself and is to be asked again.
bool pass_on(TaskCore& task, const std::string& message) noexcept {
    {
        std::lock_guard guard(task.lock);
        if (task.cancel_hook != nullptr) {
            task.cancel_hook->cancel(*task.cancel_hook, message);
            return true;
        }
    }
    TaskCore* inner = task.inner.load(std::memory_order_relaxed);
    if (inner == nullptr || !inner->word.try_add_ref()) return false;
    bool passed =
        task.inner.load(std::memory_order_relaxed) == inner && cancel_one(*inner, message);
    // It may have ended, and this reference be the last: what it gave is not destroyed here, under the caller's locks.
    if (rt::Worker* worker = rt::current_worker())
        worker->drop_later(*inner);
    else
        drop_ref(*inner);
    return passed;
}

}  // namespace

bool cancel_task(TaskCore& task, const std::string& message) noexcept {
    if (rt::Worker* worker = rt::current_worker();
        worker != nullptr && worker->strict() && &worker->scheduler == task.scheduler)
        return cancel_in_order(task, message);
    return cancel_one(task, message);
}

void pass_cancel_on(TaskCore& task, const std::string& message) noexcept {
    rt::check(pass_on(task, message), "a cancel was to be passed on, and nobody is on top");
}

void set_cancel_hook(TaskCore& task, CancelHook* hook) noexcept {
    std::lock_guard guard(task.lock);
    task.cancel_hook = hook;
}

int uncancel_task(TaskCore& task, CancelState before) noexcept {
    std::lock_guard guard(task.lock);
    if (task.cancelling == 0) return 0;
    --task.cancelling;
    if (task.cancelling <= before.requests && !before.due) {
        task.word.take_cancel();
        if (task.scopes != nullptr && task.scopes->sticky != nullptr)
            task.scopes->sticky->met = false;
    }
    if (task.extra != nullptr)
        task.extra->cancels_met = std::min(task.extra->cancels_met, task.cancelling.load());
    return task.cancelling;
}

CancelState enter_scope(TaskCore& task, ScopeNode& node) noexcept {
    std::lock_guard guard(task.lock);
    node.outer = task.scopes;
    if (node.sticky == nullptr && node.outer != nullptr) node.sticky = node.outer->sticky;
    task.scopes = &node;
    return {task.cancelling, task.word.cancel_pending()};
}

void leave_scope(TaskCore& task, ScopeNode& node) noexcept {
    std::lock_guard guard(task.lock);
    task.scopes = node.outer;
    StickyState* outer = node.outer != nullptr ? node.outer->sticky : nullptr;
    if (node.sticky == outer) return;
    // What was met is over with the scope; a request that has come since is not.
    if (node.sticky->met && task.cancelling <= node.sticky->requests) task.word.take_cancel();
}

PassingOn::PassingOn(TaskCore& task, Already already) noexcept
    : task_(task), sticky_(task.scopes != nullptr ? task.scopes->sticky : nullptr) {
    if (sticky_ == nullptr) return;
    std::lock_guard guard(task_.lock);
    ++sticky_->passing_on;
    if (already == Already::yes && task_.cancelling <= sticky_->requests) task_.word.take_cancel();
}

PassingOn::~PassingOn() {
    if (sticky_ == nullptr) return;
    {
        std::lock_guard guard(task_.lock);
        --sticky_->passing_on;
    }
    rearm_cancel(task_);
}

void rearm_cancel(TaskCore& task) noexcept {
    std::lock_guard guard(task.lock);
    StickyState* sticky = task.scopes != nullptr ? task.scopes->sticky : nullptr;
    if (sticky != nullptr && sticky->met && sticky->passing_on == 0) task.word.request_cancel();
}

CancelState cancel_state(TaskCore& task) noexcept {
    std::lock_guard guard(task.lock);
    return {task.cancelling, task.word.cancel_pending()};
}

bool claim_outcome(Core& core) noexcept {
    std::lock_guard guard(core.lock);
    if (core.claimed) return false;
    core.claimed = true;
    return true;
}

bool cancel_core(Core& core, const std::string& message) noexcept {
    if (core.kind == CoreKind::task) return cancel_task(static_cast<TaskCore&>(core), message);
    if (!claim_outcome(core)) return false;
    core.error = std::make_exception_ptr(CancelledError(message));
    core.outcome = Outcome::cancelled;
    complete(core);
    return true;
}

}  // namespace weft::detail
