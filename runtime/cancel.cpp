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
// Order [inner.2]. `inner` may end, and its block be used for another task, while a canceller follows it. Blocks are
// never unmapped; the canceller takes a reference (fails if the block is not alive or done) and looks again whether it
// is still `inner`. If the block has a new life, its word was reset with release after the old life's `inner` was
// cleared, and taking the reference acquires that; so the second look sees the change.
#include <weft/detail/basic_errors.hpp>

#include <mutex>

#include "completion.hpp"
#include "worker.hpp"

namespace weft::detail {

namespace {

/// The request is counted and its message kept, before it is seen.
bool note_request(TaskCore& task, const std::string& message) noexcept {
    std::lock_guard guard(task.lock);
    if (task.word.done()) return false;
    ++task.cancelling;
    if (message.empty() && task.extra == nullptr) return true;
    try {
        if (task.extra == nullptr) task.extra = new TaskExtra;
        task.extra->cancel_message = message;
    } catch (const std::bad_alloc&) {
        // The cancel matters more than its text.
    }
    return true;
}

enum class Passed { yes, ended, look_again };

Passed pass_on(TaskCore& task, const std::string& message) noexcept {
    {
        std::lock_guard guard(task.lock);
        if (task.cancel_hook != nullptr) {
            task.cancel_hook->cancel(*task.cancel_hook, message);
            return Passed::yes;
        }
    }
    TaskCore* inner = task.inner.load(std::memory_order_relaxed);
    if (inner == nullptr) return Passed::ended;
    if (!inner->word.try_add_ref())
        return task.inner.load(std::memory_order_relaxed) == inner ? Passed::ended
                                                                   : Passed::look_again;
    Passed passed = Passed::look_again;
    if (task.inner.load(std::memory_order_relaxed) == inner)
        passed = cancel_task(*inner, message) ? Passed::yes : Passed::ended;
    drop_ref(*inner);
    return passed;
}

}  // namespace

bool cancel_task(TaskCore& task, const std::string& message) noexcept {
    if (!note_request(task, message)) return false;
    for (;;) {
        switch (task.word.request_cancel()) {
            case CancelRequest::is_done:
                return false;
            case CancelRequest::pending:
                return true;
            case CancelRequest::claimed:
                rt::make_runnable(task);
                return true;
            case CancelRequest::is_buried:
                pass_cancel_on(task, message);
                return true;
        }
    }
}

void pass_cancel_on(TaskCore& task, const std::string& message) noexcept {
    for (;;) {
        switch (pass_on(task, message)) {
            case Passed::yes:
                return;
            // The one above has ended, so the task itself is about to go on: it meets the cancel at its next wait.
            case Passed::ended:
                task.word.set_cancel();
                return;
            case Passed::look_again:
                break;
        }
    }
}

void set_cancel_hook(TaskCore& task, CancelHook* hook) noexcept {
    std::lock_guard guard(task.lock);
    task.cancel_hook = hook;
}

int uncancel_task(TaskCore& task) noexcept {
    std::lock_guard guard(task.lock);
    if (task.cancelling > 0 && --task.cancelling == 0) task.word.take_cancel();
    return task.cancelling;
}

int cancelling(TaskCore& task) noexcept {
    std::lock_guard guard(task.lock);
    return task.cancelling;
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
