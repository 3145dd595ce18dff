// to_arena: data-parallel work on the runtime's oneTBB arena. Suites here begin with Arena: Debian's oneTBB is not
// built with ThreadSanitizer, and so they are left out there.
#include <algorithm>
#include <latch>
#include <memory>
#include <numeric>
#include <semaphore>
#include <stdexcept>

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/parallel_reduce.h>
#include <oneapi/tbb/parallel_sort.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
#include <sys/resource.h>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

using oneapi::tbb::blocked_range;

class ArenaTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(ArenaTest);

long sum_in_parallel(long n) {
    return oneapi::tbb::parallel_reduce(
        blocked_range<long>(0, n), 0L,
        [](const blocked_range<long>& range, long sum) {
            for (long i = range.begin(); i != range.end(); ++i) sum += i;
            return sum;
        },
        std::plus<>());
}

/// A parallel loop that ends only when it is cancelled.
void loop_until_cancelled(std::latch& runs, std::atomic<int>& bodies) {
    std::atomic<bool> first = true;
    oneapi::tbb::parallel_for(
        blocked_range<int>(0, 1'000'000, 1),
        [&](const blocked_range<int>&) {
            ++bodies;
            if (first.exchange(false)) runs.count_down();
            while (!oneapi::tbb::is_current_task_group_canceling()) std::this_thread::yield();
        },
        oneapi::tbb::simple_partitioner());
}

// --- whose cores ---------------------------------------------------------------------------------------------------

int nice_of_this_thread() { return ::getpriority(PRIO_PROCESS, 0); }

bool may_raise_priority() {
    bool may = false;
    std::thread([&] {
        int own = nice_of_this_thread();
        ::setpriority(PRIO_PROCESS, 0, own + 1);
        may = ::setpriority(PRIO_PROCESS, 0, own) == 0;
    }).join();
    return may;
}

// With more cores than there may be, so that some threads are started late, by those that are in the arena.
void expect_nice_in_arena(int own, int added) {
    auto main = [&] {
        EXPECT_EQ(to_arena(nice_of_this_thread), own + added);
        std::atomic<int> others = 0;
        to_arena([&] {
            oneapi::tbb::parallel_for(0, 1000, [&](int) {
                if (nice_of_this_thread() != own + added) ++others;
                auto until = std::chrono::steady_clock::now() + 20us;
                while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
            });
        });
        EXPECT_EQ(others, 0);
        EXPECT_EQ(nice_of_this_thread(), own);
        EXPECT_EQ(to_thread(nice_of_this_thread), own);
    };
    weft::run(main, {.cores = 8, .arena_nice = added});
}

TEST(ArenaNice, IsAddedForTheArenaAloneAndOnce) {
    const int own = nice_of_this_thread();
    if (own > 10) GTEST_SKIP() << "there is nothing left to add to a nice value of " << own;
    for (int added : {5, 5, 5, 7}) expect_nice_in_arena(own, added);
    // Those that are still in an arena at its end are not told, and the next one has them.
    if (may_raise_priority())
        for (int added : {0, 5, 0}) expect_nice_in_arena(own, added);
    EXPECT_EQ(nice_of_this_thread(), own);
}

TEST(ArenaNice, ThatCannotBeIsRefusedByName) {
    for (int nice : {-1, 20})
        EXPECT_NE(what_of<std::invalid_argument>([&] {
                      weft::run([] {}, {.arena_nice = nice});
                  }).find("arena_nice = " + std::to_string(nice)),
                  std::string::npos);
}

// --- values -------------------------------------------------------------------------------------------------------

TEST_P(ArenaTest, ItGivesTheValueOfTheFunction) {
    run([] {
        EXPECT_EQ(to_arena([] { return sum_in_parallel(100'000); }), 4'999'950'000L);
        to_arena([] {});
        EXPECT_EQ(*to_arena([] { return std::make_unique<int>(4); }), 4);
        int here = 0;
        EXPECT_EQ(&to_arena([&]() -> int& { return here; }), &here);
    });
}

TEST_P(ArenaTest, ItThrowsWhatTheFunctionThrows) {
    run([] {
        EXPECT_EQ(
            what_of<std::out_of_range>([] { to_arena([] { throw std::out_of_range("plain"); }); }),
            "plain");
        auto fail_in_parallel = [] {
            oneapi::tbb::parallel_for(0, 1000, [](int i) {
                if (i == 500) throw std::runtime_error("in a body");
            });
        };
        EXPECT_EQ(what_of<std::runtime_error>([&] { to_arena(fail_in_parallel); }), "in a body");
        EXPECT_EQ(to_arena([] { return 1; }), 1) << "the arena is as good as new";
    });
}

TEST_P(ArenaTest, ItRefersToTheCallersData) {
    run([] {
        std::vector<int> numbers(20'000);
        std::iota(numbers.rbegin(), numbers.rend(), 0);
        to_arena([&] { oneapi::tbb::parallel_sort(numbers.begin(), numbers.end()); });
        EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
    });
}

TEST_P(ArenaTest, ItRunsOnNoWorkersThread) {
    run([] {
        auto here = std::this_thread::get_id();
        EXPECT_NE(to_arena([] { return std::this_thread::get_id(); }), here);
        EXPECT_FALSE(to_arena([] { return static_cast<bool>(current_task()); }));
        EXPECT_THROW(to_arena([] { yield(); }), UsageError);
    });
}

TEST_P(ArenaTest, TheFunctionItselfHasACopyOfTheContext) {
    static ContextVar<int> number{"number", 0};
    run([] {
        number.set(3);
        int seen = to_arena([] {
            int before = number.get();
            number.set(100);
            return before;
        });
        EXPECT_EQ(seen, 3);
        EXPECT_EQ(number.get(), 3);
    });
}

TEST_P(ArenaTest, ItsConcurrencyIsTheBudgetOfCores) {
    run({.cores = 2}, [] {
        EXPECT_EQ(to_arena([] { return oneapi::tbb::this_task_arena::max_concurrency(); }), 2);
    });
}

TEST_P(ArenaTest, TheWorkerIsFreeMeanwhile) {
    run([] {
        std::binary_semaphore go(0);
        auto blocked = create_task([&] { to_arena([&] { go.acquire(); }); });
        auto other = create_task([] { return 1; });
        EXPECT_EQ(await(other), 1);
        EXPECT_FALSE(blocked.done());
        go.release();
        await(blocked);
    });
}

TEST_P(ArenaTest, ManyCallsAllEnd) {
    run([] {
        auto call = [] { return to_arena([] { return sum_in_parallel(1000); }); };
        for (long sum : gather(std::vector(100, call))) EXPECT_EQ(sum, 499'500L);
    });
}

// --- cancels ------------------------------------------------------------------------------------------------------

TEST_P(ArenaTest, ACancelStopsTheAlgorithmsAndWaitsForTheFunction) {
    run([] {
        std::latch runs(1);
        std::atomic<int> bodies = 0;
        std::atomic<bool> left = false;
        auto task = start([&] {
            to_arena([&] {
                loop_until_cancelled(runs, bodies);
                left = true;
            });
        });
        runs.wait();
        task.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "enough");
        EXPECT_TRUE(left) << "it was waited for";
        EXPECT_LT(bodies, 1000);
        EXPECT_EQ(to_arena([] { return sum_in_parallel(100); }), 4950L);
    });
}

TEST_P(ArenaTest, ACancelOfOneCallLeavesTheOthersAlone) {
    run({.cores = 2}, [] {
        std::latch runs(1);
        std::atomic<int> bodies = 0;
        auto victim = start([&] { to_arena([&] { loop_until_cancelled(runs, bodies); }); });
        runs.wait();
        auto other = start([] { return to_arena([] { return sum_in_parallel(10'000); }); });
        victim.cancel();
        EXPECT_THROW(await(victim), CancelledError);
        EXPECT_EQ(await(other), 49'995'000L);
    });
}

TEST_P(ArenaTest, WhatTheFunctionThrowsInAnswerToACancelComesOut) {
    run([] {
        std::latch runs(1);
        std::atomic<int> bodies = 0;
        auto task = start([&] {
            to_arena([&] {
                loop_until_cancelled(runs, bodies);
                throw std::runtime_error("in answer");
            });
        });
        runs.wait();
        task.cancel();
        EXPECT_EQ(what_of<std::runtime_error>([&] { await(task); }), "in answer");
    });
}

TEST_P(ArenaTest, ACancelThatIsDueBeforeTheCallKeepsItFromRunning) {
    run([] {
        std::atomic<bool> ran = false;
        current_task().cancel("before");
        EXPECT_EQ(cancel_message_of([&] { to_arena([&] { ran = true; }); }), "before");
        current_task().uncancel();
        EXPECT_FALSE(ran);
    });
}

TEST_P(ArenaTest, ACancelBeforeTheFunctionBeginsNeverReturnsWithoutAnError) {
    run([] {
        for (int round = 0; round < 100; ++round) {
            std::atomic<bool> entered = false;
            std::atomic<bool> left = false;
            auto task = create_task([&] {
                return to_arena([&] {
                    entered = true;
                    left = true;
                    return 1;
                });
            });
            for (int i = 0; i < round % 4; ++i) yield();
            task.cancel("race");
            try {
                EXPECT_EQ(await(task), 1);
                EXPECT_TRUE(entered);
            } catch (const CancelledError& e) {
                EXPECT_EQ(e.message(), "race");
            }
            EXPECT_EQ(entered, left) << "it was waited for";
        }
    });
}

TEST_P(ArenaTest, ATimeoutStopsTheAlgorithms) {
    if (simulated()) GTEST_SKIP() << "the virtual clock stands still while a call is under way";
    run([] {
        std::latch runs(1);
        std::atomic<int> bodies = 0;
        EXPECT_THROW(timeout(2ms, [&] { to_arena([&] { loop_until_cancelled(runs, bodies); }); }),
                     TimeoutError);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

}  // namespace

}  // namespace weft::test
