#include <weft/gather.hpp>

#include <memory>
#include <mutex>

namespace weft::detail {

namespace {

/// Shared by the nodes in the children's lists. Lock order: a child's lock, then this one.
struct GatherWait : CancelHook {
    SpinLock lock;
    std::size_t pending = 0;
    Core* failed = nullptr;  // the first one
    bool stop_at_failure = false;
    Waiter waiter;
    std::atomic<bool> cancel_requested{false};
    std::string message;  // of the cancel
    Core* const* cores = nullptr;
    std::size_t size = 0;

    // Cancelled, it waits for all: what they refer to may be in the caller's frame.
    bool over() const noexcept {
        return pending == 0 || (stop_at_failure && failed != nullptr && !cancel_requested.load());
    }
};

struct GatherNode : JoinNode {
    GatherWait* wait = nullptr;
};

void child_done(JoinNode& self, Core& child) noexcept {
    GatherWait& wait = *static_cast<GatherNode&>(self).wait;
    std::lock_guard guard(wait.lock);
    --wait.pending;
    if (child.outcome != Outcome::value && wait.failed == nullptr) wait.failed = &child;
    // Under the lock: the waiter takes it before it leaves, so `wait` outlives this call.
    if (wait.over() && wait.waiter.core != nullptr) lowlevel::unpark(wait.waiter);
}

void cancel_children(CancelHook& self, const std::string& message) noexcept {
    auto& wait = static_cast<GatherWait&>(self);
    try {
        wait.message = message;
    } catch (const std::bad_alloc&) {
        // The cancel matters more than its text.
    }
    wait.cancel_requested.store(true);
    for (std::size_t i = 0; i < wait.size; ++i) cancel_core(*wait.cores[i], message);
}

/// Links a node into each child; a child that is done already counts at once.
void watch(GatherWait& wait, GatherNode* nodes) noexcept {
    wait.pending = wait.size;
    for (std::size_t i = 0; i < wait.size; ++i) {
        nodes[i].wait = &wait;
        nodes[i].notify = child_done;
        if (!add_joiner(*wait.cores[i], nodes[i])) child_done(nodes[i], *wait.cores[i]);
    }
}

void run_unstarted_inline(GatherWait& wait) noexcept {
    TaskCore& self = *current_task();
    set_cancel_hook(self, &wait);
    for (std::size_t i = 0; i < wait.size; ++i)
        if (wait.cores[i]->kind == CoreKind::task && !wait.cores[i]->word.done())
            try_run_inline(static_cast<TaskCore&>(*wait.cores[i]));
    set_cancel_hook(self, nullptr);
}

void wait_until_over(GatherWait& wait) {
    for (;;) {
        {
            std::lock_guard guard(wait.lock);
            wait.waiter = {};
            if (wait.over()) return;
        }
        auto commit = [&](Waiter self) noexcept {
            std::lock_guard guard(wait.lock);
            if (wait.over()) return false;
            wait.waiter = self;
            return true;
        };
        if (lowlevel::park({"gather", &wait}, commit) != lowlevel::Woken::by_cancel) continue;
        std::string message;
        lowlevel::take_cancel(&message);
        cancel_children(wait, message);
    }
}

}  // namespace

void gather_cores(Core* const* cores, std::size_t n, GatherMode mode) {
    if (n == 0) return;
    GatherWait wait;
    wait.cancel = cancel_children;
    wait.stop_at_failure = mode == GatherMode::first_error;
    wait.cores = cores;
    wait.size = n;
    auto nodes = std::make_unique<GatherNode[]>(n);
    watch(wait, nodes.get());
    if (mode == GatherMode::all) run_unstarted_inline(wait);
    wait_until_over(wait);
    for (std::size_t i = 0; i < n; ++i) remove_joiner(*cores[i], nodes[i]);
    if (wait.failed != nullptr && wait.stop_at_failure) {
        // asyncio: the failures that come after the first one count as read.
        for (std::size_t i = 0; i < n; ++i) cores[i]->error_read.store(true);
        std::rethrow_exception(wait.failed->error);
    }
    if (wait.cancel_requested.load()) throw CancelledError(wait.message);
}

}  // namespace weft::detail
