// weft::run: values and errors of the main function, what is left when it ends, options.
// The ids are those of asyncio's semantics.
#include <array>
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class RunTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(RunTest);

class RunOnThreadsTest : public Everywhere {};
WEFT_TEST_ON_THREADS(RunOnThreadsTest);

class RunInVirtualTimeTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(RunInVirtualTimeTest);

// --- its main function --------------------------------------------------------------------------------------------

TEST_P(RunOnThreadsTest, GivesTheValueOfACallable) {
    EXPECT_EQ(weft::run([] { return 42; }, options()), 42);
}

TEST_P(RunOnThreadsTest, GivesTheValueOfACoroutine) {
    auto twice = weft::async("twice", [](int x) {
        yield();
        return 2 * x;
    });
    EXPECT_EQ(weft::run(twice(21), options()), 42);
}

TEST_P(RunOnThreadsTest, GivesReferencesAndMoveOnlyValues) {
    int here = 1;
    static_assert(std::is_same_v<decltype(weft::run([&]() -> int& { return here; })), int&>);
    EXPECT_EQ(&weft::run([&]() -> int& { return here; }, options()), &here);
    std::unique_ptr<int> made = weft::run([] { return std::make_unique<int>(7); }, options());
    EXPECT_EQ(*made, 7);
    static_assert(std::is_void_v<decltype(weft::run([] {}))>);
    weft::run([] {}, options());
}

TEST_P(RunOnThreadsTest, ThrowsTheErrorOfItsMainFunction) {
    auto fail = [] {
        yield();
        throw std::out_of_range("main failed");
    };
    EXPECT_EQ(what_of<std::out_of_range>([&] { weft::run(fail, options()); }), "main failed");
}

TEST_P(RunOnThreadsTest, ThrowsCancelledErrorWhenItsMainFunctionIsCancelled) {
    auto cancel_itself = [] {
        current_task().cancel("enough");
        yield();
        ADD_FAILURE() << "went on";
    };
    EXPECT_EQ(cancel_message_of([&] { weft::run(cancel_itself, options()); }), "enough");
}

TEST_P(RunOnThreadsTest, TheCallingThreadIsTheFirstWorker) {
    if (!alone()) GTEST_SKIP() << "main may be stolen";
    auto caller = std::this_thread::get_id();
    weft::run(
        [&] {
            EXPECT_EQ(std::this_thread::get_id(), caller);
            yield();
            EXPECT_EQ(std::this_thread::get_id(), caller);
        },
        options());
}

TEST_P(RunOnThreadsTest, CanBeCalledAgainAndAgain) {
    for (int i = 0; i < 50; ++i)
        EXPECT_EQ(weft::run([&] { return await(create_task([&] { return i; })); }, options()), i);
}

TEST_P(RunOnThreadsTest, MayRunInSeveralThreadsAtOnce) {
    std::vector<std::thread> threads;
    std::atomic<int> sum = 0;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&, i] {
            sum += weft::run(
                [&] {
                    auto [a, b] = gather([&] { return i; },
                                         [&] {
                                             yield();
                                             return 10 * i;
                                         });
                    return a + b;
                },
                options());
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(sum, 66);
}

// run-1: what is no coroutine and no callable is refused, here by the compiler.
template <class T>
concept CanRun = requires(T t) { weft::run(std::move(t)); };

TEST(RunTypesTest, OnlyACoroutineOrACallableCanBeRun) {
    static_assert(!CanRun<int>);
    static_assert(!CanRun<std::string>);
    static_assert(CanRun<Coroutine<int>>);
    static_assert(CanRun<int (*)()>);
}

// run-2
TEST_P(RunTest, RunInsideATaskIsAUsageErrorAndDoesNotConsumeTheCoroutine) {
    run([] {
        auto one = weft::async([] { return 1; });
        auto coroutine = one();
        EXPECT_THROW(weft::run(std::move(coroutine)), UsageError);
        ASSERT_TRUE(coroutine);
        EXPECT_EQ(await(std::move(coroutine)), 1);
    });
}

TEST_P(RunTest, ItsMainFunctionIsATaskAmongTheOthers) {
    run([] {
        ASSERT_TRUE(current_task());
        EXPECT_FALSE(current_task().done());
        std::vector<AnyTask> tasks = all_tasks();
        EXPECT_NE(std::find(tasks.begin(), tasks.end(), current_task()), tasks.end());
    });
}

// --- what is left -------------------------------------------------------------------------------------------------

// run-3
TEST_P(RunTest, LeftoversAreCancelledAndAwaitedToTheEndOfTheirCleanup) {
    std::atomic<int> cleaned = 0;
    int runs = 0;
    run([&] {
        ++runs;
        for (int i = 0; i < 3; ++i)
            start([&] {
                try {
                    wait_for_ever();
                } catch (const CancelledError&) {
                    for (int turn = 0; turn < 10; ++turn) yield();
                    await(create_task([] { yield(); }));
                    ++cleaned;
                    throw;
                }
            });
    });
    EXPECT_EQ(cleaned, 3 * runs);
}

TEST_P(RunTest, LeftoversAreAwaitedThoughMainFails) {
    std::atomic<bool> cleaned = false;
    auto fail = [&] {
        cleaned = false;
        start([&] {
            try {
                wait_for_ever();
            } catch (...) {
                yield();
                cleaned = true;
                throw;
            }
        });
        throw std::runtime_error("main failed");
    };
    EXPECT_EQ(what_of<std::runtime_error>([&] { run(fail); }), "main failed");
    EXPECT_TRUE(cleaned);
}

TEST_P(RunTest, WhatALeftoverStartsWhileItEndsIsCancelledAndAwaitedToo) {
    std::atomic<int> ended = 0;
    int runs = 0;
    run([&] {
        ++runs;
        start([&] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                start([&] {
                    try {
                        wait_for_ever();
                    } catch (const CancelledError&) {
                        yield();
                        ++ended;
                        throw;
                    }
                });
                throw;
            }
        });
    });
    EXPECT_EQ(ended, runs);
}

TEST_P(RunTest, ErrorsOfLeftoversGoToTheHandlerAndNotToTheCaller) {
    Reports reports;
    int runs = 0;
    run({.exception_handler = reports.handler()}, [&] {
        ++runs;
        create_task(
            [] {
                try {
                    wait_for_ever();
                } catch (const CancelledError&) {
                    yield();
                    throw std::runtime_error("cleanup failed");
                }
            },
            {.name = "leftover", .eager = true});
    });
    std::vector<std::string> told = reports.take();
    ASSERT_EQ(told.size(), static_cast<std::size_t>(runs)) << "once a run";
    EXPECT_NE(told[0].find("'leftover'"), std::string::npos) << told[0];
    EXPECT_NE(told[0].find("cleanup failed"), std::string::npos) << told[0];
}

TEST_P(RunTest, ALeftoverThatEndsCancelledIsNotReported) {
    Reports reports;
    run({.exception_handler = reports.handler()}, [&] { start([] { wait_for_ever(); }); });
    EXPECT_EQ(reports.size(), 0U);
}

TEST_P(RunInVirtualTimeTest, ATaskThatSurvivesItsCancelIsNamedAndCancelledAgainAfterTheGrace) {
    run({.shutdown_grace = 5s}, [&] {
        ::testing::internal::CaptureStderr();
        create_task(
            [] {
                cancel_message_of([] { wait_for_ever(); });
                TimePoint first = now();
                cancel_message_of([] { wait_for_ever(); });
                EXPECT_GE(now() - first, 5s);
                EXPECT_LT(now() - first, 6s);
                std::string said = ::testing::internal::GetCapturedStderr();
                EXPECT_NE(said.find("'stubborn'"), std::string::npos) << said;
            },
            {.name = "stubborn", .eager = true});
    });
}

TEST_P(RunTest, CallbacksOfWhatEndsWithMainAreStillCalled) {
    std::atomic<int> called = 0;
    int runs = 0;
    run([&] {
        ++runs;
        Future<void> done;
        done.set_result();
        done.add_done_callback([&](const Future<void>&) { ++called; });
    });
    EXPECT_EQ(called, runs);
}

}  // namespace

}  // namespace weft::test
