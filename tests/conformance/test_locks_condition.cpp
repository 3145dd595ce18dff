// test_locks.py: Condition.
#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_locks, ConditionTests);

using Order = std::vector<int>;

TEST_P(ConditionTests, test_wait) {
    run([] {
        Condition condition;
        Order order;
        // Nobody releases what it has acquired; the test does, as anybody may.
        auto wait = [&](int i) {
            return start([&, i] {
                condition.acquire();
                if (condition.wait()) order.push_back(i);
                return true;
            });
        };
        std::vector<Task<bool>> tasks{wait(1), wait(2), wait(3)};
        settle();
        EXPECT_EQ(order, Order{});
        EXPECT_FALSE(condition.locked());

        EXPECT_TRUE(condition.acquire());
        condition.notify();
        settle();
        EXPECT_EQ(order, Order{});
        EXPECT_TRUE(condition.locked());

        condition.release();
        settle();
        EXPECT_EQ(order, Order{1});
        EXPECT_TRUE(condition.locked());

        condition.notify(2);
        settle();
        EXPECT_EQ(order, Order{1});
        EXPECT_TRUE(condition.locked());

        condition.release();
        settle();
        EXPECT_EQ(order, (Order{1, 2}));
        EXPECT_TRUE(condition.locked());

        condition.release();
        settle();
        EXPECT_EQ(order, (Order{1, 2, 3}));
        EXPECT_TRUE(condition.locked());
        for (const auto& task : tasks) {
            EXPECT_TRUE(task.done());
            EXPECT_TRUE(task.result());
        }
    });
}

TEST_P(ConditionTests, test_wait_cancel) {
    run([] {
        Condition condition;
        condition.acquire();
        auto cancelled = start([&] { condition.wait(); });
        current_runtime().post([cancelled] { cancelled.cancel(); });
        EXPECT_THROW(await(cancelled), CancelledError);
        EXPECT_TRUE(condition.locked());

        // It has left the line: the next notification is for who comes next.
        auto next = start([&] { condition.wait(); });
        EXPECT_FALSE(condition.locked());
        condition.acquire();
        condition.notify();
        condition.release();
        await(next);
    });
}

TEST_P(ConditionTests, test_wait_cancel_contested) {
    run([] {
        Condition condition;
        condition.acquire();
        EXPECT_TRUE(condition.locked());
        auto waiter = start([&] { condition.wait(); });
        EXPECT_FALSE(condition.locked());

        condition.acquire();
        EXPECT_TRUE(condition.locked());
        condition.notify();
        current_runtime().post([waiter] { waiter.cancel(); });
        current_runtime().post([&] { condition.release(); });
        await_end(waiter);
        EXPECT_TRUE(waiter.done());
        settle();
        EXPECT_TRUE(condition.locked());  // by the one that waited, cancelled or not
        condition.release();
        EXPECT_FALSE(condition.locked());
    });
}

TEST_P(ConditionTests, test_wait_cancel_after_notify) {
    run([] {
        Condition condition;
        bool came_to_wait = false;
        auto waiter = start([&] {
            std::lock_guard guard(condition);
            came_to_wait = true;
            condition.wait();
        });
        condition.acquire();
        condition.notify();
        settle();
        waiter.cancel();
        settle();
        EXPECT_FALSE(waiter.done());
        condition.release();
        settle();
        EXPECT_TRUE(waiter.cancelled());
        EXPECT_TRUE(came_to_wait);
        EXPECT_FALSE(condition.locked());
    });
}

TEST_P(ConditionTests, test_wait_unacquired) {
    run([] {
        Condition condition;
        EXPECT_THROW(condition.wait(), UsageError);
    });
}

TEST_P(ConditionTests, test_wait_for) {
    run([] {
        Condition condition;
        bool holds = false;
        Order order;
        auto waiter = start([&] {
            condition.acquire();
            if (condition.wait([&] { return holds; })) {
                order.push_back(1);
                condition.release();
            }
            return true;
        });
        auto notify = [&] {
            std::lock_guard guard(condition);
            condition.notify();
        };
        settle();
        EXPECT_EQ(order, Order{});
        notify();
        settle();
        EXPECT_EQ(order, Order{});

        holds = true;
        settle();
        EXPECT_EQ(order, Order{});
        notify();
        settle();
        EXPECT_EQ(order, Order{1});
        EXPECT_TRUE(waiter.done());
        EXPECT_TRUE(waiter.result());
    });
}

TEST_P(ConditionTests, test_wait_for_unacquired) {
    run([] {
        Condition condition;
        auto found = condition.wait([] { return std::optional(Order{4, 5}); });
        EXPECT_EQ(found, (Order{4, 5}));
        EXPECT_THROW(condition.wait([] { return false; }), UsageError);
    });
}

/// Waiters 1 to n, in this order in line.
std::vector<Task<bool>> start_waiters(Condition& condition, Order& order, int n) {
    std::vector<Task<bool>> waiters;
    for (int i = 1; i <= n; ++i)
        waiters.push_back(start([&, i] {
            condition.acquire();
            if (condition.wait()) {
                order.push_back(i);
                condition.release();
            }
            return true;
        }));
    return waiters;
}

TEST_P(ConditionTests, test_notify) {
    run([] {
        Condition condition;
        Order order;
        auto waiters = start_waiters(condition, order, 3);
        settle();
        EXPECT_EQ(order, Order{});

        condition.acquire();
        condition.notify(1);
        condition.release();
        settle();
        EXPECT_EQ(order, Order{1});

        condition.acquire();
        condition.notify(1);
        condition.notify(1000);  // more than there are
        condition.release();
        settle();
        EXPECT_EQ(order, (Order{1, 2, 3}));
        for (const auto& waiter : waiters) {
            EXPECT_TRUE(waiter.done());
            EXPECT_TRUE(waiter.result());
        }
    });
}

TEST_P(ConditionTests, test_notify_all) {
    run([] {
        Condition condition;
        Order order;
        auto waiters = start_waiters(condition, order, 2);
        settle();
        EXPECT_EQ(order, Order{});

        condition.acquire();
        condition.notify_all();
        condition.release();
        settle();
        EXPECT_EQ(order, (Order{1, 2}));
        for (const auto& waiter : waiters) {
            EXPECT_TRUE(waiter.done());
            EXPECT_TRUE(waiter.result());
        }
    });
}

TEST_P(ConditionTests, test_notify_unacquired) {
    Condition condition;
    EXPECT_THROW(condition.notify(), UsageError);
    run([&] { EXPECT_THROW(condition.notify(), UsageError); });
}

TEST_P(ConditionTests, test_notify_all_unacquired) {
    Condition condition;
    EXPECT_THROW(condition.notify_all(), UsageError);
    run([&] { EXPECT_THROW(condition.notify_all(), UsageError); });
}

TEST_P(ConditionTests, test_context_manager) {
    run([] {
        Condition condition;
        EXPECT_FALSE(condition.locked());
        {
            std::lock_guard guard(condition);
            EXPECT_TRUE(condition.locked());
        }
        EXPECT_FALSE(condition.locked());
    });
}

TEST_P(ConditionTests, test_explicit_lock) {
    run([] {
        Lock lock;
        Condition condition(lock);
        auto both = [&](bool locked) {
            EXPECT_EQ(lock.locked(), locked);
            EXPECT_EQ(condition.locked(), locked);
        };
        both(false);
        {
            std::lock_guard guard(condition);
            both(true);
        }
        both(false);
        {
            std::lock_guard guard(lock);
            both(true);
        }
        both(false);

        // Through the one as through the other, a waiter gets in.
        auto waiter = start([&] {
            std::lock_guard guard(lock);
            return condition.wait();
        });
        {
            std::lock_guard guard(lock);
            condition.notify();
        }
        EXPECT_TRUE(await(waiter));
    });
}

TEST_P(ConditionTests, test_timeout_in_block) {
    run([] {
        Condition condition;
        std::lock_guard guard(condition);
        TimePoint begun = now();
        EXPECT_THROW(wait_for([&] { condition.wait(); }, 500ms), TimeoutError);
        EXPECT_EQ(now() - begun, 500ms);
        EXPECT_TRUE(condition.locked());
    });
}

TEST_P(ConditionTests, test_cancelled_error_wakeup) {
    run([] {
        Condition condition;
        auto task = start([&] {
            std::lock_guard guard(condition);
            try {
                condition.wait([] { return false; });
                ADD_FAILURE() << "not cancelled";
            } catch (const CancelledError& error) {
                EXPECT_EQ(error.message(), "met in line");
                EXPECT_TRUE(condition.locked());
                throw;
            }
        });
        settle();
        task.cancel("met in line");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "met in line");
        EXPECT_FALSE(condition.locked());
    });
}

TEST_P(ConditionTests, test_cancelled_error_re_aquire) {
    run([] {
        Condition condition;
        bool wake = false;
        auto task = start([&] {
            std::lock_guard guard(condition);
            try {
                condition.wait([&] { return wake; });
                ADD_FAILURE() << "not cancelled";
            } catch (const CancelledError& error) {
                EXPECT_EQ(error.message(), "met at the lock");
                EXPECT_TRUE(condition.locked());
                throw;
            }
        });
        settle();
        condition.acquire();
        wake = true;
        condition.notify();
        settle();
        task.cancel("met at the lock");  // as it waits for the lock again
        condition.release();
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "met at the lock");
        EXPECT_FALSE(condition.locked());
    });
}

/// Two consumers of one item; the first is notified and, as the item is there, cancelled: the other gets it.
template <class F>
void cancel_a_notified_consumer(F between) {
    Condition condition;
    int items = 0;
    auto consume = [&] {
        std::lock_guard guard(condition);
        for (;;) {
            condition.wait([&] { return items != 0; });
            if (items < 0) return;
            --items;
        }
    };
    auto first = start(consume);
    auto second = start(consume);
    {
        std::lock_guard guard(condition);
        ++items;
        condition.notify(1);
        between();
        first.cancel();
        try {
            timeout(10ms, [&] { condition.wait([&] { return items == 0; }); });
        } catch (const TimeoutError&) {  // nobody tells of the change
        }
        EXPECT_EQ(items, 0);
        items = -1;
        condition.notify_all();
    }
    await(second);
    EXPECT_THROW(await(first), CancelledError);
}

TEST_P(ConditionTests, test_cancelled_wakeup) {
    run([] { cancel_a_notified_consumer([] {}); });
}

TEST_P(ConditionTests, test_cancelled_wakeup_relock) {
    run([] { cancel_a_notified_consumer([] { settle(); }); });
}

}  // namespace

}  // namespace weft::test
