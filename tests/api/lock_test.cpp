// Lock: order of arrival, hand-off without barging, cancelling, misuse. The ids are those of asyncio's semantics.
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "api/support.hpp"

namespace {

using weft::CancelledError;
using weft::Lock;

static constinit Lock static_lock;

class LockTest : public OnWorkers {};
WEFT_ON_WORKERS(LockTest);
class LockStrictTest : public WithWatchdog {};

TEST_P(LockTest, LetsOneTaskAtATimeIn) {
    Lock lock;
    int inside = 0;
    int entries = 0;
    run([&] {
        weft::task_group([&](weft::TaskGroup& tg) {
            for (int i = 0; i < 20; ++i) {
                tg.create_task([&] {
                    for (int n = 0; n < 50; ++n) {
                        std::lock_guard guard(lock);
                        EXPECT_EQ(++inside, 1);
                        if (n % 5 == 0) weft::yield();
                        --inside;
                        ++entries;
                    }
                });
            }
        });
    });
    EXPECT_EQ(entries, 1000);
    EXPECT_FALSE(lock.locked());
}

// lk-1
TEST_P(LockTest, WaitersGetItInTheOrderOfArrival) {
    std::vector<int> order;
    run([&] {
        Lock lock;
        lock.acquire();
        std::vector<weft::Task<void>> tasks;
        for (int i = 0; i < 5; ++i) {
            tasks.push_back(start([&, i] {
                std::lock_guard guard(lock);
                order.push_back(i);
            }));
        }
        lock.release();
        for (auto& task : tasks) weft::await(task);
    });
    EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
}

// lk-2
TEST_P(LockTest, ReleasingWhatIsNotHeldIsAUsageError) {
    run([] {
        Lock lock;
        EXPECT_THROW(lock.release(), weft::UsageError);
        lock.acquire();
        lock.release();
        EXPECT_THROW(lock.release(), weft::UsageError);
        EXPECT_TRUE(lock.try_lock());
    });
}

// lk-3
TEST_P(LockTest, ACancelledFirstWaiterPassesTheLockOn) {
    std::vector<int> order;
    run([&] {
        Lock lock;
        lock.acquire();
        auto waiter = [&](int i) {
            std::lock_guard guard(lock);
            order.push_back(i);
        };
        auto first = start([&] { waiter(1); });
        auto second = start([&] { waiter(2); });
        first.cancel();
        lock.release();
        EXPECT_THROW(weft::await(first), CancelledError);
        weft::await(second);
        EXPECT_FALSE(lock.locked());
    });
    EXPECT_EQ(order, std::vector{2});
}

// asyncio's test_cancel_race: cancelled after the lock was handed to it, before it ran.
TEST_F(LockStrictTest, AWaiterCancelledAfterItWasWokenPassesTheLockOn) {
    run_strict([] {
        Lock lock;
        lock.acquire();
        auto first = start([&] { lock.acquire(); });
        auto second = start([&] { lock.acquire(); });
        lock.release();
        first.cancel();
        EXPECT_THROW(weft::await(first), CancelledError);
        weft::await(second);
        EXPECT_TRUE(lock.locked());
    });
}

TEST_F(LockStrictTest, AShieldedWaiterKeepsTheLockThoughItIsCancelled) {
    run_strict([] {
        Lock lock;
        lock.acquire();
        bool held = false;
        auto task = start([&] {
            weft::ShieldScope shield;
            lock.acquire();
            held = true;
            lock.release();
        });
        task.cancel();
        lock.release();
        await_end(task);
        EXPECT_TRUE(held);
        EXPECT_FALSE(lock.locked());
    });
}

// lk-4
TEST_P(LockTest, WhoReleasesAndAcquiresAgainQueuesBehindTheWaiter) {
    std::vector<int> order;
    run([&] {
        Lock lock;
        lock.acquire();
        auto waiter = start([&] {
            std::lock_guard guard(lock);
            order.push_back(1);
        });
        lock.release();
        lock.acquire();
        order.push_back(2);
        lock.release();
        weft::await(waiter);
    });
    EXPECT_EQ(order, (std::vector{1, 2}));
}

// lk-5
TEST_P(LockTest, AnyTaskMayReleaseIt) {
    run([] {
        Lock lock;
        lock.acquire();
        weft::await(weft::create_task([&] { lock.release(); }));
        EXPECT_FALSE(lock.locked());
    });
}

TEST_P(LockTest, ACancelledWaiterHasGivenUpItsPlace) {
    run([] {
        Lock lock;
        lock.acquire();
        auto task = start([&] { lock.acquire(); });
        EXPECT_TRUE(task.cancel("enough"));
        try {
            weft::await(task);
            ADD_FAILURE();
        } catch (const CancelledError& error) {
            EXPECT_EQ(error.message(), "enough");
        }
        lock.release();
        EXPECT_FALSE(lock.locked());
    });
}

TEST_P(LockTest, AcquiringAFreeLockIsNoCancelPoint) {
    run([] {
        Lock lock;
        bool acquired = false;
        auto task = weft::create_task([&] {
            weft::current_task().cancel();
            lock.acquire();
            acquired = true;
            lock.acquire();  // held: this one is
            ADD_FAILURE();
        });
        EXPECT_THROW(weft::await(task), CancelledError);
        EXPECT_TRUE(acquired);
        EXPECT_TRUE(lock.locked());
    });
}

TEST_P(LockTest, IsNotCancelledWhileTheTaskUnwinds) {
    run([] {
        Lock lock;
        struct Cleanup {
            Lock& lock;
            bool& held;
            ~Cleanup() {
                lock.acquire();
                held = true;
                lock.release();
            }
        };
        bool held = false;
        lock.acquire();
        auto task = start([&] {
            Cleanup cleanup{lock, held};
            throw std::runtime_error("unwinding");
        });
        task.cancel();
        lock.release();
        EXPECT_ANY_THROW(weft::await(task));
        EXPECT_TRUE(held);
    });
}

TEST_P(LockTest, ServesAsStdLockable) {
    run([] {
        Lock a;
        Lock b;
        {
            std::scoped_lock both(a, b);
            EXPECT_FALSE(a.try_lock());
            EXPECT_FALSE(b.try_lock());
        }
        std::unique_lock held(a);
        held.unlock();
        EXPECT_TRUE(held.try_lock());
        EXPECT_TRUE(b.acquire());
        b.release();
    });
}

TEST_P(LockTest, MayBeDestroyedAsSoonAsItHasBeenHandedOver) {
    run([] {
        for (int i = 0; i < 500; ++i) {
            auto lock = std::make_unique<Lock>();
            Lock* shared = lock.get();
            shared->acquire();
            auto last = start([lock = std::move(lock)] {
                lock->acquire();
                lock->release();
            });
            shared->release();
            weft::await(last);
        }
    });
}

TEST_P(LockTest, TasksAndPlainThreadsWaitInOneLine) {
    int count = 0;
    auto work = [&] {
        for (int n = 0; n < 500; ++n) {
            std::lock_guard guard(static_lock);
            ++count;
        }
    };
    std::thread one(work);
    std::thread two(work);
    run([&] {
        weft::task_group([&](weft::TaskGroup& tg) {
            for (int i = 0; i < 4; ++i) tg.create_task(work);
        });
    });
    one.join();
    two.join();
    EXPECT_EQ(count, 3000);
}

TEST_F(LockStrictTest, WorksWithoutARuntime) {
    std::lock_guard guard(static_lock);
    EXPECT_TRUE(static_lock.locked());
    EXPECT_FALSE(static_lock.try_lock());
}

}  // namespace
