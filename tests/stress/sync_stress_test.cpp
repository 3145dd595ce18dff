// The primitives and queues under cancels that come at any moment: nothing is lost, nothing is had twice, nobody hangs.
//
// Each scenario is a crowd of tasks that swallow their cancels and carry on, and one that cancels them at random. It runs
// on real workers, with sizes that make waits, and on simulated ones, where a seed decides every schedule.
#include <weft/testing.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "stress/crowd.hpp"

namespace {

using weft::CancelledError;

void lock_scenario(Size size) {
    weft::Lock lock;
    int inside = 0;
    int entries = 0;
    with_cancels(size, [&](int) {
        for (int n = 0; n < size.rounds; ++n) {
            persist([&] { lock.acquire(); });
            EXPECT_EQ(++inside, 1);
            if (n % 3 == 0) let_others_run();
            --inside;
            ++entries;
            lock.release();
        }
    });
    EXPECT_EQ(entries, size.tasks * size.rounds);
    EXPECT_FALSE(lock.locked());
}

void semaphore_scenario(Size size) {
    weft::BoundedSemaphore semaphore(2);
    std::atomic<int> inside{0};
    with_cancels(size, [&](int) {
        for (int n = 0; n < size.rounds; ++n) {
            persist([&] { semaphore.acquire(); });
            EXPECT_LE(++inside, 2);
            if (n % 3 == 0) let_others_run();
            --inside;
            semaphore.release();
        }
    });
    EXPECT_TRUE(semaphore.try_lock());
    EXPECT_TRUE(semaphore.try_lock());
    EXPECT_FALSE(semaphore.try_lock());
}

void event_scenario(Size size) {
    weft::Event event;
    std::atomic<int> setters{size.tasks / 2};
    std::atomic<int> waits{0};
    with_cancels(size, [&](int i) {
        if (i < size.tasks / 2) {
            for (int n = 0; n < size.rounds; ++n) {
                event.set();
                event.clear();
                let_others_run();
            }
            // After the last clear: those who still wait go on.
            if (--setters == 0) event.set();
            return;
        }
        for (int n = 0; n < size.rounds; ++n) {
            persist([&] { event.wait(); });
            ++waits;
        }
    });
    EXPECT_EQ(waits, (size.tasks - size.tasks / 2) * size.rounds);
    EXPECT_TRUE(event.is_set());
}

/// A bounded buffer of two: were a notification lost, it would hang.
void condition_scenario(Size size) {
    weft::Lock lock;
    weft::Condition not_empty(lock);
    weft::Condition not_full(lock);
    int items = 0;
    auto change = [&](weft::Condition& wanted, weft::Condition& other, int from, int by) {
        lock.acquire();
        std::unique_lock guard(lock, std::adopt_lock);
        wanted.wait([&] { return items != from; });
        items += by;
        EXPECT_TRUE(items >= 0 && items <= 2);
        other.notify();
    };
    with_cancels(size, [&](int i) {
        for (int n = 0; n < size.rounds; ++n) {
            persist([&] {
                if (i % 2 == 0)
                    change(not_empty, not_full, 0, -1);
                else
                    change(not_full, not_empty, 2, +1);
            });
        }
    });
    EXPECT_EQ(items, 0);
    EXPECT_FALSE(lock.locked());
}

void barrier_scenario(Size size) {
    weft::Barrier barrier(2);
    std::atomic<int> left{size.tasks};
    std::atomic<int> passed{0};
    with_cancels(size, [&](int i) {
        for (int n = 0; n < size.rounds; ++n) {
            try {
                if (i == 0 && n % 8 == 0) barrier.abort();
                if (i == 0 && n % 8 == 1) {
                    barrier.reset();
                    if (left < 2) barrier.abort();
                }
                barrier.wait();
                ++passed;
            } catch (const weft::BrokenBarrierError&) {
                let_others_run();
            } catch (const CancelledError&) {
            }
        }
        // Those who are left must not wait for one who will not come.
        if (--left < 2) barrier.abort();
    });
    barrier.reset();
    EXPECT_EQ(barrier.n_waiting(), 0U);
}

template <class Queue>
void queue_scenario(Size size, std::ptrdiff_t bound) {
    Queue queue(bound);
    int producers = size.tasks / 2;
    std::vector<std::atomic<int>> got(static_cast<std::size_t>(producers * size.rounds));
    std::atomic<int> left{producers};
    with_cancels(size, [&](int i) {
        if (i < producers) {
            for (int n = 0; n < size.rounds; ++n)
                persist([&] { queue.put({i * size.rounds + n}); });
            if (--left == 0) queue.shutdown();
            return;
        }
        bool open = true;
        while (open) {
            persist([&] {
                try {
                    ++got[static_cast<std::size_t>(queue.get().value)];
                } catch (const weft::QueueShutDown&) {
                    open = false;
                }
            });
        }
    });
    EXPECT_EQ(left, 0);
    for (auto& times : got) EXPECT_EQ(times, 1);
    EXPECT_TRUE(queue.empty());
}

struct Plain {
    int value;
    bool operator<(const Plain& other) const { return value < other.value; }
};

/// Lives in boxes, and lets others run while it is moved or compared.
struct Boxed {
    int value;
    Boxed(int v) : value(v) {}
    Boxed(Boxed&& other) noexcept : value(std::exchange(other.value, -1)) { let_others_run(); }
    Boxed& operator=(Boxed&& other) noexcept {
        value = std::exchange(other.value, -1);
        return *this;
    }
    bool operator<(const Boxed& other) const {
        let_others_run();
        return value < other.value;
    }
};

struct Scenario {
    const char* name;
    void (*run)(Size size);
};

const Scenario kScenarios[] = {
    {"Lock", lock_scenario},
    {"Semaphore", semaphore_scenario},
    {"Event", event_scenario},
    {"Condition", condition_scenario},
    {"Barrier", barrier_scenario},
    {"QueueOfOne", [](Size size) { queue_scenario<weft::Queue<Plain>>(size, 1); }},
    {"QueueOfThree", [](Size size) { queue_scenario<weft::Queue<Plain>>(size, 3); }},
    {"UnboundedQueue", [](Size size) { queue_scenario<weft::Queue<Plain>>(size, 0); }},
    {"QueueOfBoxes", [](Size size) { queue_scenario<weft::Queue<Boxed>>(size, 2); }},
    {"LifoQueue", [](Size size) { queue_scenario<weft::LifoQueue<Plain>>(size, 2); }},
    {"PriorityQueue", [](Size size) { queue_scenario<weft::PriorityQueue<Plain>>(size, 2); }},
    {"PriorityQueueOfBoxes",
     [](Size size) { queue_scenario<weft::PriorityQueue<Boxed>>(size, 2); }},
};

class SyncStressTest : public WithWatchdog, public testing::WithParamInterface<Scenario> {};

INSTANTIATE_TEST_SUITE_P(All, SyncStressTest, testing::ValuesIn(kScenarios),
                         [](const auto& scenario) { return std::string(scenario.param.name); });

TEST_P(SyncStressTest, LosesNothingOnRealWorkers) {
    for (unsigned workers : {1U, 2U, 4U}) {
        run_with({.workers = workers}, [] { GetParam().run({10, 400, 3000}); });
        if (HasFailure()) return;
    }
}

TEST_P(SyncStressTest, LosesNothingInAnySimulatedSchedule) {
    weft::testing::explore(150, [] { GetParam().run({6, 6, 40}); }, {.workers = 3});
}

TEST(SyncStress, PlainThreadsAndTasksMixed) {
    Watchdog watchdog;
    weft::Queue<int> queue(4);
    weft::Semaphore semaphore(2);
    weft::Condition condition;
    long sum = 0;
    auto produce = [&] {
        for (int i = 1; i <= 500; ++i) {
            std::lock_guard guard(semaphore);
            queue.put(i);
        }
    };
    auto consume = [&] {
        for (int i = 1; i <= 500; ++i) {
            int item = queue.get();
            std::lock_guard guard(condition);
            sum += item;
            condition.notify();
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back(produce);
        threads.emplace_back(consume);
    }
    weft::run(
        [&] {
            weft::task_group([&](weft::TaskGroup& tg) {
                for (int i = 0; i < 2; ++i) {
                    tg.create_task(produce);
                    tg.create_task(consume);
                }
                tg.create_task([&] {
                    std::lock_guard guard(condition);
                    condition.wait([&] { return sum == 4 * 125250; });
                });
            });
        },
        {.workers = 2});
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(sum, 4 * 125250);
}

}  // namespace
