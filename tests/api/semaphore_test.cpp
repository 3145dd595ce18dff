// Semaphore and BoundedSemaphore. The ids are those of asyncio's semantics.
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "api/support.hpp"

namespace {

using weft::BoundedSemaphore;
using weft::CancelledError;
using weft::Semaphore;

class SemaphoreTest : public OnWorkers {};
WEFT_ON_WORKERS(SemaphoreTest);
class SemaphoreStrictTest : public WithWatchdog {};

TEST_P(SemaphoreTest, LetsAsManyInAsItHasUnits) {
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    run([&] {
        Semaphore semaphore(3);
        weft::task_group([&](weft::TaskGroup& tg) {
            for (int i = 0; i < 20; ++i) {
                tg.create_task([&] {
                    for (int n = 0; n < 20; ++n) {
                        std::lock_guard guard(semaphore);
                        int now = ++inside;
                        for (int seen = most;
                             seen < now && !most.compare_exchange_weak(seen, now);) {
                        }
                        weft::yield();
                        --inside;
                    }
                });
            }
        });
        EXPECT_FALSE(semaphore.locked());
    });
    EXPECT_EQ(most, 3);
}

// sem-1
TEST_P(SemaphoreTest, AReleasedUnitGoesToTheWaiterAndIsNotSeen) {
    run([] {
        Semaphore semaphore(0);
        weft::Event go_on;
        auto waiter = start([&] {
            semaphore.acquire();
            go_on.wait();
        });
        semaphore.release();
        EXPECT_TRUE(semaphore.locked());
        EXPECT_FALSE(semaphore.try_lock());
        go_on.set();
        weft::await(waiter);
        EXPECT_TRUE(semaphore.locked());
    });
}

// sem-2
TEST_P(SemaphoreTest, WaitersGetUnitsInTheOrderOfArrival) {
    std::vector<int> order;
    run([&] {
        Semaphore semaphore(0);
        std::vector<weft::Task<void>> tasks;
        for (int i = 0; i < 5; ++i) {
            tasks.push_back(start([&, i] {
                std::lock_guard guard(semaphore);
                order.push_back(i);
            }));
        }
        semaphore.release();
        for (auto& task : tasks) weft::await(task);
    });
    EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
}

// sem-1: with units left over
TEST_F(SemaphoreStrictTest, WhoComesBehindAWokenWaiterWaitsThoughUnitsAreLeft) {
    std::vector<int> order;
    run_strict([&] {
        Semaphore semaphore(0);
        auto take = [&](int i) {
            semaphore.acquire();
            order.push_back(i);
        };
        auto first = start([&] { take(1); });
        semaphore.release();
        semaphore.release();
        semaphore.release();
        EXPECT_TRUE(semaphore.locked());
        EXPECT_FALSE(semaphore.try_lock());
        auto second = start([&] { take(2); });
        weft::yield();
        EXPECT_EQ(order, std::vector{1});
        weft::yield();
        EXPECT_EQ(order, (std::vector{1, 2}));
        EXPECT_FALSE(semaphore.locked());
        take(3);
        EXPECT_TRUE(semaphore.locked());
        weft::await(first);
        weft::await(second);
    });
    EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST_F(SemaphoreStrictTest, ACancelledWokenWaiterLeavesItsUnitToWhoCameBehindIt) {
    run_strict([] {
        Semaphore semaphore(0);
        auto first = start([&] { semaphore.acquire(); });
        semaphore.release();
        auto second = start([&] { semaphore.acquire(); });
        first.cancel();
        EXPECT_THROW(weft::await(first), CancelledError);
        weft::await(second);
        EXPECT_TRUE(semaphore.locked());
        semaphore.release();
        EXPECT_FALSE(semaphore.locked());
    });
}

TEST_P(SemaphoreTest, KeepsCountThoughManyAreWokenAtOnce) {
    constexpr int kUnits = 6;
    Semaphore semaphore(kUnits);
    run([&] {
        weft::task_group([&](weft::TaskGroup& tg) {
            for (int i = 0; i < 8; ++i) {
                tg.create_task([&, i] {
                    int most = 1 + i % 3;
                    for (int n = 0; n < 300; ++n) {
                        int got = 0;
                        semaphore.acquire();
                        for (++got; got < most && semaphore.try_lock();) ++got;
                        if (n % 4 == 0) weft::yield();
                        for (; got > 0; --got) semaphore.release();
                    }
                });
            }
        });
    });
    int units = 0;
    while (semaphore.try_lock()) ++units;
    EXPECT_EQ(units, kUnits);
}

// sem-3
TEST_P(SemaphoreTest, ABoundedOneRefusesAUnitTooMany) {
    run([] {
        BoundedSemaphore semaphore(1);
        EXPECT_THROW(semaphore.release(), std::invalid_argument);
        semaphore.acquire();
        semaphore.release();
        EXPECT_THROW(semaphore.release(), std::invalid_argument);
        Semaphore& base = semaphore;
        EXPECT_THROW(base.release(), std::invalid_argument);
        EXPECT_TRUE(semaphore.try_lock());
        EXPECT_FALSE(semaphore.try_lock());
    });
}

// sem-4
TEST(Semaphore, RefusesANegativeStart) {
    EXPECT_THROW(Semaphore(-1), std::invalid_argument);
    EXPECT_THROW(BoundedSemaphore(-1), std::invalid_argument);
}

TEST(Semaphore, APlainOneMayExceedItsStart) {
    Semaphore semaphore;
    semaphore.release();
    EXPECT_TRUE(semaphore.try_lock());
    EXPECT_TRUE(semaphore.try_lock());
    EXPECT_TRUE(semaphore.locked());
}

// asyncio's test_acquire_cancel_before_awoken
TEST_P(SemaphoreTest, CancelledWaitersPassTheUnitToTheNext) {
    run([] {
        Semaphore semaphore(0);
        std::vector<weft::Task<bool>> tasks;
        for (int i = 0; i < 4; ++i) tasks.push_back(start([&] { return semaphore.acquire(); }));
        tasks[0].cancel();
        tasks[1].cancel();
        semaphore.release();
        EXPECT_THROW(weft::await(tasks[0]), CancelledError);
        EXPECT_THROW(weft::await(tasks[1]), CancelledError);
        EXPECT_TRUE(weft::await(tasks[2]));
        EXPECT_FALSE(tasks[3].done());
        EXPECT_TRUE(semaphore.locked());
        semaphore.release();
        weft::await(tasks[3]);
    });
}

TEST_F(SemaphoreStrictTest, AWaiterCancelledAfterItWasWokenGivesTheUnitBack) {
    run_strict([] {
        Semaphore semaphore(0);
        auto task = start([&] { semaphore.acquire(); });
        semaphore.release();
        task.cancel();
        EXPECT_THROW(weft::await(task), CancelledError);
        EXPECT_TRUE(semaphore.try_lock());
        EXPECT_FALSE(semaphore.try_lock());
    });
}

// asyncio's test_acquire_no_hang
TEST_P(SemaphoreTest, AReleaseBeforeTheCancelledOneHasLeftIsNotLost) {
    run([] {
        Semaphore semaphore(1);
        auto first = start([&] {
            std::lock_guard guard(semaphore);
            weft::yield();
            weft::yield();
        });
        auto second = weft::create_task([&] { std::lock_guard guard(semaphore); });
        weft::yield();
        second.cancel();
        await_end(first);
        await_end(second);
        semaphore.acquire();
        EXPECT_TRUE(semaphore.locked());
    });
}

TEST_P(SemaphoreTest, ABoundedOneTakesTheUnitOfACancelledWaiterBack) {
    run([] {
        BoundedSemaphore semaphore(1);
        semaphore.acquire();
        auto task = start([&] { semaphore.acquire(); });
        task.cancel();
        semaphore.release();
        EXPECT_THROW(weft::await(task), CancelledError);
        EXPECT_FALSE(semaphore.locked());
        EXPECT_THROW(semaphore.release(), std::invalid_argument);
    });
}

TEST_P(SemaphoreTest, TasksAndPlainThreadsShareTheUnits) {
    Semaphore semaphore(2);
    std::atomic<int> inside{0};
    auto work = [&] {
        for (int n = 0; n < 300; ++n) {
            std::lock_guard guard(semaphore);
            EXPECT_LE(++inside, 2);
            --inside;
        }
    };
    std::thread thread(work);
    run([&] {
        weft::task_group([&](weft::TaskGroup& tg) {
            for (int i = 0; i < 4; ++i) tg.create_task(work);
        });
    });
    thread.join();
}

}  // namespace
