// simulate and explore: one seed decides every schedule, and time is virtual.
#include <set>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

using testing::simulate;
using testing::SimulationReport;

class SimulationTest : public WithWatchdog {};

/// A program in which the schedule shows: who is served in which order by a shared list.
std::string contend() {
    std::string order;
    std::vector<Task<void>> tasks;
    for (char name = 'a'; name <= 'f'; ++name)
        tasks.push_back(create_task([&order, name] {
            for (int i = 0; i < 5; ++i) {
                order += name;
                if (i % 2 == 0)
                    yield();
                else
                    weft::sleep(1ms);
            }
        }));
    for (auto& task : tasks) await(task);
    return order;
}

TEST_F(SimulationTest, EqualSeedsGiveEqualSchedules) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SimulationReport first;
        SimulationReport second;
        std::string one = simulate(seed, contend, {.workers = 4}, &first);
        std::string two = simulate(seed, contend, {.workers = 4}, &second);
        EXPECT_EQ(one, two) << "seed " << seed;
        EXPECT_EQ(first.schedule_hash, second.schedule_hash) << "seed " << seed;
        EXPECT_EQ(first.elapsed, second.elapsed) << "seed " << seed;
    }
}

TEST_F(SimulationTest, SeedsGiveDifferentSchedules) {
    std::set<std::string> orders;
    std::set<std::uint64_t> hashes;
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        SimulationReport report;
        orders.insert(simulate(seed, contend, {.workers = 4}, &report));
        hashes.insert(report.schedule_hash);
    }
    EXPECT_GT(hashes.size(), 40U);
    EXPECT_GT(orders.size(), 10U);
}

TEST_F(SimulationTest, OneWorkerHasOneSchedule) {
    std::set<std::string> orders;
    for (std::uint64_t seed = 1; seed <= 10; ++seed)
        orders.insert(simulate(seed, contend, {.workers = 1}));
    EXPECT_EQ(orders.size(), 1U);
}

TEST_F(SimulationTest, ASleepOfAnHourTakesNoTime) {
    auto begin = std::chrono::steady_clock::now();
    SimulationReport report;
    simulate(
        1,
        [] {
            TimePoint before = now();
            weft::sleep(1h);
            EXPECT_GE(now() - before, 1h);
            EXPECT_LT(now() - before, 1h + 1s);
        },
        {.workers = 2}, &report);
    EXPECT_GE(report.elapsed, 1h);
    EXPECT_LT(report.elapsed, 1h + 1s);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST_F(SimulationTest, TimeStandsStillWhileSomethingRuns) {
    simulate(1,
             [] {
                 TimePoint before = now();
                 for (int i = 0; i < 100; ++i) yield();
                 EXPECT_EQ(now(), before);
                 auto busy = create_task([] {
                     for (int i = 0; i < 100; ++i) yield();
                 });
                 await(busy);
                 EXPECT_EQ(now(), before);
             },
             {.workers = 3});
}

TEST_F(SimulationTest, ItGivesTheValueOrTheErrorOfWhatItRuns) {
    EXPECT_EQ(simulate(1, [] { return 5; }), 5);
    EXPECT_EQ(simulate(1, weft::coroutine([] { return 6; }), {.workers = 3}), 6);
    EXPECT_THROW(simulate(1, [] { throw std::out_of_range("inside"); }), std::out_of_range);
    EXPECT_EQ(simulate(1, [] { return current_runtime().workers(); }, {.workers = 3}), 3U);
}

TEST_F(SimulationTest, WhatRunsAfterwardsIsNotSimulated) {
    simulate(1, [] { weft::sleep(24h * 365); });
    TimePoint before = now();
    weft::run([&] { EXPECT_LT(now() - before, 1h); });
}

// A task that takes turns until another one has done something must not keep the other workers from their turns.
TEST_F(SimulationTest, TasksThatOnlyYieldDoNotHoldUpTheOtherWorkers) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed)
        simulate(seed,
                 [] {
                     int baton = 0;
                     std::vector<Task<void>> tasks;
                     for (int i = 7; i >= 0; --i)
                         tasks.push_back(create_task([&baton, i] {
                             while (baton != i) yield();
                             ++baton;
                         }));
                     weft::sleep(1ms);
                     for (auto& task : tasks) await(task);
                     EXPECT_EQ(baton, 8);
                 },
                 {.workers = 4});
}

TEST_F(SimulationTest, WorkOutsideIsWaitedForAndTimeStandsStillMeanwhile) {
    simulate(1,
             [] {
                 TimePoint before = now();
                 bool slept = false;
                 auto sleeper = create_task([&] {
                     weft::sleep(1h);
                     slept = true;
                 });
                 settle();
                 int value = to_thread([] {
                     for (int i = 0; i < 1000; ++i) std::this_thread::yield();
                     return 4;
                 });
                 EXPECT_EQ(value, 4);
                 EXPECT_FALSE(slept);
                 EXPECT_EQ(now(), before);
                 await(sleeper);
             },
             {.workers = 2});
}

TEST_F(SimulationTest, ExploreRunsEachSeed) {
    int runs = 0;
    testing::explore(25, [&] { ++runs; }, {.workers = 2});
    EXPECT_EQ(runs, 25);
}

/// Lost updates: what the program forgets to protect shows in some schedules only.
void count_without_a_lock() {
    int count = 0;
    auto increment = [&] {
        int seen = count;
        weft::sleep(1ms);
        count = seen + 1;
    };
    auto later = [&] {
        yield();
        increment();
    };
    gather(increment, later);
    if (count != 2) throw std::runtime_error("an update was lost");
}

TEST_F(SimulationTest, ExploreFindsAFailingScheduleAndNamesItsSeedWhichRepeatsIt) {
    ::testing::internal::CaptureStderr();
    EXPECT_THROW(testing::explore(1000, count_without_a_lock, {.workers = 2}), std::runtime_error);
    std::string said = ::testing::internal::GetCapturedStderr();
    std::size_t at = said.find("seed ");
    ASSERT_NE(at, std::string::npos) << said;
    std::uint64_t seed = std::stoull(said.substr(at + 5));
    EXPECT_THROW(simulate(seed, count_without_a_lock, {.workers = 2}), std::runtime_error);
}

TEST_F(SimulationTest, StrictModeIsSimulatedToo) {
    std::string order;
    simulate(7,
             [&] {
                 auto a = create_task([&] { order += 'a'; });
                 auto b = create_task([&] { order += 'b'; });
                 order += '0';
                 await(b);
                 EXPECT_TRUE(a.done());
             },
             {.strict = true});
    EXPECT_EQ(order, "0ab");
}

TEST(SimulationDeathTest, ADeadlockIsReportedWithTheTasksThatWait) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    auto deadlock = [] {
        simulate(3,
                 [] {
                     Lock lock;
                     auto holder = create_task(
                         [&] {
                             lock.acquire();
                             lock.acquire();
                         },
                         {.name = "greedy"});
                     await(holder);
                 },
                 {.workers = 2});
    };
    EXPECT_DEATH(deadlock(), "deadlock.*seed 3(.|\n)*task 'greedy'.*Lock");
}

}  // namespace

}  // namespace weft::test
