// weft::Runtime: work from plain threads, its ConcurrentFuture, several runtimes in a process, shutdown.
// The ids are those of asyncio's semantics.
#include <barrier>
#include <future>
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class RuntimeTest : public Everywhere {};
WEFT_TEST_ON_THREADS(RuntimeTest);

ContextVar<int> number{"number", 0};

// --- submit -------------------------------------------------------------------------------------------------------

// th-4
TEST_P(RuntimeTest, SubmittedWorkGivesItsValueToAPlainThread) {
    Runtime runtime(options());
    EXPECT_EQ(runtime.submit([] { return 42; }).result(), 42);
    std::unique_ptr<int> moved = runtime.submit([] { return std::make_unique<int>(43); }).result();
    EXPECT_EQ(*moved, 43);
    moved = runtime.submit([] { return std::make_unique<int>(44); }).result(1min);
    EXPECT_EQ(*moved, 44);
    EXPECT_EQ(runtime
                  .submit(weft::coroutine([] {
                      yield();
                      return std::string("coroutine");
                  }))
                  .result(),
              "coroutine");
    runtime.submit([] { yield(); }).result();
    EXPECT_EQ(*runtime.submit([] { return std::make_unique<int>(7); }).result(), 7);
    int here = 0;
    EXPECT_EQ(&runtime.submit([&]() -> int& { return here; }).result(), &here);
}

// th-4
TEST_P(RuntimeTest, SubmittedWorkThrowsItsErrorWhereTheResultIsAsked) {
    Runtime runtime(options());
    auto future = runtime.submit([] {
        yield();
        throw std::out_of_range("work failed");
    });
    for (int i = 0; i < 2; ++i)
        EXPECT_EQ(what_of<std::out_of_range>([&] { future.result(); }), "work failed");
    EXPECT_EQ(text_of(future.exception()), "work failed");
    EXPECT_TRUE(future.done());
    EXPECT_FALSE(future.cancelled());
}

TEST_P(RuntimeTest, TheValueStaysForAllWhoAsk) {
    Runtime runtime(options());
    auto future = runtime.submit([] { return std::string("value"); });
    auto copy = future;
    EXPECT_EQ(future.result(), "value");
    EXPECT_EQ(copy.result(), "value");
    EXPECT_EQ(copy.result(10s), "value");
    EXPECT_EQ(copy.exception(), nullptr);
}

TEST_P(RuntimeTest, APlainThreadSeesTheTasksOfThatRuntimeThatAreNotDone) {
    Runtime runtime(options());
    Runtime other(options());
    Event go_on;
    auto future = runtime.submit([&] {
        current_task().set_name("seen");
        go_on.wait();
    });
    other.submit([] {}).result();
    while (runtime.all_tasks().empty() || runtime.all_tasks()[0].get_name() != "seen")
        std::this_thread::yield();
    EXPECT_EQ(runtime.all_tasks().size(), 1U);
    EXPECT_TRUE(other.all_tasks().empty());
    go_on.set();
    future.result();
    EXPECT_TRUE(runtime.all_tasks().empty());
    runtime.shutdown();
    EXPECT_TRUE(runtime.all_tasks().empty());
}

TEST_P(RuntimeTest, ManyThreadsMaySubmitAtOnce) {
    Runtime runtime(options());
    std::atomic<int> ran = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 500; ++i) {
                auto future = runtime.submit([&, i] {
                    if (i % 3 == 0) yield();
                    ++ran;
                    return i;
                });
                if (i % 2 == 0) {
                    EXPECT_EQ(future.result(), i);
                }
            }
        });
    for (std::thread& thread : threads) thread.join();
    runtime.submit([&] { yield_until([&] { return ran == 2000; }); }).result();
}

// asyncio: call_soon_threadsafe takes a copy of the calling thread's context.
TEST_P(RuntimeTest, SubmittedWorkHasACopyOfTheSubmittersContext) {
    Runtime runtime(options());
    Context mine;
    mine.run([&] {
        number.set(3);
        auto work = [] {
            int seen = number.get();
            number.set(100);
            return seen;
        };
        EXPECT_EQ(runtime.submit(work).result(), 3);
        EXPECT_EQ(number.get(), 3);
    });
    EXPECT_EQ(runtime.submit([] { return number.get(); }).result(), 0);
}

TEST_P(RuntimeTest, ATaskMaySubmitToItsOwnRuntimeAndWait) {
    Runtime runtime(options());
    int sum = runtime
                  .submit([] {
                      auto inner = current_runtime().submit([] { return 1; });
                      return inner.result() + 1;
                  })
                  .result();
    EXPECT_EQ(sum, 2);
}

TEST_P(RuntimeTest, ResultInAFiberWaitsWithoutBlockingTheWorker) {
    Runtime near(options());
    Runtime far(options());
    Future<int> value;
    auto answer = far.submit([&] { return await(value); });
    near.submit([&] {
            auto waiter = start([&] { return answer.result(); });
            settle();
            EXPECT_FALSE(waiter.done());
            value.set_result(9);
            EXPECT_EQ(await(waiter), 9);
        })
        .result();
}

TEST_P(RuntimeTest, ResultInAFiberIsACancelPointAndTheWorkGoesOn) {
    Runtime runtime(options());
    Future<int> value;
    auto work = runtime.submit([&] { return await(value); });
    runtime
        .submit([&] {
            auto waiter = start([&] { return work.result(); });
            waiter.cancel("do not wait");
            EXPECT_EQ(cancel_message_of([&] { await(waiter); }), "do not wait");
            value.set_result(1);
        })
        .result();
    EXPECT_EQ(work.result(), 1);
}

TEST_P(RuntimeTest, AResultWithALimitIsATimeoutErrorAndTheWorkGoesOn) {
    Runtime runtime(options());
    Future<int> value;
    auto future = runtime.submit([&] { return await(value); });
    EXPECT_THROW(future.result(1ms), TimeoutError);
    EXPECT_THROW(future.result(0s), TimeoutError);
    EXPECT_FALSE(future.done());
    value.set_result(5);
    EXPECT_EQ(future.result(60s), 5);
}

// th-5
TEST_P(RuntimeTest, CancelEndsTheWorkInTheRuntime) {
    Runtime runtime(options());
    std::promise<void> waits;
    std::atomic<bool> cleaned = false;
    auto future = runtime.submit([&] {
        try {
            waits.set_value();
            wait_for_ever();
        } catch (const CancelledError&) {
            yield();
            cleaned = true;
            throw;
        }
    });
    waits.get_future().wait();
    EXPECT_TRUE(future.cancel("from a thread"));
    EXPECT_EQ(cancel_message_of([&] { future.result(); }), "from a thread");
    EXPECT_TRUE(cleaned);
    EXPECT_TRUE(future.cancelled());
    EXPECT_FALSE(future.cancel()) << "it is done";
    EXPECT_EQ(cancel_message_of([&] { (void)future.exception(); }), "from a thread");
}

TEST_P(RuntimeTest, AnErrorThatNobodyReadIsReportedToItsHandlerOnce) {
    Reports reports;
    {
        Runtime runtime(options({.exception_handler = reports.handler()}));
        auto future = runtime.submit([] { throw std::runtime_error("unread"); });
        while (!future.done()) std::this_thread::yield();
    }
    std::vector<std::string> told = reports.take();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_NE(told[0].find("unread"), std::string::npos) << told[0];
}

// --- post ---------------------------------------------------------------------------------------------------------

TEST_P(RuntimeTest, PostCallsInAWorkerAndIsNoTask) {
    Runtime runtime(options());
    std::promise<bool> called;
    runtime.post([&] {
        EXPECT_EQ(&current_runtime(), &runtime);
        called.set_value(static_cast<bool>(current_task()));
    });
    EXPECT_FALSE(called.get_future().get()) << "asyncio: a callback has no current task";
}

TEST_P(RuntimeTest, WhatIsPostedInOrderIsCalledInOrderByOneWorker) {
    if (!alone()) GTEST_SKIP() << "workers take what is posted in parallel";
    Runtime runtime(options());
    std::vector<int> order;
    for (int i = 0; i < 100; ++i) runtime.post([&, i] { order.push_back(i); });
    runtime.submit([] {}).result();
    ASSERT_EQ(order.size(), 100U);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_P(RuntimeTest, AnErrorOfWhatWasPostedIsReportedOnce) {
    Reports reports;
    {
        Runtime runtime(options({.exception_handler = reports.handler()}));
        runtime.post([] { throw std::runtime_error("posted"); });
        runtime.submit([&] { yield_until([&] { return reports.size() > 0; }); }).result();
    }
    std::vector<std::string> told = reports.take();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_NE(told[0].find("posted"), std::string::npos) << told[0];
}

TEST_P(RuntimeTest, WhatWasPostedBeforeShutdownIsCalled) {
    std::atomic<int> called = 0;
    for (int i = 0; i < 20; ++i) {
        Runtime runtime(options());
        runtime.post([&] { ++called; });
    }
    EXPECT_EQ(called, 20);
}

// --- several ------------------------------------------------------------------------------------------------------

TEST_P(RuntimeTest, SeveralRuntimesWorkAtOnceAndEachTaskKnowsItsOwn) {
    Runtime first(options());
    Runtime second(options());
    Future<int> here;
    Future<int> there;
    auto a = first.submit([&] {
        EXPECT_EQ(&current_runtime(), &first);
        there.set_result(1);
        return await(here);
    });
    auto b = second.submit([&] {
        EXPECT_EQ(&current_runtime(), &second);
        here.set_result(2);
        return await(there);
    });
    EXPECT_EQ(a.result(), 2);
    EXPECT_EQ(b.result(), 1);
}

TEST_P(RuntimeTest, AllTasksAreThoseOfTheOwnRuntime) {
    Runtime first(options());
    Runtime second(options());
    std::promise<void> waits;
    auto stranger = first.submit([&] {
        waits.set_value();
        wait_for_ever();
    });
    waits.get_future().wait();
    EXPECT_EQ(second.submit([] { return all_tasks().size(); }).result(), 1U);
    stranger.cancel();
}

// --- shutdown -----------------------------------------------------------------------------------------------------

TEST_P(RuntimeTest, ShutdownCancelsWhatRunsAndWaitsForItsCleanup) {
    Runtime runtime(options());
    std::promise<void> waits;
    std::atomic<bool> cleaned = false;
    auto future = runtime.submit([&] {
        try {
            waits.set_value();
            wait_for_ever();
        } catch (...) {
            for (int i = 0; i < 10; ++i) yield();
            cleaned = true;
            throw;
        }
    });
    waits.get_future().wait();
    EXPECT_TRUE(runtime.shutdown());
    EXPECT_TRUE(cleaned);
    EXPECT_TRUE(future.cancelled());
}

TEST_P(RuntimeTest, ShutdownTwiceIsFine) {
    Runtime runtime(options());
    EXPECT_TRUE(runtime.shutdown());
    EXPECT_TRUE(runtime.shutdown(1s));
}

TEST_P(RuntimeTest, AfterShutdownSubmitAndPostAreUsageErrorsAndConsumeNothing) {
    Runtime runtime(options());
    runtime.shutdown();
    auto coroutine = weft::coroutine([] {});
    EXPECT_THROW(runtime.submit(std::move(coroutine)), UsageError);
    EXPECT_TRUE(coroutine);
    coroutine.close();
    EXPECT_THROW(runtime.post([] {}), UsageError);
}

TEST_P(RuntimeTest, ShutdownByOneOfItsOwnTasksIsAUsageError) {
    Runtime runtime(options());
    runtime.submit([&] { EXPECT_THROW(runtime.shutdown(), UsageError); }).result();
}

TEST_P(RuntimeTest, ItsEndIsAShutdown) {
    std::atomic<bool> cleaned = false;
    std::promise<void> waits;
    {
        Runtime runtime(options());
        runtime.submit([&] {
            try {
                waits.set_value();
                wait_for_ever();
            } catch (...) {
                cleaned = true;
                throw;
            }
        });
        waits.get_future().wait();
    }
    EXPECT_TRUE(cleaned);
}

// A submit that meets the shutdown either throws or gives a result: nobody waits for ever.
TEST_P(RuntimeTest, WorkSubmittedWhileItShutsDownEndsOrIsRefused) {
    for (int round = 0; round < 30; ++round) {
        Runtime runtime(options());
        std::barrier begin(3);
        auto submit_until_refused = [&] {
            begin.arrive_and_wait();
            try {
                for (;;) {
                    auto future = runtime.submit([] { yield(); });
                    try {
                        future.result(30s);
                    } catch (const CancelledError&) {
                    } catch (const TimeoutError&) {
                        ADD_FAILURE() << "the result never came";
                        return;
                    }
                }
            } catch (const UsageError&) {
            }
        };
        std::thread first(submit_until_refused);
        std::thread second(submit_until_refused);
        begin.arrive_and_wait();
        runtime.shutdown();
        first.join();
        second.join();
    }
}

// In a process of its own, since the stack of a task that does not end is never given back.
TEST(RuntimeDeathTest, ShutdownWithADeadlineNamesTheSurvivorAndReturnsFalse) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    auto survive = [] {
        auto* runtime = new Runtime(RunOptions{.workers = 2});
        std::promise<void> waits;
        runtime->submit([&] {
            create_task(
                [&] {
                    waits.set_value();
                    lowlevel::park(
                        {"nothing", nullptr}, [](lowlevel::Waiter) noexcept { return true; },
                        lowlevel::kNever, lowlevel::Interrupt::never);
                },
                {.name = "survivor"});
        });
        waits.get_future().wait();
        bool ended = runtime->shutdown(20ms);
        std::fprintf(stderr, ended ? "ended\n" : "not ended\n");
        std::_Exit(0);
    };
    EXPECT_EXIT(survive(), ::testing::ExitedWithCode(0), "'survivor'.*\n.*not ended");
}

TEST(RuntimeDeathTest, StdExitInATaskIsOrderly) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    // AddressSanitizer keeps locals apart from the stack, and LeakSanitizer looks for those of the stack that ends the
    // program only: gtest's, which another stack holds, would be called lost.
    Environment no_leak_check("LSAN_OPTIONS", "detect_leaks=0");
    EXPECT_EXIT(weft::run(
                    [] {
                        std::atexit([] { std::fprintf(stderr, "at exit\n"); });
                        start([] { wait_for_ever(); });
                        await(create_task([] {
                            yield();
                            std::exit(7);
                        }));
                    },
                    {.workers = 2}),
                ::testing::ExitedWithCode(7), "at exit");
}

}  // namespace

}  // namespace weft::test
