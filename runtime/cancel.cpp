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
#include <cstddef>
#include <mutex>

#include "check.hpp"
#include "completion.hpp"
#include "graveyard.hpp"
#include "worker.hpp"

namespace weft::detail {

namespace {

constexpr std::size_t kAll = SIZE_MAX;

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

/// Counted only: another one is cancelled in its place.
void note_passed_request(TaskCore& task, const std::string& message) noexcept {
    std::lock_guard guard(task.lock);
    task.word.note_request();
    keep_message(task, message);
    ++task.cancelling;
    note_met(task);
}

void give_back(Core& core) noexcept {
    // It may have ended, and this reference be the last: what it gave is not destroyed here, under the caller's locks.
    if (core.kind == CoreKind::task)
        rt::drop_later(&static_cast<TaskCore&>(core));
    else
        drop_ref(core);
}

bool cancel_future(Core& core, const std::string& message) noexcept {
    if (!claim_outcome(core)) return false;
    core.error = std::make_exception_ptr(CancelledError(message));
    core.outcome = Outcome::cancelled;
    rt::complete_quietly(core);
    return true;
}

}  // namespace

const std::string CancelWalk::kNoMessage;

CancelWalk::~CancelWalk() {
    for (Core* core : due_) give_back(*core);
}

void CancelWalk::add(Core& core) noexcept {
    try {
        due_.push_back(&core);
        add_ref(core);
    } catch (const std::bad_alloc&) {
        CancelWalk(message_).run(core);
    }
}

/// In the order in which they were added; what one of them adds comes before the next.
void CancelWalk::arrange(std::size_t from) noexcept {
    std::reverse(due_.begin() + static_cast<std::ptrdiff_t>(from), due_.end());
}

void CancelWalk::run() noexcept {
    arrange(0);
    drain();
}

bool CancelWalk::run(Core& first) noexcept {
    bool cancelled = cancel(first);
    drain();
    return cancelled;
}

void CancelWalk::run_above(TaskCore& task) noexcept {
    rt::check(follow(task, CancelRequest::is_buried),
              "a cancel was to be passed on, and nobody is on top");
    drain();
}

void CancelWalk::drain() noexcept {
    while (!due_.empty()) {
        Core* core = due_.back();
        due_.pop_back();
        cancel(*core);
        give_back(*core);
    }
}

bool CancelWalk::cancel(Core& core) noexcept {
    if (core.kind != CoreKind::task) return cancel_future(core, message_);
    auto& task = static_cast<TaskCore&>(core);
    rt::Worker* worker = rt::current_worker();
    if (worker != nullptr && worker->strict() && &worker->scheduler == task.scheduler)
        return cancel_in_order(task);
    return cancel_on_top(task);
}

/// False: it has been asked before. Two tasks may wait for the same one, or one it waits for may wait for it.
bool CancelWalk::ask_hook(TaskCore& task) noexcept {
    try {
        if (!hooks_met_.insert(&task).second) return false;
    } catch (const std::bad_alloc&) {
        // Without the list it goes on, as long as they do not wait for each other.
    }
    std::size_t before = due_.size();
    task.cancel_hook->cancel(*task.cancel_hook, *this);
    arrange(before);
    return true;
}

bool CancelWalk::cancel_on_top(TaskCore& first) noexcept {
    return follow(first, request(first, message_));
}

namespace {

/// The task on top, with a reference; null: it has gone. See [inner.2].
TaskCore* hold_inner(TaskCore& task) noexcept {
    TaskCore* inner = task.inner.load(std::memory_order_relaxed);
    if (inner == nullptr || !inner->word.try_add_ref()) return nullptr;
    if (task.inner.load(std::memory_order_relaxed) == inner) return inner;
    give_back(*inner);
    return nullptr;
}

}  // namespace

bool keeps_waiting(Core& core) noexcept {
    if (core.kind != CoreKind::task) return false;
    auto* task = static_cast<TaskCore*>(&core);
    add_ref(*task);
    for (;;) {
        bool keeps = task->keeps_waiting.load();
        TaskCore* inner = !keeps && task->word.buried() ? hold_inner(*task) : nullptr;
        give_back(*task);
        if (inner == nullptr) return keeps;
        task = inner;
    }
}

/// What became of the request to `first` is known; from there it goes up, to who is on top. If the one above has gone,
/// the one below goes on by itself, and is to be asked again.
bool CancelWalk::follow(TaskCore& first, CancelRequest result) noexcept {
    std::vector<TaskCore*> below;  // the task, between the first and it, with a reference to each
    TaskCore* task = &first;       // with a reference, unless it is the first
    for (;;) {
        if (result == CancelRequest::claimed) rt::make_runnable(*task);
        if (result == CancelRequest::claimed || result == CancelRequest::pending) break;
        if (result == CancelRequest::is_done) {
            if (task == &first) return false;
            give_back(*task);
            task = below.empty() ? &first : below.back();
            if (!below.empty()) below.pop_back();
            result = task->word.request_cancel();
            continue;
        }
        {
            std::lock_guard guard(task->lock);
            if (task->cancel_hook != nullptr) {
                ask_hook(*task);
                break;
            }
        }
        TaskCore* inner = hold_inner(*task);
        if (inner == nullptr) {
            cpu_relax();
            result = task->word.request_cancel();
            continue;
        }
        if (task != &first) {
            try {
                below.push_back(task);
            } catch (const std::bad_alloc&) {
                give_back(*task);  // if the inner one has gone, the way begins again at the first
            }
        }
        task = inner;
        result = request(*task, message_);
    }
    if (task != &first) give_back(*task);
    for (TaskCore* held : below) give_back(*held);
    return true;
}

/// Strict mode, as asyncio: a request goes at once to the end of the chain of awaits, instead of waking each on the
/// way. All of a strict runtime's tasks stand still while its one worker is here, so their fields may be read.
///
/// Where it comes round, to a task that it has met, all of that circle would wait for each other for ever: so that task
/// is woken by it, and finds out for itself (see tasks_to_look_at). In a chain that has no hooks the round is found as
/// Brent does it: by a mark that moves on, farther each time.
bool CancelWalk::cancel_in_order(TaskCore& first) noexcept {
    TaskCore* task = &first;
    TaskCore* mark = &first;
    std::size_t left = 1;
    for (std::size_t stride = 1;;) {
        if (task->scheduler.load() != first.scheduler.load() || !task->word.parked() ||
            task->word.shielded())
            return cancel_on_top(*task);
        if (task->cancel_hook != nullptr) {
            if (!ask_hook(*task) && TasksInWait(*task, kAll).contains(*task))
                return cancel_on_top(*task);
            note_passed_request(*task, message_);
            return true;
        }
        if (task->waits_for != rt::kAwaits) return cancel_on_top(*task);
        auto* awaited = static_cast<Core*>(const_cast<void*>(task->waits_on));
        // It would stop there.
        if (keeps_waiting(*awaited) && TasksInWait(*task, kAll).contains(*awaited))
            return cancel_on_top(*task);
        note_passed_request(*task, message_);
        if (awaited->kind == CoreKind::task) {
            task = static_cast<TaskCore*>(awaited);
            if (task == &first || task == mark) return cancel_on_top(*task);
            if (--left == 0) {
                mark = task;
                left = stride *= 2;
            }
        } else if (cancel_future(*awaited, message_)) {
            return true;
        } else {
            // Another thread is just setting that future: the cancel is the waiter's alone.
            if (task->word.request_cancel() == CancelRequest::claimed) rt::make_runnable(*task);
            return true;
        }
    }
}

bool cancel_task(TaskCore& task, const std::string& message) noexcept {
    return CancelWalk(message).run(task);
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
    return CancelWalk(message).run(core);
}

}  // namespace weft::detail
