#include <weft/detail/engine.hpp>
#include <weft/gather.hpp>

#include <iterator>
#include <memory>
#include <mutex>

#include "detail/call_soon.hpp"

namespace weft::detail {

namespace {

struct GatherWait;

struct GatherNode : JoinNode {
    GatherWait* wait = nullptr;
};

/// Shared by the nodes in the children's lists. Lock order: a child's lock, then this one.
struct GatherWait : CancelHook, std::enable_shared_from_this<GatherWait> {
    SpinLock lock;
    std::size_t pending = 0;
    Core* failed = nullptr;  // the first one
    bool stop_at_failure = false;
    Waiter waiter;
    std::atomic<bool> cancel_requested{false};
    std::string message;  // of the cancel
    Core* const* cores = nullptr;
    std::size_t size = 0;
    rt::Scheduler* strict = nullptr;  // the waiter's runtime, if it keeps asyncio's order
    GatherNode few[4];
    std::unique_ptr<GatherNode[]> many;

    GatherNode* nodes() noexcept { return many != nullptr ? many.get() : few; }

    // Cancelled, it waits for all: what they refer to may be in the caller's frame.
    bool over() const noexcept {
        return pending == 0 || (stop_at_failure && failed != nullptr && !cancel_requested.load());
    }
};

void settle(GatherWait& wait, Core& child) noexcept {
    std::lock_guard guard(wait.lock);
    --wait.pending;
    if (child.outcome != Outcome::value && wait.failed == nullptr) wait.failed = &child;
    // Under the lock: the waiter takes it before it leaves, so `wait` outlives this call.
    if (wait.over() && wait.waiter.core != nullptr) lowlevel::unpark(wait.waiter);
}

void child_done(JoinNode& self, Core& child) noexcept {
    GatherWait& wait = *static_cast<GatherNode&>(self).wait;
    if (wait.strict != nullptr) {
        // asyncio's gather hears of a child's end by a callback. The waiter may have gone by then.
        auto hear = [kept = wait.shared_from_this(), ref = CoreRef::share(child)] {
            settle(*kept, *ref);
        };
        if (call_soon(*wait.strict, hear)) return;
    }
    settle(wait, child);
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
void watch(GatherWait& wait) {
    if (wait.size > std::size(wait.few)) wait.many = std::make_unique<GatherNode[]>(wait.size);
    wait.pending = wait.size;
    for (std::size_t i = 0; i < wait.size; ++i) {
        GatherNode& node = wait.nodes()[i];
        node.wait = &wait;
        node.notify = child_done;
        if (!add_joiner(*wait.cores[i], node)) child_done(node, *wait.cores[i]);
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
    auto shared = std::make_shared<GatherWait>();
    GatherWait& wait = *shared;
    wait.cancel = cancel_children;
    wait.stop_at_failure = mode == GatherMode::first_error;
    wait.cores = cores;
    wait.size = n;
    if (options_of(*current_scheduler()).strict) wait.strict = current_scheduler();
    watch(wait);
    if (mode == GatherMode::all) run_unstarted_inline(wait);
    // In asyncio's order a cancel goes to the children at once, not when the waiter gets its turn.
    if (wait.strict != nullptr) set_cancel_hook(*current_task(), &wait);
    wait_until_over(wait);
    if (wait.strict != nullptr) set_cancel_hook(*current_task(), nullptr);
    for (std::size_t i = 0; i < n; ++i) remove_joiner(*cores[i], wait.nodes()[i]);
    if (wait.failed != nullptr && wait.stop_at_failure) {
        // asyncio: the failures that come after the first one count as read.
        for (std::size_t i = 0; i < n; ++i) cores[i]->error_read.store(true);
        std::rethrow_exception(wait.failed->error);
    }
    if (wait.cancel_requested.load()) throw CancelledError(wait.message);
}

}  // namespace weft::detail
