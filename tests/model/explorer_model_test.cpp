// The explorer finds what it is there for: a tool that finds nothing looks just like a program without bugs.
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "checks.hpp"

namespace weft::model {
namespace {

template <class Integer>
void two_add_one(Execution& execution) {
    auto n = std::make_shared<Integer>(0);
    for (int i = 0; i < 2; ++i) execution.thread([n] { n->fetch_add(1); });
    execution.at_end([n] { require(n->peek() == 2, "an update was lost"); });
}

struct TwoLocks {
    Atomic<bool> held[2];
    void lock(int i) {
        wait_until([&] { return !held[i].peek(); });
        held[i].exchange(true);
    }
    void unlock(int i) { held[i].store(false); }
};

TEST(Explorer, AtomicAdditionsLoseNothing) { expect_holds(two_add_one<Atomic<int>>); }

TEST(Explorer, ATornAdditionIsFound) { expect_found(two_add_one<TornAtomic<int>>); }

TEST(Explorer, ExhaustiveCountsEverySchedule) {
    auto scenario = [](Execution& execution) {
        auto n = std::make_shared<Atomic<int>>(0);
        for (int i = 0; i < 2; ++i)
            execution.thread([n] {
                n->load();
                n->load();
                n->load();
            });
    };
    // A thread of three operations has four pieces; two of them interleave in 8! / (4! 4!) ways.
    Report report = explore(
        scenario, {.strategy = Strategy::exhaustive, .executions = 1'000'000, .preemptions = 100});
    EXPECT_TRUE(report.complete);
    EXPECT_EQ(report.executions, 70u);
    // Without preemptions only their order is free.
    report = explore(scenario,
                     {.strategy = Strategy::exhaustive, .executions = 1'000'000, .preemptions = 0});
    EXPECT_TRUE(report.complete);
    EXPECT_EQ(report.executions, 2u);
}

TEST(Explorer, ADeadlockIsFoundAndNamesItsThreads) {
    auto scenario = [](Execution& execution) {
        auto locks = std::make_shared<TwoLocks>();
        for (int i = 0; i < 2; ++i)
            execution.thread([locks, i] {
                locks->lock(i);
                locks->lock(1 - i);
                locks->unlock(1 - i);
                locks->unlock(i);
            });
    };
    expect_found(scenario);
    Report report = explore(scenario, {.strategy = Strategy::exhaustive});
    ASSERT_TRUE(report.failure);
    EXPECT_EQ(report.failure->what, "everybody is blocked; for ever: thread 0 thread 1");
}

TEST(Explorer, ABlockedDaemonIsNoDeadlock) {
    auto scenario = [](Execution& execution) {
        auto n = std::make_shared<Atomic<int>>(0);
        execution.daemon([n] { wait_until([&] { return n->peek() == 2; }); });
        execution.thread([n] { n->fetch_add(1); });
    };
    expect_holds(scenario);
}

TEST(Explorer, AnEndlessLoopIsFound) {
    auto scenario = [](Execution& execution) {
        auto n = std::make_shared<Atomic<int>>(0);
        execution.thread([n] {
            while (n->load() == 0) spin();
        });
    };
    Report report = explore(scenario, {.strategy = Strategy::random});
    ASSERT_TRUE(report.failure);
    EXPECT_EQ(report.failure->what, "does not end: 20000 steps");
}

TEST(Explorer, ASpinnerLetsTheOthersRun) {
    auto scenario = [](Execution& execution) {
        auto n = std::make_shared<Atomic<int>>(0);
        for (int i = 0; i < 2; ++i)
            execution.thread([n] {
                while (n->load() == 0) spin();
            });
        execution.thread([n] { n->store(1); });
    };
    expect_holds(scenario, {.random = 1'000, .pct = 1'000, .exhaustive = 1'000});
}

TEST(Explorer, FreeChoicesAreAllTried) {
    static unsigned seen;
    seen = 0;
    auto scenario = [](Execution& execution) { execution.thread([] { seen |= 1u << any_of(5); }); };
    Report report = explore(scenario, {.strategy = Strategy::exhaustive, .executions = 10'000});
    EXPECT_TRUE(report.complete);
    EXPECT_EQ(report.executions, 5u);
    EXPECT_EQ(seen, 0b11111u);
}

TEST(Explorer, TheSameSeedGivesTheSameSchedule) {
    auto schedule_of = [](std::uint64_t seed) {
        auto scenario = [](Execution& execution) {
            auto n = std::make_shared<Atomic<int>>(0);
            for (int i = 0; i < 3; ++i)
                execution.thread([n] {
                    for (int k = 0; k < 5; ++k) n->fetch_add(1);
                });
            execution.at_end([] { require(false, "show me"); });
        };
        return explore(scenario, {.executions = 1, .first_seed = seed}).failure->schedule;
    };
    EXPECT_EQ(schedule_of(7), schedule_of(7));
    EXPECT_NE(schedule_of(7), schedule_of(8));
}

}  // namespace
}  // namespace weft::model
