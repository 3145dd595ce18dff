// Condition. The ids are those of asyncio's semantics.
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "api/support.hpp"

namespace {

using weft::CancelledError;
using weft::Condition;
using weft::Lock;

class ConditionTest : public OnWorkers {};
WEFT_ON_WORKERS(ConditionTest);
class ConditionStrictTest : public WithWatchdog {};

void notify(Condition& condition, std::size_t n) {
    std::lock_guard guard(condition);
    condition.notify(n);
}

// cv-1
TEST_P(ConditionTest, WaitingWithoutTheLockIsAUsageError) {
    run([] {
        Condition condition;
        EXPECT_THROW(condition.wait(), weft::UsageError);
        EXPECT_THROW(condition.wait([] { return false; }), weft::UsageError);
    });
}

// cv-2
TEST_P(ConditionTest, NotifyingWithoutTheLockIsAUsageError) {
    run([] {
        Condition condition;
        EXPECT_THROW(condition.notify(), weft::UsageError);
        EXPECT_THROW(condition.notify_all(), weft::UsageError);
    });
}

TEST_P(ConditionTest, WaitLetsGoOfTheLockAndHasItAgainAfterwards) {
    run([] {
        Condition condition;
        auto waiter = start([&] {
            std::lock_guard guard(condition);
            EXPECT_TRUE(condition.wait());
            EXPECT_TRUE(condition.locked());
        });
        EXPECT_FALSE(condition.locked());
        condition.acquire();
        condition.notify();
        EXPECT_FALSE(waiter.done());
        condition.release();
        weft::await(waiter);
        EXPECT_FALSE(condition.locked());
    });
}

// cv-3
TEST_P(ConditionTest, ACancelledWaitHasTheLockAgainWhenItThrows) {
    run([] {
        Condition condition;
        bool held = false;
        auto waiter = start([&] {
            std::lock_guard guard(condition);
            try {
                condition.wait();
            } catch (const CancelledError&) {
                held = condition.locked();
                throw;
            }
        });
        waiter.cancel();
        EXPECT_THROW(weft::await(waiter), CancelledError);
        EXPECT_TRUE(held);
        EXPECT_FALSE(condition.locked());
    });
}

// asyncio's test_wait_cancel_contested, test_cancelled_error_re_aquire
TEST_P(ConditionTest, ACancelledWaitWaitsForTheLockSwallowsRepeatsAndThrowsTheLast) {
    run([] {
        Condition condition;
        std::string message;
        auto waiter = start([&] {
            std::lock_guard guard(condition);
            try {
                condition.wait();
                ADD_FAILURE();
            } catch (const CancelledError& error) {
                message = error.message();
                EXPECT_TRUE(condition.locked());
            }
            weft::yield();  // no cancel is left over
        });
        condition.acquire();
        waiter.cancel("one");
        for (int i = 0; i < 5; ++i) weft::yield();
        waiter.cancel("two");
        for (int i = 0; i < 5; ++i) weft::yield();
        waiter.cancel("three");
        EXPECT_FALSE(waiter.done());
        EXPECT_EQ(message, "");
        condition.release();
        weft::await(waiter);
        EXPECT_EQ(message, "three");
        EXPECT_FALSE(condition.locked());
    });
}

// cv-4
TEST_P(ConditionTest, NotifyWakesThoseWhoWaitedLongest) {
    std::vector<int> woken;
    run([&] {
        Condition condition;
        std::vector<weft::Task<void>> tasks;
        for (int i = 0; i < 4; ++i) {
            tasks.push_back(start([&, i] {
                std::lock_guard guard(condition);
                condition.wait();
                woken.push_back(i);
            }));
        }
        notify(condition, 2);
        weft::await(tasks[0]);
        weft::await(tasks[1]);
        EXPECT_EQ(woken, (std::vector{0, 1}));
        EXPECT_FALSE(tasks[2].done());
        notify(condition, 1);
        weft::await(tasks[2]);
        EXPECT_FALSE(tasks[3].done());
        notify(condition, 9);
        weft::await(tasks[3]);
        notify(condition, 9);
    });
    EXPECT_EQ(woken, (std::vector{0, 1, 2, 3}));
}

TEST_P(ConditionTest, NotifyAllWakesAll) {
    run([] {
        Condition condition;
        std::vector<weft::Task<bool>> tasks;
        for (int i = 0; i < 150; ++i) {
            tasks.push_back(start([&] {
                std::lock_guard guard(condition);
                return condition.wait();
            }));
        }
        {
            std::lock_guard guard(condition);
            condition.notify_all();
        }
        for (auto& task : tasks) EXPECT_TRUE(weft::await(task));
    });
}

// cv-5, and asyncio's test_cancelled_wakeup
TEST_P(ConditionTest, ANotifiedThenCancelledWaiterPassesTheNotificationOn) {
    run([] {
        Condition condition;
        std::vector<int> woken;
        auto wait = [&](int i) {
            std::lock_guard guard(condition);
            condition.wait();
            woken.push_back(i);
        };
        auto first = start([&] { wait(0); });
        auto second = start([&] { wait(1); });
        {
            std::lock_guard guard(condition);
            condition.notify(1);
            first.cancel();
        }
        EXPECT_THROW(weft::await(first), CancelledError);
        weft::await(second);
        EXPECT_EQ(woken, std::vector{1});
        EXPECT_FALSE(condition.locked());
    });
}

TEST_F(ConditionStrictTest, AWaiterCancelledWhenItHasTheLockAgainPassesTheNotificationOn) {
    run_strict([] {
        Condition condition;
        auto wait = [&] {
            std::lock_guard guard(condition);
            condition.wait();
        };
        auto first = start(wait);
        auto second = start(wait);
        notify(condition, 1);  // and lets go of the lock: it is first's
        first.cancel();
        EXPECT_THROW(weft::await(first), CancelledError);
        weft::await(second);
    });
}

TEST_P(ConditionTest, ACancelBeforeTheNotificationTakesNone) {
    run([] {
        Condition condition;
        auto wait = [&] {
            std::lock_guard guard(condition);
            condition.wait();
        };
        auto first = start(wait);
        auto second = start(wait);
        first.cancel();
        notify(condition, 1);
        EXPECT_THROW(weft::await(first), CancelledError);
        weft::await(second);
    });
}

TEST_P(ConditionTest, WaitForAPredicateReturnsWhatItReturned) {
    run([] {
        Condition condition;
        std::optional<int> value;
        auto waiter = start([&] {
            std::lock_guard guard(condition);
            return condition.wait([&] { return value; });
        });
        for (int i = 0; i < 3; ++i) {
            notify(condition, 1);
            weft::yield();
        }
        EXPECT_FALSE(waiter.done());
        {
            std::lock_guard guard(condition);
            value = 7;
            condition.notify();
        }
        EXPECT_EQ(weft::await(waiter), 7);
        EXPECT_TRUE(
            condition.wait([] { return true; }));  // asyncio: nothing to wait for, no lock needed
    });
}

TEST_P(ConditionTest, APredicateThatThrowsLeavesTheLockHeld) {
    run([] {
        Condition condition;
        std::unique_lock guard(condition);
        EXPECT_THROW(condition.wait([]() -> bool { throw std::runtime_error("no"); }),
                     std::runtime_error);
        EXPECT_TRUE(condition.locked());
    });
}

TEST_P(ConditionTest, SeveralShareALock) {
    run([] {
        Lock lock;
        Condition not_empty(lock);
        Condition not_full(lock);
        int items = 0;
        int taken = 0;
        weft::task_group([&](weft::TaskGroup& tg) {
            tg.create_task([&] {
                for (int i = 0; i < 200; ++i) {
                    std::lock_guard guard(lock);
                    not_empty.wait([&] { return items > 0; });
                    --items;
                    ++taken;
                    not_full.notify();
                }
            });
            tg.create_task([&] {
                for (int i = 0; i < 200; ++i) {
                    std::lock_guard guard(not_full);
                    not_full.wait([&] { return items < 3; });
                    ++items;
                    not_empty.notify();
                }
            });
        });
        EXPECT_EQ(taken, 200);
        EXPECT_FALSE(lock.locked());
    });
}

TEST_P(ConditionTest, AWaiterAndAnAcquirerGetTheLockInTheOrderOfTheirTurns) {
    std::vector<int> order;
    run([&] {
        Condition condition;
        auto waiter = start([&] {
            std::lock_guard guard(condition);
            condition.wait();
            order.push_back(2);
        });
        condition.acquire();
        auto before = start([&] {
            std::lock_guard guard(condition);
            order.push_back(1);
        });
        condition.notify();
        auto after = start([&] {
            std::lock_guard guard(condition);
            order.push_back(3);
        });
        condition.release();
        weft::await(waiter);
        weft::await(before);
        weft::await(after);
    });
    EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST_P(ConditionTest, PlainThreadsWaitAndNotify) {
    Condition condition;
    int turn = 0;
    auto play = [&](int me) {
        for (int i = 0; i < 100; ++i) {
            std::lock_guard guard(condition);
            condition.wait([&] { return turn % 2 == me; });
            ++turn;
            condition.notify_all();
        }
    };
    std::thread thread([&] { play(0); });
    run([&] { play(1); });
    thread.join();
    EXPECT_EQ(turn, 200);
}

TEST_F(ConditionStrictTest, AShieldedWaitIsNotCancelled) {
    run_strict([] {
        Condition condition;
        auto waiter = start([&] {
            weft::ShieldScope shield;
            std::lock_guard guard(condition);
            return condition.wait();
        });
        waiter.cancel();
        weft::yield();
        EXPECT_FALSE(condition.locked());
        notify(condition, 1);
        await_end(waiter);
        EXPECT_FALSE(condition.locked());
    });
}

}  // namespace
