// The state word: in every schedule one waker wins, no joiner is lost, and the last reference destroys once.
//
// The steps around the word are those of park.cpp, completion.cpp and launch.cpp; a change there is to be made here
// too. "Runnable" counts how often a task was put into a queue: once for each wait, or a fiber would be resumed twice.
#include <weft/detail/task_word.hpp>

#include <array>
#include <cstdint>
#include <memory>

#include <gtest/gtest.h>

#include "checks.hpp"

namespace weft::model {
namespace {

using detail::CancelRequest;
using detail::Claim;
using detail::Parked;
using detail::Woken;

template <class E>
struct Task {
    detail::BasicTaskWord<E> word{2};
    Atomic<int> runnable{0};
    int won = 0;  // wakers that were told that they had won

    void make_runnable() { runnable.fetch_add(1); }

    /// The task's side: a wait of park_task() and after_park(), which ends when the task has been put into a queue.
    Woken wait(bool shielded) {
        std::uint32_t epoch = word.epoch();
        published.store(static_cast<int>(epoch));
        return finish_wait(epoch, shielded);
    }
    Woken finish_wait(std::uint32_t epoch, bool shielded) {
        if (word.park(epoch, shielded) == Parked::already_woken) make_runnable();
        wait_until([&] { return runnable.peek() > 0; });
        require(runnable.fetch_sub(1) == 1, "a task was made runnable twice");
        require(word.epoch() == ((epoch + 1) & 0xffffff),
                "a wait ended and its number did not change by one");
        require(!word.parked(), "a task runs and counts as parked");
        return word.reason();
    }

    /// A waker's side: wake() of park.cpp.
    bool wake(std::uint32_t epoch, Woken reason) {
        switch (word.claim(epoch, reason)) {
            case Claim::lost:
                return false;
            case Claim::won_running:
                ++won;
                return true;
            case Claim::won_parked:
                break;
        }
        ++won;
        make_runnable();
        return true;
    }
    bool cancel() {
        switch (word.request_cancel()) {
            case CancelRequest::claimed:
                ++won;
                make_runnable();
                return true;
            case CancelRequest::pending:
                return true;
            default:
                return false;
        }
    }

    Atomic<int> published{-1};  // the number of the wait that wakers may end
};

// Unpark, deadline and cancel against one wait. A cancel that is due before it parks ends the wait as well.
template <class E>
void one_wait(Execution& execution) {
    auto task = std::make_shared<Task<E>>();
    execution.thread([task] {
        Woken reason = task->wait(false);
        bool by_itself = task->won == 0;
        require(!by_itself || reason == Woken::by_cancel, "a wait ended and nobody had ended it");
        require(task->won <= 1, "two wakers were told that they had won");
    });
    for (Woken reason : {Woken::by_unpark, Woken::by_deadline})
        execution.thread([task, reason] {
            wait_until([&] { return task->published.peek() >= 0; });
            task->wake(0, reason);
        });
    execution.thread([task] { task->cancel(); });
    execution.at_end([task] {
        require(task->runnable.peek() == 0, "a task was left runnable");
        require(task->word.take_cancel(), "a cancel was lost");
        require(!task->word.take_cancel(), "a cancel was delivered twice");
    });
}

// A shielded wait is not ended by a cancel, and keeps it.
template <class E>
void shielded_wait(Execution& execution) {
    auto task = std::make_shared<Task<E>>();
    execution.thread([task] {
        require(task->wait(true) == Woken::by_unpark, "a cancel ended a shielded wait");
        require(task->wait(false) == Woken::by_cancel, "the cancel was not kept for the next wait");
    });
    execution.thread([task] {
        task->cancel();
        wait_until([&] { return task->published.peek() >= 0; });
        task->wake(0, Woken::by_unpark);
    });
}

// Wakers of the first wait are late and meet the second one.
template <class E>
void late_wakers(Execution& execution) {
    auto task = std::make_shared<Task<E>>();
    execution.thread([task] {
        task->wait(false);
        require(task->won == 1, "the first wait has not exactly one winner");
        task->wait(false);
        require(task->won == 2, "the second wait has not exactly one winner");
    });
    for (int i = 0; i < 2; ++i)
        execution.thread([task] {
            wait_until([&] { return task->published.peek() >= 0; });
            task->wake(0, Woken::by_unpark);
            wait_until([&] { return task->published.peek() == 1; });
            task->wake(1, Woken::by_deadline);
        });
}

TEST(TaskWordModel, OneOfUnparkDeadlineAndCancelEndsAWait) {
    expect_holds(one_wait<Env>, {.preemptions = 3});
}
TEST(TaskWordModel, AShieldedWaitKeepsItsCancel) {
    expect_holds(shielded_wait<Env>, {.preemptions = 4});
}
TEST(TaskWordModel, ALateWakerChangesNothing) {
    expect_holds(late_wakers<Env>, {.preemptions = 3});
}
TEST(TaskWordModel, TornClaimsAreFound) { expect_found(one_wait<TornEnv>); }
TEST(TaskWordModel, TornClaimsOfLateWakersAreFound) { expect_found(late_wakers<TornEnv>); }

TEST(TaskWordModel, AWakerThatDoesNotMakeAParkedTaskRunnableIsFound) {
    expect_found([](Execution& execution) {
        auto task = std::make_shared<Task<Env>>();
        execution.thread([task] { task->wait(false); });
        execution.thread([task] { task->word.claim(0, Woken::by_unpark); });
    });
}

// --- plain threads ----------------------------------------------------------------------------------------------

enum class Leaves : std::uint8_t { with_its_token, at_once };

/// park_thread(): a thread waits on its word and sleeps on its token; both are gone when it ends.
Scenario thread_waits(Leaves leaves) {
    return [=](Execution& execution) {
        struct Thread {
            detail::BasicTaskWord<Env> word{1};
            Atomic<bool> token{false};
            bool gone = false;
        };
        auto thread = std::make_shared<Thread>();
        execution.thread([=] {
            bool rung = false;
            if (thread->word.park(0, true) == Parked::yes) {
                while (thread->word.epoch() == 0) {
                    // The deadline may pass at any time.
                    if (any_of(2) == 0) wait_until([&] { return thread->token.peek(); });
                    rung = thread->token.exchange(false);
                    if (!rung && thread->word.claim(0, Woken::by_deadline) != Claim::lost)
                        rung = true;
                }
                // A waker that won is about to give its token: it must find the thread there.
                if (leaves == Leaves::with_its_token && !rung)
                    wait_until([&] { return thread->token.peek(); });
            }
            thread->gone = true;
        });
        execution.thread([=] {
            if (thread->word.claim(0, Woken::by_unpark) != Claim::won_parked) return;
            point();
            require(!thread->gone, "a waker touches a thread that has ended");
            thread->token.exchange(true);
        });
    };
}

TEST(TaskWordModel, AWakerFindsTheThreadItWakes) {
    expect_holds(thread_waits(Leaves::with_its_token), {.preemptions = 4});
}
TEST(TaskWordModel, AThreadThatLeavesWithoutItsTokenIsFound) {
    expect_found(thread_waits(Leaves::at_once), {.preemptions = 4});
}

// --- the end --------------------------------------------------------------------------------------------------------

enum class Finisher : std::uint8_t { alone_or_with_joiners, blind };
enum class Registrar : std::uint8_t { checks, blind };
enum class Setter : std::uint8_t { holds, holds_nothing };

/// Core's joiner list, its lock, and the two references that a task begins with.
template <class E>
struct Finishing {
    detail::BasicTaskWord<E> word{2};
    Atomic<bool> held{false};
    std::array<bool, 2> linked{};
    std::array<Atomic<bool>, 2> told{};
    bool result = false;
    int destroyed = 0;

    void lock() {
        while (held.exchange(true)) wait_until([&] { return !held.peek(); });
    }
    void unlock() { held.store(false); }
    void destroy() {
        require(word.done(), "destroyed before the end");
        require(++destroyed == 1, "destroyed twice");
    }
    void drop() {
        if (word.drop_ref()) destroy();
    }
    void alive() { require(destroyed == 0, "used after it was destroyed"); }

    void finish(Finisher finisher) {
        result = true;
        switch (word.finish_alone(detail::IfCancelled::finish)) {
            case detail::Finish::finished:
                return;
            case detail::Finish::finished_last_ref:
                return destroy();
            default:
                break;
        }
        if (word.finish() == detail::Finish::has_joiners && finisher != Finisher::blind)
            tell_joiners();
        drop();
    }
    /// A future's: set by one who holds no reference.
    void set(Setter setter) {
        result = true;
        detail::Finish finish = setter == Setter::holds ? word.finish_and_hold() : word.finish();
        if (finish == detail::Finish::finished) return;
        tell_joiners();
        if (setter == Setter::holds) drop();
    }
    void tell_joiners() {
        for (;;) {
            alive();
            lock();
            alive();
            std::size_t i = linked[0] ? 0 : 1;
            if (!linked[i]) return unlock();
            linked[i] = false;
            told[i].store(true);
            alive();
            unlock();
        }
    }
    void join(std::size_t i, Registrar registrar) {
        lock();
        alive();
        bool early = word.announce_joiner() || registrar == Registrar::blind;
        if (early) linked[i] = true;
        unlock();
        if (early) wait_until([&] { return told[i].peek(); });
        require(word.done() && result, "a joiner went on before the end");
        alive();
    }
};

template <class E>
Scenario finish_and_join(Finisher finisher, Registrar registrar) {
    return [=](Execution& execution) {
        auto task = std::make_shared<Finishing<E>>();
        task->word.add_ref();  // each joiner holds a handle
        execution.thread([=] { task->finish(finisher); });
        for (std::size_t i = 0; i < 2; ++i)
            execution.thread([=] {
                task->join(i, registrar);
                task->drop();
            });
        execution.at_end([=] { require(task->destroyed == 1, "never destroyed"); });
    };
}

/// The two who wait own the future; whoever sets it knows it through one of them only.
Scenario set_and_join(Setter setter) {
    return [=](Execution& execution) {
        auto future = std::make_shared<Finishing<Env>>();
        execution.thread([=] { future->set(setter); });
        for (std::size_t i = 0; i < 2; ++i)
            execution.thread([=] {
                future->join(i, Registrar::checks);
                future->drop();
            });
        execution.at_end([=] { require(future->destroyed == 1, "never destroyed"); });
    };
}

TEST(TaskWordModel, AFutureOutlivesItsSetting) {
    expect_holds(set_and_join(Setter::holds), {.preemptions = 3});
}
TEST(TaskWordModel, ASetterThatHoldsNothingIsFound) {
    expect_found(set_and_join(Setter::holds_nothing));
}
TEST(TaskWordModel, NoJoinerIsLost) {
    expect_holds(finish_and_join<Env>(Finisher::alone_or_with_joiners, Registrar::checks),
                 {.preemptions = 3});
}
TEST(TaskWordModel, AFinisherThatTellsNobodyIsFound) {
    expect_found(finish_and_join<Env>(Finisher::blind, Registrar::checks));
}
TEST(TaskWordModel, ARegistrarThatDoesNotLookForDoneIsFound) {
    expect_found(finish_and_join<Env>(Finisher::alone_or_with_joiners, Registrar::blind));
}
TEST(TaskWordModel, ATornEndIsFound) {
    expect_found(finish_and_join<TornEnv>(Finisher::alone_or_with_joiners, Registrar::checks));
}

// --- references -----------------------------------------------------------------------------------------------------

/// Holders that pass references on, one who finds the block by looking, and a second life of the block.
template <class E>
void references(Execution& execution) {
    struct Block {
        Finishing<E> task;
        int looked_at = 0;
    };
    auto block = std::make_shared<Block>();
    auto& task = block->task;
    execution.thread([block, &task] { task.finish(Finisher::alone_or_with_joiners); });
    execution.thread([block, &task] {
        task.word.add_ref();
        task.drop();
        task.drop();
    });
    execution.thread([block, &task] {
        if (!task.word.try_add_ref()) return;
        task.alive();
        ++block->looked_at;
        task.alive();
        task.drop();
    });
    execution.at_end([block, &task] {
        require(task.destroyed == 1, "never destroyed");
        require(task.word.refs() == 0, "destroyed with a reference left");
        require(!task.word.try_add_ref(), "a block that is not alive gave a reference");
        task.word.reset(2);
        require(task.word.refs() == 2 && !task.word.done(), "a second life begins with leftovers");
    });
}

TEST(TaskWordModel, TheLastReferenceDestroysOnce) {
    expect_holds(references<Env>, {.preemptions = 4});
}
TEST(TaskWordModel, TornReferencesAreFound) { expect_found(references<TornEnv>); }

}  // namespace
}  // namespace weft::model
