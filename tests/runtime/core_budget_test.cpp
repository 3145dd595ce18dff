// Who of a runtime has the cores: what is counted, who is parked, and how long a worker looks around.
#include "core_budget.hpp"

#include <weft/task.hpp>

#include <atomic>
#include <source_location>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "random.hpp"
#include "scheduler.hpp"

namespace weft::rt {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint at(std::int64_t ns) { return TimePoint(Duration(ns)); }

void wait_until(auto&& condition) {
    while (!condition()) std::this_thread::yield();
}

// --- load ---------------------------------------------------------------------------------------------------------

TEST(AwakeTime, CountsWhatIsAwakeNowAndNothingAsleep) {
    AwakeTime time;
    EXPECT_EQ(time.so_far(at(1'000)), 0ns);
    time.woke(at(1'000));
    EXPECT_EQ(time.so_far(at(1'000)), 0ns);
    EXPECT_EQ(time.so_far(at(1'007)), 7ns);
    time.fell_asleep(at(1'010));
    EXPECT_EQ(time.so_far(at(5'000)), 10ns);
    time.woke(at(6'001));
    EXPECT_EQ(time.so_far(at(6'002)), 11ns);
    time.fell_asleep(at(6'004));
    EXPECT_EQ(time.so_far(at(9'000)), 13ns);
}

TEST(CoresLeft, AreThoseThatWorkersDoNotUse) {
    EXPECT_EQ(cores_left(4, 0), 4U);
    EXPECT_EQ(cores_left(4, 0.7), 4U) << "a third of a core is left by that worker";
    EXPECT_EQ(cores_left(4, 0.8), 3U);
    EXPECT_EQ(cores_left(4, 1), 3U);
    EXPECT_EQ(cores_left(4, 2.9), 1U);
}

TEST(CoresLeft, AreNeverNone) {
    EXPECT_EQ(cores_left(4, 4), 1U);
    EXPECT_EQ(cores_left(4, 9), 1U) << "more workers than cores";
    EXPECT_EQ(cores_left(1, 1), 1U);
    EXPECT_EQ(cores_left(2, -0.1), 2U) << "clocks of two threads";
}

// --- parking ------------------------------------------------------------------------------------------------------

/// Threads that are in an arena, of which some are sent to park.
class Parked {
public:
    explicit Parked(ArenaSlots& slots) : slots_(slots) {}
    ~Parked() {
        for (std::thread& thread : threads_) thread.join();
    }
    Parked(const Parked&) = delete;
    Parked& operator=(const Parked&) = delete;
    void send(unsigned n) {
        for (; n > 0; --n)
            threads_.emplace_back([this] {
                slots_.park();
                ++back_;
            });
    }
    int back() const { return back_; }

private:
    ArenaSlots& slots_;
    std::atomic<int> back_{0};
    std::vector<std::thread> threads_;
};

TEST(SlotsOfAnArena, ThreadsTooManyAreSentToParkOnce) {
    ArenaSlots slots(4);
    for (int i = 0; i < 4; ++i) slots.entered();
    EXPECT_EQ(slots.allow(4), 0U);
    EXPECT_EQ(slots.allow(3), 1U);
    EXPECT_EQ(slots.allow(3), 0U) << "one is on its way";
    EXPECT_EQ(slots.allow(1), 2U);
    slots.not_sent(2);
    EXPECT_EQ(slots.allow(1), 2U) << "those who could not be sent";
}

TEST(SlotsOfAnArena, WhoIsParkedIsNotAtWorkUntilTheBudgetGrows) {
    ArenaSlots slots(3);
    Parked parked(slots);
    for (int i = 0; i < 3; ++i) slots.entered();
    parked.send(slots.allow(1));
    wait_until([&] { return slots.parked() == 2; });
    EXPECT_EQ(slots.at_work(), 1U);
    EXPECT_EQ(slots.allow(2), 0U);
    wait_until([&] { return parked.back() == 1; });
    EXPECT_EQ(slots.at_work(), 2U);
    EXPECT_EQ(slots.parked(), 1U) << "there is room for one";
    EXPECT_EQ(slots.allow(3), 0U);
    wait_until([&] { return parked.back() == 2; });
    EXPECT_EQ(slots.at_work(), 3U);
}

TEST(SlotsOfAnArena, WhoComesToParkWhenItMayWorkGoesOn) {
    ArenaSlots slots(2);
    slots.entered();
    slots.entered();
    EXPECT_EQ(slots.allow(1), 1U);
    slots.left();
    slots.park();
    EXPECT_EQ(slots.at_work(), 1U) << "the last one is never parked";
}

TEST(SlotsOfAnArena, NobodyAllowedIsOne) {
    ArenaSlots slots(2);
    slots.entered();
    slots.entered();
    EXPECT_EQ(slots.allow(0), 1U);
}

TEST(SlotsOfAnArena, WhoLeavesMakesRoomForOneThatIsParked) {
    ArenaSlots slots(2);
    Parked parked(slots);
    slots.entered();
    slots.entered();
    parked.send(slots.allow(1));
    wait_until([&] { return slots.parked() == 1; });
    slots.left();
    wait_until([&] { return parked.back() == 1; });
    EXPECT_EQ(slots.at_work(), 1U);
}

TEST(SlotsOfAnArena, TheirWatcherHearsOfTheFirstThreadAndOfTheEnd) {
    ArenaSlots slots(2);
    std::atomic<int> rounds = 0;
    std::thread watcher([&] {
        while (slots.wait_for_work() && slots.wait(1us)) ++rounds;
    });
    slots.entered();
    wait_until([&] { return rounds >= 3; });
    slots.left();
    slots.close();
    watcher.join();
    EXPECT_FALSE(slots.wait_for_work());
    EXPECT_FALSE(slots.wait(Duration::max() / 4)) << "it waits no more";
}

// As in an arena: threads come, work, park when they are told to, and go, while somebody changes how many may work. One that
// were forgotten in its place would keep this from ending.
TEST(SlotsOfAnArena, UnderAllAtOnceNobodyIsForgotten) {
    constexpr unsigned kThreads = 4;
    constexpr unsigned kSent = 100;
    ArenaSlots slots(kThreads);
    std::atomic<unsigned> sent = 0;
    std::atomic<unsigned> running = kThreads;
    std::atomic<bool> enough = false;
    unsigned sent_at_all = 0;
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < kThreads; ++id)
        threads.emplace_back([&, id] {
            Random random(id + 1);
            while (!enough) {
                slots.entered();
                for (unsigned i = random.below(4); i > 0; --i) {
                    unsigned some = sent;
                    while (some != 0 && !sent.compare_exchange_weak(some, some - 1)) {
                    }
                    if (some != 0) slots.park();
                }
                slots.left();
            }
            --running;
        });
    Random random(99);
    while (running != 0) {
        const unsigned surplus = slots.allow(random.below(kThreads + 1));
        sent += surplus;
        sent_at_all += surplus;
        if (sent_at_all >= kSent) enough = true;
        std::this_thread::yield();
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(slots.at_work(), 0U);
    EXPECT_EQ(slots.parked(), 0U);
}

// --- how long a worker looks around -------------------------------------------------------------------------------

/// How often all queues were looked through for each of some tasks that come from outside while all workers sleep.
double looks_for_a_task(Scheduler& scheduler) {
    constexpr int kTasks = 200;
    auto looks = [&] {
        std::uint64_t sum = 0;
        for (auto& worker : scheduler.workers()) sum += worker->looks();
        return sum;
    };
    auto all_sleep = [&] { return scheduler.idle().sleeping() == scheduler.workers().size(); };
    wait_until(all_sleep);
    const std::uint64_t before = looks();
    for (int i = 0; i < kTasks; ++i) {
        detail::TaskCore& core =
            detail::make_task_core<void>([] {}, std::source_location::current());
        auto handle = detail::CoreRef::adopt(core);
        detail::launch_in(scheduler, core);
        wait_until([&] { return core.word.done() && all_sleep(); });
    }
    return static_cast<double>(looks() - before) / kTasks;
}

TEST(CoreBudget, AWorkerSleepsAtOnceWhileTheArenaHasTheOtherCores) {
    Scheduler scheduler(SchedulerOptions{.workers = 2, .cores = 2});
    scheduler.start(0);
    EXPECT_GT(looks_for_a_task(scheduler), 16) << "nothing else wants the cores";
    scheduler.arena_slots().entered();
    scheduler.arena_slots().entered();
    EXPECT_LT(looks_for_a_task(scheduler), 8);
    scheduler.arena_slots().left();
    scheduler.arena_slots().left();
    EXPECT_GT(looks_for_a_task(scheduler), 16) << "the arena is idle again";
    scheduler.stop();
}

TEST(CoreBudget, AWorkerLooksOnWhereACoreIsFree) {
    Scheduler scheduler(SchedulerOptions{.workers = 2, .cores = 4});
    scheduler.start(0);
    scheduler.arena_slots().entered();
    scheduler.arena_slots().entered();
    EXPECT_GT(looks_for_a_task(scheduler), 16);
    scheduler.stop();
}

TEST(CoreBudget, WithoutOneAWorkerLooksOnBesideTheArena) {
    Scheduler scheduler(SchedulerOptions{.workers = 2, .cores = 2, .workers_yield_cores = false});
    scheduler.start(0);
    scheduler.arena_slots().entered();
    scheduler.arena_slots().entered();
    EXPECT_GT(looks_for_a_task(scheduler), 16);
    scheduler.stop();
}

}  // namespace
}  // namespace weft::rt
