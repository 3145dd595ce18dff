// test_locks.py: Lock and Event.
#include <type_traits>

#include "conformance/awaitable.hpp"
#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_locks, LockTests);
WEFT_CONFORMS(test_locks, EventTests);

TEST_P(LockTests, test_lock) {
    static_assert(!Awaitable<Lock>);
    run([] {
        Lock lock;
        EXPECT_FALSE(lock.locked());
    });
}

// A primitive is made for no runtime, and serves any.
TEST_P(LockTests, test_lock_doesnt_accept_loop_parameter) {
    static_assert(!std::is_constructible_v<Lock, Runtime&>);
    static_assert(!std::is_constructible_v<Condition, Runtime&>);
    static_assert(!std::is_constructible_v<Condition, Lock&, Runtime&>);
    static_assert(!std::is_constructible_v<Event, Runtime&>);
    static_assert(!std::is_constructible_v<Semaphore, Runtime&>);
    static_assert(!std::is_constructible_v<BoundedSemaphore, Runtime&>);
    Lock lock;
    Condition condition;
    Event event;
    Semaphore semaphore;
    BoundedSemaphore bounded;
    int runs = 0;
    run([&] {
        event.clear();
        std::scoped_lock all(lock, condition, semaphore, bounded);
        auto setter = create_task([&] { event.set(); });
        EXPECT_TRUE(event.wait());
        await(setter);
        ++runs;
    });
    EXPECT_GT(runs, 0);
    EXPECT_FALSE(lock.locked() || condition.locked() || semaphore.locked() || bounded.locked());
}

template <class Primitive>
void guard_it() {
    static_assert(!Awaitable<Primitive>);
    Primitive lock;
    weft::sleep(10ms);
    EXPECT_FALSE(lock.locked());
    {
        std::lock_guard guard(lock);
        EXPECT_TRUE(lock.locked());
    }
    EXPECT_FALSE(lock.locked());
}

TEST_P(LockTests, test_lock_by_with_statement) {
    run([] {
        guard_it<Lock>();
        guard_it<Condition>();
        guard_it<Semaphore>();
        guard_it<BoundedSemaphore>();
    });
}

TEST_P(LockTests, test_acquire) {
    run([] {
        using Order = std::vector<int>;
        Lock lock;
        Order order;
        EXPECT_TRUE(lock.acquire());
        auto take = [&](int i) {
            return start([&, i] {
                if (lock.acquire()) order.push_back(i);
                return true;
            });
        };
        auto first = take(1);
        auto second = take(2);
        settle();
        EXPECT_EQ(order, Order{});

        lock.release();
        settle();
        EXPECT_EQ(order, Order{1});
        settle();
        EXPECT_EQ(order, Order{1});

        auto third = take(3);
        lock.release();
        settle();
        EXPECT_EQ(order, (Order{1, 2}));
        lock.release();
        settle();
        EXPECT_EQ(order, (Order{1, 2, 3}));
        for (const auto& task : {first, second, third}) {
            EXPECT_TRUE(task.done());
            EXPECT_TRUE(task.result());
        }
    });
}

TEST_P(LockTests, test_acquire_cancel) {
    run([] {
        Lock lock;
        EXPECT_TRUE(lock.acquire());
        auto waiter = start([&] { return lock.acquire(); });
        current_runtime().post([waiter] { waiter.cancel(); });
        EXPECT_THROW(await(waiter), CancelledError);
        lock.release();
        EXPECT_FALSE(lock.locked());  // nobody was in line
    });
}

TEST_P(LockTests, test_cancel_race) {
    run([] {
        Lock lock;
        Event go_on;
        auto holder = start([&] {
            std::lock_guard guard(lock);
            go_on.wait();
        });
        EXPECT_TRUE(lock.locked());
        auto pass = [&] { std::lock_guard guard(lock); };
        auto second = start(pass);
        auto third = start(pass);
        EXPECT_FALSE(second.done() || third.done());

        // The holder lets go while the first in line is cancelled but has not left yet.
        go_on.set();
        second.cancel();
        settle();
        EXPECT_FALSE(lock.locked());
        EXPECT_TRUE(holder.done());
        EXPECT_TRUE(second.cancelled());
        await(third);
    });
}

TEST_P(LockTests, test_cancel_release_race) {
    run([] {
        Lock lock;
        int calls = 0;
        int taken = 0;
        auto take = [&] {
            ++calls;
            lock.acquire();
            ++taken;
        };
        lock.acquire();
        auto first = start(take);
        auto second = start(take);
        auto third = start(take);
        current_runtime().post([&] {
            first.cancel();
            lock.release();
        });
        EXPECT_THROW(await(first), CancelledError);
        settle();
        EXPECT_EQ(taken, 1);
        EXPECT_EQ(calls, 3);
        EXPECT_TRUE(first.cancelled());
        EXPECT_TRUE(second.done());

        third.cancel();
        settle();
        EXPECT_TRUE(third.cancelled());
        EXPECT_EQ(taken, 1);
    });
}

TEST_P(LockTests, test_finished_waiter_cancelled) {
    run([] {
        Lock lock;
        lock.acquire();
        EXPECT_TRUE(lock.locked());
        auto first = start([&] { lock.acquire(); });
        EXPECT_FALSE(first.done());
        auto second = create_task([&] { lock.acquire(); });
        first.cancel();
        lock.release();
        settle();
        EXPECT_TRUE(lock.locked());
        EXPECT_TRUE(first.cancelled());
        EXPECT_TRUE(second.done());
        await(second);
    });
}

TEST_P(LockTests, test_release_not_acquired) {
    run([] {
        Lock lock;
        EXPECT_THROW(lock.release(), UsageError);
        EXPECT_FALSE(lock.locked());
    });
}

TEST_P(LockTests, test_release_no_waiters) {
    run([] {
        Lock lock;
        lock.acquire();
        EXPECT_TRUE(lock.locked());
        lock.release();
        EXPECT_FALSE(lock.locked());
    });
}

TEST_P(LockTests, test_context_manager) {
    run([] {
        Lock lock;
        EXPECT_FALSE(lock.locked());
        {
            std::lock_guard guard(lock);
            EXPECT_TRUE(lock.locked());
        }
        EXPECT_FALSE(lock.locked());
    });
}

TEST_P(EventTests, test_wait) {
    run([&] {
        Event event;
        EXPECT_FALSE(event.is_set());
        std::vector<int> order;
        auto wait = [&](int i) {
            return [&, i] {
                if (event.wait()) order.push_back(i);
            };
        };
        auto first = start(wait(1));
        auto second = start(wait(2));
        settle();
        EXPECT_TRUE(order.empty());

        auto third = create_task(wait(3));
        event.set();
        settle();
        if (strict()) {  // it was ready before them
            EXPECT_EQ(order, (std::vector{3, 1, 2}));
        }
        std::ranges::sort(order);
        EXPECT_EQ(order, (std::vector{1, 2, 3}));
        for (const auto& task : {first, second, third}) {
            EXPECT_TRUE(task.done());
            task.result();
        }
    });
}

TEST_P(EventTests, test_wait_on_set) {
    run([] {
        Event event;
        event.set();
        EXPECT_TRUE(event.wait());
    });
}

TEST_P(EventTests, test_wait_cancel) {
    run([] {
        Event event;
        auto waiter = start([&] { event.wait(); });
        current_runtime().post([waiter] { waiter.cancel(); });
        EXPECT_THROW(await(waiter), CancelledError);
        event.set();  // wakes nobody
        EXPECT_TRUE(event.wait());
    });
}

TEST_P(EventTests, test_clear) {
    run([] {
        Event event;
        EXPECT_FALSE(event.is_set());
        event.set();
        EXPECT_TRUE(event.is_set());
        event.clear();
        EXPECT_FALSE(event.is_set());
    });
}

TEST_P(EventTests, test_clear_with_waiters) {
    run([] {
        Event event;
        int woken = 0;
        auto waiter = start([&] {
            if (event.wait()) ++woken;
            return true;
        });
        settle();
        EXPECT_EQ(woken, 0);

        event.set();
        event.clear();
        EXPECT_FALSE(event.is_set());
        event.set();
        event.set();
        settle();
        EXPECT_EQ(woken, 1);
        EXPECT_TRUE(waiter.done());
        EXPECT_TRUE(waiter.result());
    });
}

}  // namespace

}  // namespace weft::test
