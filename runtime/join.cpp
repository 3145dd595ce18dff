// Waiting for tasks and futures.
#include <weft/detail/basic_errors.hpp>

#include <mutex>

#include "completion.hpp"
#include "worker.hpp"

namespace weft::detail {

namespace {

struct WaiterNode : JoinNode {
    Waiter waiter;
};

void wake_waiter(JoinNode& self, Core&) noexcept {
    lowlevel::unpark(static_cast<WaiterNode&>(self).waiter);
}

}  // namespace

lowlevel::Woken join_core(Core& core, TimePoint deadline, lowlevel::Interrupt interrupt,
                          lowlevel::WaitReason reason) noexcept {
    WaiterNode node;
    node.notify = wake_waiter;
    node.awaiter = current_task();
    auto commit = [&](Waiter self) noexcept {
        node.waiter = self;
        return add_joiner(core, node);
    };
    lowlevel::Woken woken = lowlevel::park(reason, commit, deadline, interrupt);
    if (woken != lowlevel::Woken::by_unpark) remove_joiner(core, node);
    return woken;
}

bool try_run_inline(TaskCore& task) noexcept { return rt::current_worker()->try_run_inline(task); }

namespace {

// Not inlined: their frames would be paid by every await.
[[gnu::noinline]] void await_parked(TaskCore& self, Core& core, PassingOn::Already already) {
    if (&core == &self)
        throw UsageError("await: task '" + detail::name_of(self) + "' cannot await itself");
    std::string message;
    PassingOn passing_on(self, already);
    while (!core.word.done()) {
        if (join_core(core, lowlevel::kNever, lowlevel::Interrupt::by_cancel,
                      {rt::kAwaits, &core}) != lowlevel::Woken::by_cancel) {
            lowlevel::checkpoint();  // asyncio: before it runs again is still in this wait
            continue;
        }
        // asyncio: what is awaited is cancelled too, and its end is waited for; if it has just ended by itself, the
        // cancel is the waiter's alone.
        if (core.word.done()) lowlevel::throw_cancelled();
        rt::meet_cancel_of(self, &message);
        if (!cancel_core(core, message)) throw CancelledError(message);
    }
}

/// asyncio: a cancel that is due when a task begins to await goes to what it awaits.
[[gnu::noinline]] PassingOn::Already pass_pending_cancel(TaskCore& self, Core& core) {
    using Already = PassingOn::Already;
    if (self.shield_depth != 0 || rt::current_worker()->exceptions->uncaught != 0)
        return Already::no;
    std::string message;
    if (!rt::meet_cancel_of(self, &message)) return Already::no;
    // It has just ended by itself: the cancel is the waiter's alone.
    if (!cancel_core(core, message)) throw CancelledError(message);
    return Already::yes;
}

}  // namespace

void await_core(Core& core) {
    rt::Worker* worker = rt::current_worker();
    if (worker == nullptr || worker->current == nullptr) [[unlikely]]
        return lowlevel::require_task("await");
    if (core.word.done()) return;
    TaskCore& self = *worker->current;
    auto already = PassingOn::Already::no;
    if (self.word.cancel_pending()) [[unlikely]]
        already = pass_pending_cancel(self, core);
    if (core.kind == CoreKind::task && worker->try_run_inline(static_cast<TaskCore&>(core))) return;
    await_parked(self, core, already);
}

}  // namespace weft::detail
