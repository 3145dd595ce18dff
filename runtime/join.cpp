// Waiting for tasks and futures.
#include <weft/detail/basic_errors.hpp>

#include <mutex>

#include "completion.hpp"
#include "worker.hpp"

namespace weft::detail {

namespace {

struct WaiterNode : JoinNode {
    Waiter waiter;
    std::atomic<TaskCore*> self{current_task()};
};

void wake_waiter(JoinNode& self, Core&) noexcept {
    lowlevel::unpark(static_cast<WaiterNode&>(self).waiter);
}

}  // namespace

lowlevel::Woken join_core(Core& core, TimePoint deadline, lowlevel::Interrupt interrupt,
                          lowlevel::WaitReason reason) noexcept {
    WaiterNode node;
    node.notify = wake_waiter;
    node.awaiter = &node.self;
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

/// Whether the core will not end before the task has, see circle.cpp; then the cancel has come to all between them.
/// `cancels`: how many the task has passed on to it.
bool waits_for(TaskCore& task, Core& core, const std::string& message, int cancels) noexcept {
    if (core.kind != CoreKind::task) return false;
    std::size_t most = keeps_waiting(core) ? SIZE_MAX : tasks_to_look_at(cancels);
    if (most == 0) return false;
    TasksInWait in_wait(task, most);
    if (!in_wait.contains(core)) return false;
    CancelWalk walk(message);
    in_wait.add_way_from(core, walk);
    walk.run();
    return true;
}

/// asyncio: what is awaited is cancelled too, and its end is waited for; if it has just ended by itself, the cancel is
/// the waiter's alone.
void pass_cancel_on(TaskCore& self, Core& core, const std::string& message, int cancels) {
    if ((cancels > 0 && waits_for(self, core, message, cancels)) || !cancel_core(core, message) ||
        (keeps_waiting(core) && waits_for(self, core, message, cancels)))
        throw CancelledError(message);
}

/// The wait of one who passes its cancels on. It stays linked while it does so, for who looks for those that wait.
class Await : WaiterNode {
public:
    explicit Await(Core& core) noexcept : core_(core) {
        notify = wake_waiter;
        awaiter = &self;
        passes_cancel = true;
    }
    ~Await() {
        if (joined_) remove_joiner(core_, *this);
    }
    Await(const Await&) = delete;
    Await& operator=(const Await&) = delete;

    lowlevel::Woken park() noexcept {
        auto commit = [this](Waiter parked) noexcept { return publish(parked); };
        lowlevel::Woken woken = lowlevel::park({rt::kAwaits, &core_}, commit);
        // It has been notified, or was never linked.
        if (woken == lowlevel::Woken::by_unpark) joined_ = false;
        return woken;
    }

private:
    bool publish(Waiter parked) noexcept {
        if (!joined_) {
            waiter = parked;
            return joined_ = add_joiner(core_, *this);
        }
        std::lock_guard guard(core_.lock);
        waiter = parked;
        return linked;
    }

    Core& core_;
    bool joined_ = false;
};

// Not inlined: their frames would be paid by every await.
[[gnu::noinline]] void await_parked(TaskCore& self, Core& core, PassingOn::Already already) {
    if (&core == &self)
        throw UsageError("await: task '" + detail::name_of(self) + "' cannot await itself");
    std::string message;
    PassingOn passing_on(self, already);
    Await wait(core);
    int cancels = already == PassingOn::Already::yes ? 1 : 0;
    while (!core.word.done()) {
        if (wait.park() != lowlevel::Woken::by_cancel) {
            lowlevel::checkpoint();  // asyncio: before it runs again is still in this wait
            continue;
        }
        if (core.word.done()) lowlevel::throw_cancelled();
        rt::meet_cancel_of(self, &message);
        pass_cancel_on(self, core, message, cancels++);
    }
}

/// asyncio: a cancel that is due when a task begins to await goes to what it awaits.
[[gnu::noinline]] PassingOn::Already pass_pending_cancel(TaskCore& self, Core& core) {
    using Already = PassingOn::Already;
    if (self.shield_depth != 0 || rt::current_worker()->exceptions->uncaught != 0)
        return Already::no;
    std::string message;
    if (!rt::meet_cancel_of(self, &message)) return Already::no;
    pass_cancel_on(self, core, message, 0);
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
