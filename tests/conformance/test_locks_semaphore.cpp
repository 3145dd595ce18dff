// test_locks.py: Semaphore and BoundedSemaphore.
#include <stdexcept>

#include "conformance/awaitable.hpp"
#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_locks, SemaphoreTests);
WEFT_CONFORMS_IN_ORDER(test_locks, SemaphoreTests);

using Order = std::vector<int>;

TEST_P(SemaphoreTests, test_initial_value_zero) {
    Semaphore semaphore(0);
    EXPECT_TRUE(semaphore.locked());
    EXPECT_FALSE(semaphore.try_lock());
}

TEST_P(SemaphoreTests, test_semaphore) {
    static_assert(!Awaitable<Semaphore> && !Awaitable<BoundedSemaphore>);
    run([] {
        Semaphore semaphore;
        EXPECT_FALSE(semaphore.locked());
        EXPECT_TRUE(semaphore.try_lock());  // one unit, and no second
        EXPECT_TRUE(semaphore.locked());
    });
}

TEST_P(SemaphoreTests, test_semaphore_value) { EXPECT_THROW(Semaphore(-1), std::invalid_argument); }

TEST_P(SemaphoreTests, test_acquire) {
    run([] {
        Semaphore semaphore(3);
        Order order;
        EXPECT_TRUE(semaphore.acquire());
        EXPECT_TRUE(semaphore.acquire());
        EXPECT_FALSE(semaphore.locked());
        auto take = [&](int i) {
            return [&, i] {
                semaphore.acquire();
                order.push_back(i);
                return true;
            };
        };
        auto first = start(take(1));
        std::vector<Task<bool>> rest{start(take(2)), start(take(3))};
        settle();
        EXPECT_EQ(order, Order{1});
        EXPECT_TRUE(semaphore.locked());

        rest.push_back(create_task(take(4)));
        semaphore.release();
        semaphore.release();
        EXPECT_FALSE(semaphore.try_lock());  // both units are somebody's already
        settle();
        EXPECT_EQ(order.size(), 3U);
        EXPECT_TRUE(semaphore.locked());
        EXPECT_TRUE(first.done());
        EXPECT_TRUE(first.result());
        EXPECT_EQ(std::ranges::count_if(rest, [](auto& t) { return t.done() && t.result(); }), 2);

        semaphore.release();
        gather(rest);
        EXPECT_TRUE(semaphore.locked());
    });
}

TEST_P(SemaphoreTests, test_acquire_cancel) {
    run([] {
        Semaphore semaphore;
        semaphore.acquire();
        auto waiter = start([&] { semaphore.acquire(); });
        current_runtime().post([waiter] { waiter.cancel(); });
        EXPECT_THROW(await(waiter), CancelledError);
        semaphore.release();
        EXPECT_FALSE(semaphore.locked());  // nobody was in line
    });
}

TEST_P(SemaphoreTests, test_acquire_cancel_before_awoken) {
    run([] {
        Semaphore semaphore(0);
        std::vector<Task<bool>> tasks;
        for (int i = 0; i < 4; ++i) tasks.push_back(start([&] { return semaphore.acquire(); }));
        tasks[0].cancel();
        tasks[1].cancel();
        semaphore.release();
        settle();
        EXPECT_TRUE(tasks[0].cancelled());
        EXPECT_TRUE(tasks[1].cancelled());
        EXPECT_TRUE(tasks[2].done());
        EXPECT_FALSE(tasks[2].cancelled());
        EXPECT_FALSE(tasks[3].done());

        EXPECT_FALSE(tasks[2].cancel());
        EXPECT_TRUE(tasks[3].cancel());
        settle();
        EXPECT_TRUE(tasks[3].cancelled());
    });
}

TEST_P(SemaphoreTests, test_acquire_hang) {
    run([] {
        Semaphore semaphore(0);
        auto first = start([&] { semaphore.acquire(); });
        auto second = start([&] { semaphore.acquire(); });
        first.cancel();
        semaphore.release();
        settle();
        EXPECT_TRUE(semaphore.locked());
        EXPECT_TRUE(first.cancelled());
        EXPECT_TRUE(second.done());
        EXPECT_FALSE(second.cancelled());
    });
}

TEST_P(SemaphoreTests, test_acquire_no_hang) {
    run([] {
        Semaphore semaphore(1);
        Event go_on;
        Task<void> second;
        auto first = start([&] {
            {
                std::lock_guard guard(semaphore);
                go_on.wait();
            }
            second.cancel();  // which has just been given the unit, and has not run
        });
        second = start([&] {
            std::lock_guard guard(semaphore);
            ADD_FAILURE() << "cancelled too late";
        });
        go_on.set();
        auto outcomes = gather(return_exceptions, std::vector{first, second});
        EXPECT_TRUE(outcomes[0].has_value());
        EXPECT_THROW(outcomes[1].value(), CancelledError);
        EXPECT_TRUE(wait_for([&] { return semaphore.acquire(); }, 1s));
    });
}

TEST_P(SemaphoreTests, test_release_not_acquired) {
    BoundedSemaphore semaphore;
    EXPECT_THROW(semaphore.release(), std::invalid_argument);
    run([&] { EXPECT_THROW(semaphore.release(), std::invalid_argument); });
}

TEST_P(SemaphoreTests, test_release_no_waiters) {
    run([] {
        Semaphore semaphore;
        semaphore.acquire();
        EXPECT_TRUE(semaphore.locked());
        semaphore.release();
        EXPECT_FALSE(semaphore.locked());
    });
}

TEST_P(SemaphoreTests, test_acquire_fifo_order) {
    run([] {
        Semaphore semaphore(1);
        std::vector<std::string> order;
        auto take_twice = [&](const std::string& name) {
            for (const char* round : {"first", "second"}) {
                semaphore.acquire();
                order.push_back(name + " " + round);
                weft::sleep(10ms);
                semaphore.release();
            }
        };
        task_group([&](TaskGroup& tg) {
            for (const char* name : {"a", "b", "c"})
                tg.create_task([&, name] { take_twice(name); }, {.eager = true});
        });
        EXPECT_EQ(order, (std::vector<std::string>{"a first", "b first", "c first", "a second",
                                                   "b second", "c second"}));
    });
}

TEST_P(SemaphoreTests_in_order, test_acquire_fifo_order_2) {
    run([] {
        Semaphore semaphore(1);
        Order order;
        auto take = [&](int i) {
            semaphore.acquire();
            order.push_back(i);
        };
        auto first = create_task([&] { take(1); });
        auto second = create_task([&] {
            take(2);
            semaphore.release();
            take(4);  // behind the third, which has its unit but has not run
        });
        auto third = create_task([&] { take(3); });
        weft::yield();
        semaphore.release();
        semaphore.release();
        gather(first, second, third);
        EXPECT_EQ(order, (Order{1, 2, 3, 4}));
    });
}

TEST_P(SemaphoreTests, test_acquire_fifo_order_3) {
    run([&] {
        Semaphore semaphore(0);
        Order order;
        std::vector<Task<void>> tasks;
        for (int i = 1; i <= 3; ++i)
            tasks.push_back(start([&, i] {
                semaphore.acquire();
                order.push_back(i);
            }));
        tasks[0].cancel();
        settle();
        semaphore.release();
        semaphore.release();
        auto outcomes = gather(return_exceptions, tasks);
        EXPECT_THROW(outcomes[0].value(), CancelledError);
        // Woken together, they run in order where one runs after the other.
        if (!strict()) std::ranges::sort(order);
        EXPECT_EQ(order, (Order{2, 3}));
    });
}

TEST_P(SemaphoreTests_in_order, test_acquire_fifo_order_4) {
    run([] {
        Semaphore semaphore(0);
        Order order;
        Task<void> fourth;
        auto take = [&](int i) {
            semaphore.acquire();
            EXPECT_TRUE(semaphore.locked());
            order.push_back(i);
        };
        auto first = create_task([&] {
            take(1);  // and with that all who are in line have been woken: before this
            fourth = create_task([&] { order.push_back(4); });
        });
        auto second = create_task([&] {
            for (int i = 0; i < 3; ++i) semaphore.release();
            EXPECT_TRUE(semaphore.locked());  // two units are left, but the first comes first
            EXPECT_FALSE(semaphore.try_lock());
            take(2);
        });
        auto third = create_task([&] { take(3); });
        weft::yield();
        EXPECT_EQ(order, Order{});
        weft::yield();
        gather(first, second, third, fourth);
        EXPECT_EQ(order, (Order{1, 2, 3, 4}));
        EXPECT_TRUE(semaphore.locked());
    });
}

}  // namespace

}  // namespace weft::test
