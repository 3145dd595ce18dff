// Cancelling a task: when the CancelledError comes, how often, and what is left of it. The ids are those of asyncio's
// semantics. Whom a cancel is passed on to is in cancel_passing_test.cpp.
#include <stdexcept>
#include <type_traits>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class CancelTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(CancelTest);

// --- before it begins ---------------------------------------------------------------------------------------------

// cancel-1
TEST_P(CancelTest, ATaskThatIsCancelledBeforeItsFirstStepNeverRuns) {
    run([&] {
        bool ran = false;
        HoldOtherWorkers hold(workers());
        auto task = create_task([&] { ran = true; });
        EXPECT_TRUE(task.cancel("too early"));
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "too early");
        EXPECT_FALSE(ran);
        EXPECT_TRUE(task.cancelled());
    });
}

// cancel-1
TEST_P(CancelTest, ACoroutineWhoseTaskIsCancelledBeforeItsFirstStepNeverRuns) {
    run([&] {
        bool ran = false;
        HoldOtherWorkers hold(workers());
        auto task = create_task(weft::coroutine([&] { ran = true; }));
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_FALSE(ran);
    });
}

// --- what cancel() says -------------------------------------------------------------------------------------------

// cancel-2
TEST_P(CancelTest, CancelSaysFalseForADoneTaskAndElseTrue) {
    run([] {
        auto waits = create_task([] { wait_for_ever(); });
        EXPECT_TRUE(waits.cancel());
        EXPECT_TRUE(waits.cancel());
        EXPECT_THROW(await(waits), CancelledError);
        EXPECT_FALSE(waits.cancel());
        auto done = create_task([] { return 1; });
        await(done);
        EXPECT_FALSE(done.cancel());
        EXPECT_EQ(done.cancelling(), 0);
        EXPECT_EQ(done.result(), 1);
        auto failed = create_task([] { throw std::runtime_error("failed"); });
        EXPECT_THROW(await(failed), std::runtime_error);
        EXPECT_FALSE(failed.cancel());
    });
}

// cancel-3
TEST_P(CancelTest, CancelledIsFalseUntilTheBodyEndsAndCancellingCountsTheRequests) {
    run([] {
        Event cleaning;
        Event go_on;
        auto task = create_task([&] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                cleaning.set();
                go_on.wait();
                throw;
            }
        });
        settle();
        EXPECT_EQ(task.cancelling(), 0);
        task.cancel();
        cleaning.wait();
        EXPECT_FALSE(task.cancelled());
        EXPECT_FALSE(task.done());
        EXPECT_EQ(task.cancelling(), 1);
        go_on.set();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(task.cancelled());
        EXPECT_TRUE(task.done());
    });
}

// --- how often ----------------------------------------------------------------------------------------------------

// cancel-4
TEST_P(CancelTest, OneCancelIsOneCancelledErrorAtTheCurrentWait) {
    run([] {
        Event second;
        auto task = create_task([&] {
            EXPECT_EQ(cancel_message_of([] { wait_for_ever(); }), "once");
            second.wait();
            yield();
            weft::sleep(0s);
            return current_task().cancelling();
        });
        settle();
        task.cancel("once");
        settle();
        EXPECT_FALSE(task.done()) << "it waits for the second event";
        second.set();
        EXPECT_EQ(await(task), 1) << "swallowed, but not taken back";
        EXPECT_FALSE(task.cancelled());
    });
}

// cancel-4
TEST_P(CancelTest, ACancelOfARunningTaskComesAtItsNextWait) {
    run([&] {
        if (alone() || simulated()) return;  // nobody else runs meanwhile
        std::atomic<bool> begun = false;
        std::atomic<bool> cancelled = false;
        auto victim = create_task([&] {
            begun = true;
            while (!cancelled) std::this_thread::yield();
            std::string message = cancel_message_of([] { yield(); });
            yield();
            return message;
        });
        while (!begun) std::this_thread::yield();
        EXPECT_TRUE(victim.cancel("while it ran"));
        EXPECT_FALSE(victim.done());
        cancelled = true;
        EXPECT_EQ(await(victim), "while it ran");
    });
}

// cancel-5
TEST_P(CancelTest, ASecondCancelInterruptsTheCleanupOfTheFirst) {
    run([] {
        Event cleaning;
        auto task = create_task([&] {
            try {
                wait_for_ever();
            } catch (const CancelledError& first) {
                EXPECT_EQ(first.message(), "first");
                cleaning.set();
                EXPECT_EQ(cancel_message_of([] { wait_for_ever(); }), "second");
                return current_task().cancelling();
            }
            return -1;
        });
        settle();
        task.cancel("first");
        cleaning.wait();
        settle();
        task.cancel("second");
        EXPECT_EQ(await(task), 2);
    });
}

TEST_P(CancelTest, TwoCancelsBeforeItWaitsAreOneErrorWithTheLastMessage) {
    run([] {
        auto task = create_task([] {
            current_task().cancel("first");
            current_task().cancel("second");
            EXPECT_EQ(cancel_message_of([] { yield(); }), "second");
            yield();
            return current_task().cancelling();
        });
        EXPECT_EQ(await(task), 2);
    });
}

TEST_P(CancelTest, AMessageIsNotKeptForALaterCancel) {
    run([] {
        auto task = create_task([] {
            current_task().cancel("first");
            EXPECT_EQ(cancel_message_of([] { yield(); }), "first");
            current_task().cancel();
            EXPECT_EQ(cancel_message_of([] { yield(); }), "");
        });
        await(task);
    });
}

// --- of oneself ---------------------------------------------------------------------------------------------------

// cancel-6
TEST_P(CancelTest, ASelfCancelComesAtTheNextWait) {
    run([] {
        std::atomic<bool> reached = false;
        auto task = create_task([&] {
            current_task().cancel("myself");
            reached = true;
            yield();
            ADD_FAILURE() << "went on";
        });
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "myself");
        EXPECT_TRUE(reached);
    });
}

// cancel-6
TEST_P(CancelTest, ASelfCancelComesAtEveryKindOfWait) {
    run([] {
        Event event;
        Lock lock;
        lock.acquire();
        Semaphore semaphore(0);
        Queue<int> queue;
        Future<int> future;
        auto expect_cancelled = [](const char* where, auto&& wait) {
            current_task().cancel(where);
            EXPECT_EQ(cancel_message_of(wait), where);
            current_task().uncancel();
        };
        expect_cancelled("yield", [] { yield(); });
        expect_cancelled("sleep", [] { weft::sleep(1h); });
        expect_cancelled("sleep of zero", [] { weft::sleep(0s); });
        expect_cancelled("sleep_until", [] { weft::sleep_until(now() + 1h); });
        expect_cancelled("Event", [&] { event.wait(); });
        expect_cancelled("Lock", [&] { lock.acquire(); });
        expect_cancelled("Semaphore", [&] { semaphore.acquire(); });
        expect_cancelled("Queue", [&] { queue.get(); });
        expect_cancelled("Future", [&] { await(future); });
        expect_cancelled("Task", [&] { await(create_task([] { wait_for_ever(); })); });
        expect_cancelled("gather",
                         [&] { gather([] { wait_for_ever(); }, [] { wait_for_ever(); }); });
        expect_cancelled("task_group", [&] {
            task_group([](TaskGroup& group) { group.create_task([] { wait_for_ever(); }); });
        });
        expect_cancelled("timeout", [] { timeout(1h, [] { wait_for_ever(); }); });
        expect_cancelled("wait_for", [] { wait_for([] { wait_for_ever(); }, 1h); });
        expect_cancelled("to_thread", [] { to_thread([] {}); });
        EXPECT_EQ(cancel_message_of([&] {
                      current_task().cancel("shield");
                      shield(Future<int>());
                  }),
                  "shield");
        lock.release();
    });
}

// cancel-7
TEST_P(CancelTest, ASelfCancelAndAReturnWithoutAWaitEndsCancelled) {
    run([] {
        auto task = create_task([] {
            current_task().cancel("at the end");
            return 1;
        });
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "at the end");
        EXPECT_TRUE(task.cancelled());
    });
}

TEST_P(CancelTest, ASelfCancelAndAnErrorWithoutAWaitEndsWithTheError) {
    run([] {
        auto task = create_task([] {
            current_task().cancel();
            throw std::runtime_error("the error wins");
        });
        EXPECT_EQ(what_of<std::runtime_error>([&] { await(task); }), "the error wins");
        EXPECT_FALSE(task.cancelled());
    });
}

// --- taken back ---------------------------------------------------------------------------------------------------

// cancel-8
TEST_P(CancelTest, UncancelToZeroBeforeItIsDeliveredDropsIt) {
    run([] {
        auto task = create_task([] {
            current_task().cancel();
            EXPECT_EQ(current_task().uncancel(), 0);
            yield();
            current_task().cancel();
            current_task().cancel();
            EXPECT_EQ(current_task().uncancel(), 1);
            EXPECT_THROW(yield(), CancelledError) << "one request is left";
            EXPECT_EQ(current_task().uncancel(), 0);
            EXPECT_EQ(current_task().uncancel(), 0) << "it never goes below zero";
            yield();
            return 1;
        });
        EXPECT_EQ(await(task), 1);
    });
}

// cancel-8
TEST_P(CancelTest, UncancelFromOutsideBeforeItBeginsLetsItRun) {
    run([&] {
        HoldOtherWorkers hold(workers());
        auto task = create_task([] { return 1; });
        task.cancel();
        EXPECT_EQ(task.uncancel(), 0);
        EXPECT_EQ(await(task), 1);
    });
}

// --- the error itself ---------------------------------------------------------------------------------------------

// cancel-9
TEST_P(CancelTest, ABodyThatThrowsCancelledErrorEndsCancelledWithoutARequest) {
    run([] {
        auto task = create_task([] { throw CancelledError("by itself"); });
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "by itself");
        EXPECT_TRUE(task.cancelled());
        EXPECT_EQ(task.cancelling(), 0);
    });
}

TEST_P(CancelTest, CatchingStdExceptionDoesNotSwallowIt) {
    static_assert(!std::is_base_of_v<std::exception, CancelledError>);
    run([] {
        auto task = create_task([] {
            try {
                wait_for_ever();
            } catch (const std::exception&) {
                ADD_FAILURE() << "swallowed";
            }
        });
        settle();
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
    });
}

TEST_P(CancelTest, WhoeverSwallowsItGivesAValue) {
    run([] {
        auto task = create_task([] {
            try {
                wait_for_ever();
            } catch (...) {
            }
            return 1;
        });
        settle();
        task.cancel();
        EXPECT_EQ(await(task), 1);
        EXPECT_FALSE(task.cancelled());
        EXPECT_EQ(task.cancelling(), 1);
    });
}

TEST_P(CancelTest, AnotherErrorInAnswerToItIsTheTasksError) {
    run([] {
        auto task = create_task([] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                throw std::runtime_error("instead");
            }
        });
        settle();
        task.cancel();
        EXPECT_EQ(what_of<std::runtime_error>([&] { await(task); }), "instead");
        EXPECT_FALSE(task.cancelled());
    });
}

// fu-5
TEST_P(CancelTest, TheMessageIsInTheResultAndTheExceptionOfTheTask) {
    run([] {
        auto task = create_task([] { wait_for_ever(); });
        settle();
        task.cancel("why");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "why");
        EXPECT_EQ(cancel_message_of([&] { task.result(); }), "why");
        EXPECT_EQ(cancel_message_of([&] { (void)task.exception(); }), "why");
        EXPECT_EQ(cancel_message_of([&] { await(AnyTask(task)); }), "why");
    });
}

TEST_P(CancelTest, AnyThreadMayCancel) {
    run([] {
        auto task = create_task([] { wait_for_ever(); });
        to_thread([&] { EXPECT_TRUE(task.cancel("from a thread")); });
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "from a thread");
    });
}

TEST_P(CancelTest, AllOfManyWaitersCanBeCancelledAtOnce) {
    run([] {
        Event never;
        std::vector<Task<bool>> tasks;
        for (int i = 0; i < 100; ++i) tasks.push_back(create_task([&] { return never.wait(); }));
        settle();
        for (auto& task : tasks) EXPECT_TRUE(task.cancel());
        for (auto& task : tasks) EXPECT_THROW(await(task), CancelledError);
    });
}

}  // namespace

}  // namespace weft::test
