// add_done_callback of tasks and futures. The ids are those of asyncio's semantics.
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class DoneCallbackTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(DoneCallbackTest);

ContextVar<int> number{"number", 0};

// fu-2
TEST_P(DoneCallbackTest, ItIsScheduledAndNotCalledInline) {
    run([&] {
        HoldOtherWorkers hold(workers());
        std::atomic<int> called = 0;
        auto count = [&](const auto&) { ++called; };
        auto task = create_task([] { return 1; }, {.eager = true});
        task.add_done_callback(count);
        EXPECT_EQ(called, 0);
        Future<int> future;
        future.add_done_callback(count);
        future.set_result(1);
        EXPECT_EQ(called, 0);
        hold.release();
        yield_until([&] { return called == 2; });
    });
}

// fu-2
TEST_P(DoneCallbackTest, ItIsScheduledAtOnceForWhatIsDone) {
    run([] {
        Future<int> future;
        future.set_result(7);
        Event called;
        future.add_done_callback([&](const Future<int>& done) {
            EXPECT_EQ(done.result(), 7);
            called.set();
        });
        called.wait();
    });
}

// fu-2
TEST_P(DoneCallbackTest, TheyAreCalledInTheOrderInWhichTheyWereAdded) {
    run([&] {
        if (!alone()) return;  // with more workers they run side by side
        std::vector<int> order;
        Future<void> future;
        for (int i = 0; i < 20; ++i)
            future.add_done_callback([&, i](const Future<void>&) { order.push_back(i); });
        future.set_result();
        yield_until([&] { return order.size() == 20; });
        EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
    });
}

// fu-2
TEST_P(DoneCallbackTest, EachHasTheContextOfTheTimeWhenItWasAdded) {
    run([] {
        Future<void> future;
        std::atomic<int> sum = 0;
        std::atomic<int> called = 0;
        auto add = [&](const Future<void>&) {
            sum += number.get();
            number.set(1000);
            ++called;
        };
        number.set(1);
        future.add_done_callback(add);
        number.set(10);
        future.add_done_callback(add);
        number.set(100);
        future.set_result();
        yield_until([&] { return called == 2; });
        EXPECT_EQ(sum, 11);
        EXPECT_EQ(number.get(), 100);
    });
}

TEST_P(DoneCallbackTest, ItGetsTheDoneHandle) {
    run([] {
        Event called;
        auto task = create_task([] { return std::string("value"); }, {.name = "the task"});
        task.add_done_callback([&](const Task<std::string>& done) {
            EXPECT_TRUE(done.done());
            EXPECT_EQ(done, task);
            EXPECT_EQ(done.result(), "value");
            called.set();
        });
        called.wait();
    });
}

TEST_P(DoneCallbackTest, ItIsCalledForAnErrorAndForACancelToo) {
    run([] {
        std::atomic<int> called = 0;
        auto failed = create_task([] { throw std::runtime_error("failed"); });
        failed.add_done_callback([&](const Task<void>& done) {
            EXPECT_EQ(text_of(done.exception()), "failed");
            ++called;
        });
        auto cancelled = create_task([] { wait_for_ever(); });
        cancelled.add_done_callback([&](const Task<void>& done) {
            EXPECT_TRUE(done.cancelled());
            ++called;
        });
        cancelled.cancel();
        yield_until([&] { return called == 2; });
    });
}

TEST_P(DoneCallbackTest, ItIsCalledOnceForEachTimeItWasAdded) {
    run([] {
        std::atomic<int> called = 0;
        Future<void> future;
        auto count = [&](const Future<void>&) { ++called; };
        future.add_done_callback(count);
        future.add_done_callback(count);
        future.set_result();
        yield_until([&] { return called == 2; });
        settle();
        EXPECT_EQ(called, 2);
    });
}

TEST_P(DoneCallbackTest, ItIsNoTaskOfTheUsers) {
    run([] {
        Event called;
        Future<void> future;
        future.add_done_callback([&](const Future<void>&) {
            EXPECT_FALSE(current_task()) << "asyncio: no current task in a callback";
            EXPECT_EQ(all_tasks().size(), 1U);
            called.set();
        });
        future.set_result();
        called.wait();
    });
}

TEST_P(DoneCallbackTest, ItMayCreateTasksAndAddOthers) {
    run([] {
        Event called;
        Future<void> future;
        future.add_done_callback([&](const Future<void>& done) {
            done.add_done_callback([&](const Future<void>&) {
                create_task([&] {
                    yield();
                    called.set();
                });
            });
        });
        future.set_result();
        called.wait();
    });
}

TEST_P(DoneCallbackTest, AnErrorOfOneIsReportedAndTheOthersAreCalled) {
    Reports reports;
    run({.exception_handler = reports.handler()}, [&] {
        reports.take();
        std::atomic<int> called = 0;
        Future<void> future;
        future.add_done_callback([&](const Future<void>&) { ++called; });
        future.add_done_callback(
            [](const Future<void>&) { throw std::runtime_error("in callback"); });
        future.add_done_callback([&](const Future<void>&) { ++called; });
        future.set_result();
        yield_until([&] { return called == 2 && reports.size() == 1; });
        EXPECT_NE(reports.take()[0].find("in callback"), std::string::npos);
    });
}

TEST_P(DoneCallbackTest, ItDiesUncalledWithAFutureThatIsNeverSet) {
    run([] {
        auto tracked = std::make_shared<int>();
        {
            Future<int> future;
            future.add_done_callback([tracked](const Future<int>&) { ADD_FAILURE(); });
            EXPECT_EQ(tracked.use_count(), 2);
        }
        settle();
        EXPECT_EQ(tracked.use_count(), 1) << "asyncio: a future's callbacks are collected with it";
    });
}

TEST_P(DoneCallbackTest, AThreadMaySetTheFutureAndTheCallbackRunsInAWorker) {
    run([] {
        Event called;
        Future<int> future;
        std::thread::id setter;
        future.add_done_callback([&](const Future<int>&) {
            EXPECT_NE(std::this_thread::get_id(), setter);
            EXPECT_NO_THROW(current_runtime());
            called.set();
        });
        to_thread([&] {
            setter = std::this_thread::get_id();
            future.set_result(1);
        });
        called.wait();
    });
}

// fu-2
TEST_P(DoneCallbackTest, ItCanBeTakenBackUntilItIsScheduled) {
    run([] {
        struct CountsDestroyed {
            std::shared_ptr<int> alive;
            void operator()(const Future<int>&) const { ADD_FAILURE() << "called"; }
        };
        Future<int> future;
        Event called;
        auto alive = std::make_shared<int>(0);
        CallbackId taken_back = future.add_done_callback(CountsDestroyed{alive});
        CallbackId kept = future.add_done_callback([&](const Future<int>&) { called.set(); });
        EXPECT_NE(taken_back, kept);
        EXPECT_EQ(future.remove_done_callback(taken_back), 1U);
        EXPECT_EQ(alive.use_count(), 1);
        EXPECT_EQ(future.remove_done_callback(taken_back), 0U);
        future.set_result(1);
        EXPECT_EQ(future.remove_done_callback(kept), 0U);
        called.wait();

        auto task = create_task(wait_for_ever);
        CallbackId of_task = task.add_done_callback([](const Task<void>&) { ADD_FAILURE(); });
        EXPECT_EQ(future.remove_done_callback(of_task), 0U);
        EXPECT_EQ(AnyTask(task).remove_done_callback(of_task), 1U);
        task.cancel();
    });
}

TEST_P(DoneCallbackTest, OneWhoseRuntimeHasEndedIsDropped) {
    auto alive = std::make_shared<int>(0);
    Future<int> future;
    run([&] {
        future.add_done_callback([alive](const Future<int>&) { ADD_FAILURE() << "called"; });
    });
    EXPECT_GT(alive.use_count(), 1);
    future.set_result(1);
    EXPECT_EQ(alive.use_count(), 1);
    future = {};

    Task<int> task;
    run([&] {
        task = create_task([] { return 1; });
        await(task);
    });
    EXPECT_THROW(task.add_done_callback([alive](const Task<int>&) {}), UsageError);
    EXPECT_EQ(alive.use_count(), 1);
}

}  // namespace

}  // namespace weft::test
