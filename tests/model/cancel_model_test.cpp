// A cancel travels to where its task waits, in every schedule: it is delivered once, and never lost on the way.
//
// A parent runs two children inline, one after the other, on one stack. The first waits once and is woken; the second
// waits for ever, unless a cancel comes. Somebody cancels the parent, at any time. Whoever of the three meets the
// cancel ends by it; so if the cancel is lost, the parent is blocked for ever. The steps are those of cancel.cpp,
// after_park() in park.cpp, and execute() and run_inline() in worker.cpp; a change there is to be made here too. Each
// step that matters can be left out, and must then be missed.
#include <weft/detail/task_word.hpp>

#include <memory>

#include <gtest/gtest.h>

#include "checks.hpp"

namespace weft::model {
namespace {

using detail::CancelRequest;
using detail::Claim;
using detail::Parked;
using detail::Woken;

struct Steps {
    bool bury_passes_a_cancel_on = true;
    /// Where the one above has ended, the canceller asks the task once more; another one may be parked above the task
    /// by then. Otherwise it trusts that the task goes on and will meet the cancel by itself.
    bool looks_again_when_the_inner_one_has_ended = true;
    /// The task below counts as buried no longer before the one above it is done.
    bool unburies_before_the_end = true;
    /// A cancel that comes between the last look for one and the end makes the end a cancelled one.
    bool the_end_heeds_a_cancel = true;
};

struct Task {
    detail::BasicTaskWord<Env> word{2};
    Atomic<Task*> inner{nullptr};
    Task* below = nullptr;
    Atomic<int> runnable{0};
    Atomic<bool> waits{false};
    bool cancelled = false;
};

class Model {
public:
    explicit Model(const Steps& steps) : s_(steps) {}

    Task parent, first, second;
    bool asked = false;  // the canceller was told that the parent would meet its cancel

    /// The parent's body: two awaits.
    void run_parent() {
        for (Task* child : {&first, &second}) {
            if (parent.word.take_cancel()) cancel(*child);
            run_inline(*child);
            if (child->cancelled) break;
        }
        parent.cancelled = first.cancelled || second.cancelled;
        end(parent);
    }

    void wake_first() {
        wait_until([this] { return first.waits.peek() || first.word.done(); });
        if (first.word.done()) return;
        if (first.word.claim(0, Woken::by_unpark) == Claim::won_parked) first.runnable.fetch_add(1);
    }

    bool cancel(Task& task) {
        for (;;) {
            if (task.word.done()) return false;
            switch (task.word.request_cancel()) {
                case CancelRequest::is_done:
                    return false;
                case CancelRequest::pending:
                    return true;
                case CancelRequest::claimed:
                    task.runnable.fetch_add(1);
                    return true;
                case CancelRequest::is_buried:
                    break;
            }
            if (pass_on(task)) return true;
            spin();
        }
    }

private:
    /// False: look again.
    bool pass_on(Task& task) {
        Task* inner = task.inner.load();
        bool ended = inner == nullptr;
        if (inner != nullptr) {
            if (!inner->word.try_add_ref()) {
                ended = task.inner.load() == inner;
            } else {
                if (task.inner.load() == inner) {
                    if (cancel(*inner)) {
                        inner->word.drop_ref();
                        return true;
                    }
                    ended = true;
                }
                inner->word.drop_ref();
            }
        }
        if (!ended || s_.looks_again_when_the_inner_one_has_ended) return false;
        return true;
    }

    void run_inline(Task& child) {
        child.below = &parent;
        parent.inner.store(&child);
        if (child.word.cancel_pending()) {
            child.cancelled = child.word.take_cancel();
        } else {
            run_child(child);
            if (!child.cancelled && child.word.take_cancel()) child.cancelled = true;
        }
        if (s_.unburies_before_the_end) leave_inline();
        end(child);
        if (!s_.unburies_before_the_end) leave_inline();
    }
    void leave_inline() {
        if (s_.unburies_before_the_end && parent.word.buried()) parent.word.unbury();
        parent.inner.store(nullptr);
        if (parent.word.buried()) parent.word.unbury();
    }

    void run_child(Task& child) {
        if (wait(child) != Woken::by_cancel) return;
        child.cancelled = child.word.take_cancel();
        require(child.cancelled, "a wait ended by a cancel that is not there");
    }

    Woken wait(Task& task) {
        if (task.word.cancel_pending()) return Woken::by_cancel;
        std::uint32_t epoch = task.word.epoch();
        for (Task* t = task.below; t != nullptr && !t->word.buried(); t = t->below) {
            if (!t->word.bury() || !s_.bury_passes_a_cancel_on) continue;
            if (t->word.take_cancel()) cancel(task);
        }
        task.waits.store(true);
        if (task.word.park(epoch, false) == Parked::already_woken) task.runnable.fetch_add(1);
        wait_until([&] { return task.runnable.peek() > 0; });
        require(task.runnable.fetch_sub(1) == 1, "made runnable twice");
        return task.word.reason();
    }

    void end(Task& task) {
        auto if_cancelled = s_.the_end_heeds_a_cancel && !task.cancelled
                                ? detail::IfCancelled::refuse
                                : detail::IfCancelled::finish;
        while (task.word.finish_alone(if_cancelled) == detail::Finish::cancel_is_due) {
            require(task.word.take_cancel(), "it refused for a cancel that is not there");
            task.cancelled = true;
            if_cancelled = detail::IfCancelled::finish;
        }
    }

    const Steps s_;
};

Scenario cancelled_parent(const Steps& steps) {
    return [=](Execution& execution) {
        auto model = std::make_shared<Model>(steps);
        execution.thread([model] { model->run_parent(); });
        execution.thread([model] { model->wake_first(); });
        execution.thread([model] { model->asked = model->cancel(model->parent); });
        execution.at_end([model] {
            require(model->asked,
                    "the parent ended by itself, though the second child waits for ever");
            require(model->parent.cancelled, "the parent did not end as cancelled");
            require(!model->parent.word.cancel_pending(), "a cancel was left behind");
        });
    };
}

TEST(CancelModel, ACancelReachesTheOneThatWaitsOnTop) {
    expect_holds(cancelled_parent({}), {.preemptions = 3});
}

TEST(CancelModel, WithoutPassingOnByBuryACancelIsLost) {
    expect_found(cancelled_parent({.bury_passes_a_cancel_on = false}));
}
TEST(CancelModel, ACancellerThatDoesNotLookAgainLosesIt) {
    expect_found(cancelled_parent({.looks_again_when_the_inner_one_has_ended = false,
                                   .unburies_before_the_end = false}),
                 {.preemptions = 3});
}
TEST(CancelModel, ACancelBetweenTheLastLookAndTheEndIsLost) {
    expect_found(cancelled_parent({.the_end_heeds_a_cancel = false}));
}

}  // namespace
}  // namespace weft::model
