#include <weft/detail/engine.hpp>
#include <weft/detail/wait_list.hpp>
#include <weft/gather.hpp>

#include <memory>
#include <mutex>

#include "detail/watch.hpp"

namespace weft::detail {

namespace {

constexpr int kManyCancels = 100;

struct GatherWatch : Watch, CancelHook {
    Core* failed = nullptr;  // the first one; guarded by lock
    bool stop_at_failure = false;
    bool meets_cancel = false;  // one that came after all had ended, before the caller ran again
    std::atomic<bool> cancel_requested{false};
    std::string message;  // of the cancel

    GatherWatch() noexcept { hears_done_at_once = passes_cancel = true; }
    void hear(Core& child, std::size_t) noexcept override {
        if (child.outcome != Outcome::value && failed == nullptr) failed = &child;
    }
    // Cancelled, it waits for all: what they refer to may be in the caller's frame.
    bool over() const noexcept override {
        return all_have_ended() ||
               (stop_at_failure && failed != nullptr && !cancel_requested.load());
    }

    bool may_launch() const noexcept override {
        return !cancel_requested.load() && (!stop_at_failure || failed == nullptr);
    }

    static void on_cancel(CancelHook& self, CancelWalk& walk) noexcept {
        auto& watch = static_cast<GatherWatch&>(self);
        watch.note_cancel(walk);
        if (watch.strict()) watch.let_go_of_circle(0, walk);
    }

    void note_cancel(CancelWalk& walk) noexcept {
        try {
            message = walk.message();
        } catch (const std::bad_alloc&) {
            // The cancel matters more than its text.
        }
        cancel_requested.store(true);
        for (std::size_t i = 0; i < size(); ++i)
            if (!let_go(i)) walk.add(core(i));
    }

    /// Those that wait for the task itself will not end before it does; see circle.cpp.
    void let_go_of_circle(int cancels, CancelWalk& walk) noexcept {
        bool all = false;
        for (std::size_t i = 0; i < size() && !all; ++i) all = keeps_waiting(core(i));
        std::size_t most = all ? SIZE_MAX : tasks_to_look_at(cancels);
        if (most == 0) return;
        TasksInWait in_wait(*awaiter(), most);
        for (std::size_t i = 0; i < size(); ++i)
            if (!let_go(i) && in_wait.contains(core(i))) {
                in_wait.add_way_from(core(i), walk);
                let_go_of(i);
            }
    }

    void run_unstarted_inline() noexcept {
        TaskCore& self = *current_task();
        set_cancel_hook(self, this);
        for (std::size_t i = 0; i < size(); ++i)
            if (core(i).kind == CoreKind::task && !core(i).word.done())
                try_run_inline(static_cast<TaskCore&>(core(i)));
        set_cancel_hook(self, nullptr);
    }

    void wait_until_over() {
        PassingOn passing_on(*current_task());
        // One that has come while children ran on top went to all of them, and does not come again.
        int cancels = 0;
        if (cancel_requested.load()) {
            CancelWalk walk(message);
            let_go_of_circle(kManyCancels, walk);
            walk.run();
        }
        // In asyncio's order a cancel goes to the children at once, not when the waiter gets its turn.
        if (strict()) set_cancel_hook(*current_task(), this);
        bool waited = !is_over();
        while (wait({"gather", this}) == lowlevel::Woken::by_cancel) {
            std::string text;
            lowlevel::take_cancel(&text);
            CancelWalk walk(text);
            let_go_of_circle(cancels++, walk);
            note_cancel(walk);
            walk.run();
            let_go_of_circle(0, walk);
            walk.run();
        }
        if (strict()) set_cancel_hook(*current_task(), nullptr);
        if (waited) meets_cancel = cancel_due();
    }
};

}  // namespace

void gather_cores(Core* const* cores, std::size_t n, GatherMode mode, std::size_t at_most,
                  Unlaunched* unlaunched) {
    if (n == 0) return;
    auto shared = std::make_shared<GatherWatch>();
    GatherWatch& watch = *shared;
    watch.cancel = GatherWatch::on_cancel;
    watch.stop_at_failure = mode == GatherMode::first_error;
    watch.begin(cores, n, at_most);
    if (unlaunched != nullptr) unlaunched->release();
    if (mode == GatherMode::all) watch.run_unstarted_inline();
    watch.wait_until_over();
    watch.end();
    if (watch.meets_cancel) lowlevel::throw_cancelled();
    if (watch.failed != nullptr && watch.stop_at_failure) {
        // asyncio: the failures that come after the first one count as read.
        for (std::size_t i = 0; i < n; ++i) cores[i]->error_read.store(true);
        std::rethrow_exception(watch.failed->error);
    }
    if (watch.cancel_requested.load()) throw CancelledError(watch.message);
}

}  // namespace weft::detail
