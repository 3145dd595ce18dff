// weft::Runner: several main functions in one runtime. The ids are those of asyncio's semantics.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class RunnerTest : public Everywhere {};
WEFT_TEST_ON_THREADS(RunnerTest);

ContextVar<int> number{"number", 0};

TEST_P(RunnerTest, GivesTheValueOfEachMain) {
    Runner runner(options());
    EXPECT_EQ(runner.run([] { return 1; }), 1);
    EXPECT_EQ(runner.run(weft::coroutine([] { return std::string("two"); })), "two");
    EXPECT_EQ(*runner.run([] { return std::make_unique<int>(3); }), 3);
    int four = 4;
    EXPECT_EQ(&runner.run([&]() -> int& { return four; }), &four);
    runner.run([] {});
}

TEST_P(RunnerTest, AnErrorOfOneMainLeavesTheRunnerUsable) {
    Runner runner(options());
    EXPECT_THROW(runner.run([] { throw std::runtime_error("no"); }), std::runtime_error);
    EXPECT_EQ(runner.run([] { return 1; }), 1);
}

// run-4
TEST_P(RunnerTest, KeepsOneContextAcrossItsRuns) {
    Runner runner(options());
    runner.run([] {
        number.set(1);
        await(create_task([] { number.set(100); }));
    });
    runner.run([] {
        EXPECT_EQ(number.get(), 1);
        number.set(2);
    });
    EXPECT_EQ(runner.run([] { return number.get(); }), 2);
    EXPECT_EQ(number.get(), 0) << "the caller's context is another one";
}

// asyncio.Runner copies the context in which it is made.
TEST_P(RunnerTest, BeginsWithACopyOfTheCallersContext) {
    Context mine;
    mine.run([&] {
        number.set(5);
        EXPECT_EQ(weft::run([] { return number.get(); }, options()), 5);
        Runner runner(options());
        runner.run([] {
            EXPECT_EQ(number.get(), 5);
            number.set(6);
        });
        EXPECT_EQ(number.get(), 5);
    });
}

// run-5
TEST_P(RunnerTest, RunAfterCloseIsAUsageErrorAndDoesNotConsumeTheCoroutine) {
    Runner runner(options());
    runner.close();
    auto coroutine = weft::coroutine([] { return 1; });
    EXPECT_THROW(runner.run(std::move(coroutine)), UsageError);
    EXPECT_TRUE(coroutine);
    coroutine.close();
}

// run-5
TEST_P(RunnerTest, CloseTwiceIsFine) {
    Runner runner(options());
    runner.run([] {});
    runner.close();
    runner.close();
}

TEST_P(RunnerTest, MayBeClosedWithoutAnyRun) {
    {
        Runner runner(options());
    }
    Runner runner(options());
    runner.close();
}

// run-2
TEST_P(RunnerTest, RunInsideATaskIsAUsageErrorAndDoesNotConsumeTheCoroutine) {
    Runner runner(options());
    runner.run([&] {
        auto coroutine = weft::coroutine([] { return 1; });
        EXPECT_THROW(runner.run(std::move(coroutine)), UsageError);
        ASSERT_TRUE(coroutine);
        EXPECT_EQ(await(std::move(coroutine)), 1);
    });
}

TEST_P(RunnerTest, WhatOneRunLeavesGoesOnInTheNext) {
    Runner runner(options());
    Future<int> future;
    Task<int> task;
    runner.run([&] { task = start([&] { return await(future) + 1; }); });
    EXPECT_FALSE(task.done());
    runner.run([&] {
        future.set_result(1);
        EXPECT_EQ(await(task), 2);
    });
}

TEST_P(RunnerTest, CloseCancelsWhatIsLeftAndAwaitsIt) {
    std::atomic<bool> cleaned = false;
    Runner runner(options());
    runner.run([&] {
        start([&] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                yield();
                cleaned = true;
                throw;
            }
        });
    });
    EXPECT_FALSE(cleaned);
    runner.close();
    EXPECT_TRUE(cleaned);
}

TEST_P(RunnerTest, ItsEndIsAClose) {
    std::atomic<bool> cleaned = false;
    {
        Runner runner(options());
        runner.run([&] {
            start([&] {
                try {
                    wait_for_ever();
                } catch (...) {
                    cleaned = true;
                    throw;
                }
            });
        });
    }
    EXPECT_TRUE(cleaned);
}

TEST_P(RunnerTest, MayRunInAnotherThreadThanItWasMadeIn) {
    Runner runner(options());
    EXPECT_EQ(runner.run([] { return 1; }), 1);
    std::thread([&] {
        EXPECT_EQ(runner.run([] { return await(create_task([] { return 2; })); }), 2);
    }).join();
    EXPECT_EQ(runner.run([] { return 3; }), 3);
}

TEST_P(RunnerTest, ThreadsMaySetItsFuturesBetweenRuns) {
    Runner runner(options());
    Future<int> future;
    Task<int> task;
    runner.run([&] { task = start([&] { return await(future); }); });
    std::thread([&] { future.set_result(7); }).join();
    EXPECT_EQ(runner.run([&] { return await(task); }), 7);
}

TEST_P(RunnerTest, TasksHaveItsRuntime) {
    Runner runner(options());
    runner.run([&] { EXPECT_EQ(&current_runtime(), &runner.runtime()); });
    EXPECT_EQ(runner.runtime().workers(), workers());
}

TEST_P(RunnerTest, TwoRunnersTakeTurns) {
    Runner first(options());
    Runner second(options());
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(first.run([&] { return await(create_task([&] { return i; })); }), i);
        EXPECT_EQ(second.run([&] { return await(create_task([&] { return -i; })); }), -i);
    }
}

}  // namespace

}  // namespace weft::test
