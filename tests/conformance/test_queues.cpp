// test_queues.py: putting, getting, and the orders of the three queues.
#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_queues, QueueBasicTests);
WEFT_CONFORMS(test_queues, QueueGetTests);
WEFT_CONFORMS_IN_ORDER(test_queues, QueuePutTests);
WEFT_CONFORMS(test_queues, QueuePutTests);
WEFT_CONFORMS(test_queues, LifoQueueTests);
WEFT_CONFORMS(test_queues, PriorityQueueTests);

using Items = std::vector<int>;

template <class Q>
Items put_and_get(const Items& items) {
    Q queue;
    for (int item : items) queue.put(item);
    Items out;
    while (out.size() < items.size()) out.push_back(queue.get());
    return out;
}

TEST_P(QueueBasicTests, test_empty) {
    run([] {
        Queue<int> queue;
        EXPECT_TRUE(queue.empty());
        queue.put(1);
        EXPECT_FALSE(queue.empty());
        EXPECT_EQ(queue.get(), 1);
        EXPECT_TRUE(queue.empty());
    });
}

TEST_P(QueueBasicTests, test_full) {
    run([] {
        Queue<int> unbounded;
        EXPECT_FALSE(unbounded.full());
        Queue<int> bounded(1);
        bounded.put(1);
        EXPECT_TRUE(bounded.full());
    });
}

TEST_P(QueueBasicTests, test_order) {
    run([] { EXPECT_EQ(put_and_get<Queue<int>>({1, 3, 2}), (Items{1, 3, 2})); });
}

TEST_P(LifoQueueTests, test_order) {
    run([] { EXPECT_EQ(put_and_get<LifoQueue<int>>({1, 3, 2}), (Items{2, 3, 1})); });
}

TEST_P(PriorityQueueTests, test_order) {
    run([] { EXPECT_EQ(put_and_get<PriorityQueue<int>>({1, 3, 2}), (Items{1, 2, 3})); });
}

TEST_P(QueueBasicTests, test_maxsize) {
    run([] {
        Queue<int> queue(2);
        EXPECT_EQ(queue.maxsize(), 2);
        Items put;
        auto putter = create_task([&] {
            for (int i = 0; i < 3; ++i) {
                queue.put(i);
                put.push_back(i);
            }
            return true;
        });
        settle();
        EXPECT_EQ(put, (Items{0, 1}));
        EXPECT_EQ(queue.get(), 0);
        settle();
        EXPECT_EQ(put, (Items{0, 1, 2}));
        EXPECT_EQ(queue.get(), 1);
        EXPECT_EQ(queue.get(), 2);
        EXPECT_TRUE(putter.done());
        EXPECT_TRUE(putter.result());
    });
}

TEST_P(QueueGetTests, test_blocking_get) {
    run([] {
        Queue<int> queue;
        queue.put_nowait(1);
        EXPECT_EQ(queue.get(), 1);
    });
}

TEST_P(QueueGetTests, test_get_with_putters) {
    run([] {
        Queue<int> queue(1);
        queue.put(1);
        auto putter = start([&] { queue.put(2); });
        EXPECT_FALSE(putter.done());
        EXPECT_EQ(queue.get(), 1);
        settle();
        EXPECT_TRUE(putter.done());
        putter.result();
    });
}

TEST_P(QueueGetTests, test_blocking_get_wait) {
    run([] {
        Queue<int> queue;
        Event started;
        bool finished = false;
        auto getter = create_task([&] {
            started.set();
            int item = queue.get();
            finished = true;
            return item;
        });
        started.wait();
        EXPECT_FALSE(finished);
        auto putter = create_task([&] {
            weft::sleep(10ms);
            EXPECT_FALSE(finished);
            queue.put_nowait(1);
        });
        EXPECT_EQ(await(getter), 1);
        EXPECT_TRUE(finished);
        await(putter);
    });
}

TEST_P(QueueGetTests, test_nonblocking_get) {
    Queue<int> queue;  // outside of any runtime
    queue.put_nowait(1);
    EXPECT_EQ(queue.get_nowait(), 1);
}

TEST_P(QueueGetTests, test_nonblocking_get_exception) {
    Queue<int> queue;
    EXPECT_THROW(queue.get_nowait(), QueueEmpty);
}

TEST_P(QueueGetTests, test_get_cancelled_race) {
    run([] {
        Queue<std::string> queue;
        auto first = start([&] { return queue.get(); });
        auto second = start([&] { return queue.get(); });
        first.cancel();
        settle();
        EXPECT_TRUE(first.done());
        queue.put("item");
        EXPECT_EQ(await(second), "item");
        EXPECT_TRUE(first.cancelled());
    });
}

TEST_P(QueueGetTests, test_get_with_waiting_putters) {
    run([] {
        Queue<std::string> queue(1);
        auto first = start([&] { queue.put("one"); });
        auto second = start([&] { queue.put("two"); });
        EXPECT_EQ(queue.get(), "one");
        EXPECT_EQ(queue.get(), "two");
        gather(first, second);
    });
}

TEST_P(QueueGetTests, test_why_are_getters_waiting) {
    run([] {
        constexpr int kItems = 5;
        Queue<int> queue(1);
        Items got;
        task_group([&](TaskGroup& tg) {
            tg.create_task([&] {
                for (int i = 0; i < kItems; ++i) queue.put(i);
            });
            tg.create_task([&] {
                for (int i = 0; i < kItems; ++i) got.push_back(queue.get());
            });
        });
        EXPECT_EQ(got, (Items{0, 1, 2, 3, 4}));
        EXPECT_TRUE(queue.empty());
    });
}

TEST_P(QueueGetTests, test_cancelled_getters_not_being_held_in_self_getters) {
    run([] {
        Queue<int> queue(5);
        EXPECT_THROW(wait_for([&] { return queue.get(); }, 100ms), TimeoutError);
        queue.put_nowait(1);  // and nobody is in line whose it would be
        EXPECT_EQ(queue.qsize(), 1U);
        EXPECT_EQ(queue.get_nowait(), 1);
    });
}

TEST_P(QueuePutTests, test_blocking_put) {
    run([] {
        Queue<int> queue;
        queue.put(1);
        EXPECT_EQ(queue.get(), 1);
    });
}

TEST_P(QueuePutTests, test_blocking_put_wait) {
    run([] {
        Queue<int> queue(1);
        Event started;
        bool finished = false;
        auto getter = create_task([&] {
            weft::sleep(10ms);
            EXPECT_FALSE(finished);
            EXPECT_EQ(queue.get_nowait(), 1);
        });
        auto putter = create_task([&] {
            started.set();
            queue.put(1);
            queue.put(2);
            finished = true;
        });
        started.wait();
        EXPECT_FALSE(finished);
        await(putter);
        EXPECT_TRUE(finished);
        await(getter);
    });
}

TEST_P(QueuePutTests, test_nonblocking_put) {
    Queue<int> queue;
    queue.put_nowait(1);
    EXPECT_EQ(queue.get_nowait(), 1);
}

TEST_P(QueuePutTests, test_get_cancel_drop_one_pending_reader) {
    run([] {
        Queue<int> queue;
        auto get = [&] { return queue.get(); };
        auto reader = start(get);
        queue.put_nowait(1);
        queue.put_nowait(2);
        reader.cancel();
        int first = 0;
        try {
            first = await(reader);
        } catch (const CancelledError&) {
            first = await(create_task(get));
        }
        EXPECT_EQ(first, 1);
        EXPECT_EQ(queue.get_nowait(), 2);
    });
}

// On several workers the second reader may be faster, and give the first its item before that is cancelled.
TEST_P(QueuePutTests_in_order, test_get_cancel_drop_many_pending_readers) {
    run([] {
        Queue<int> queue;
        Items got;
        task_group([&](TaskGroup& tg) {
            auto get = [&] { return queue.get(); };
            auto first = tg.create_task(get);
            auto second = tg.create_task(get);
            auto third = tg.create_task(get);
            weft::yield();
            queue.put_nowait(1);
            queue.put_nowait(2);
            first.cancel();
            EXPECT_THROW(await(first), CancelledError);
            got = {await(second), await(third)};
        });
        std::ranges::sort(got);
        EXPECT_EQ(got, (Items{1, 2}));
        EXPECT_TRUE(queue.empty());
    });
}

TEST_P(QueuePutTests, test_put_cancel_drop) {
    run([] {
        Queue<int> queue(1);
        queue.put_nowait(1);
        auto put = [&] { queue.put(2); };
        auto writer = start(put);
        EXPECT_EQ(queue.get_nowait(), 1);
        writer.cancel();
        try {
            await(writer);
        } catch (const CancelledError&) {
            await(create_task(put));
        }
        EXPECT_EQ(queue.get_nowait(), 2);
        EXPECT_EQ(queue.qsize(), 0U);
    });
}

TEST_P(QueuePutTests, test_nonblocking_put_exception) {
    Queue<int> queue(1);
    queue.put_nowait(1);
    EXPECT_THROW(queue.put_nowait(2), QueueFull);
}

TEST_P(QueuePutTests, test_put_cancelled) {
    run([] {
        Queue<int> queue;
        auto putter = create_task([&] {
            queue.put(1);
            return true;
        });
        EXPECT_EQ(queue.get(), 1);
        settle();
        EXPECT_TRUE(putter.done());
        EXPECT_TRUE(putter.result());
    });
}

TEST_P(QueuePutTests, test_put_cancelled_race) {
    run([] {
        Queue<std::string> queue(1);
        auto put = [&](const char* item) { return start([&, item] { queue.put(item); }); };
        auto first = put("one");
        auto second = put("two");
        auto third = put("never");
        EXPECT_TRUE(first.done());
        EXPECT_FALSE(second.done());

        third.cancel();
        settle();
        EXPECT_TRUE(third.done());
        EXPECT_EQ(queue.get_nowait(), "one");
        settle();
        EXPECT_EQ(queue.get_nowait(), "two");
        await(second);
        settle();
        EXPECT_TRUE(third.cancelled());
        EXPECT_TRUE(queue.empty());
    });
}

TEST_P(QueuePutTests, test_put_with_waiting_getters) {
    run([] {
        Queue<std::string> queue;
        auto getter = start([&] { return queue.get(); });
        queue.put("item");
        EXPECT_EQ(await(getter), "item");
    });
}

TEST_P(QueuePutTests, test_why_are_putters_waiting) {
    run([] {
        Queue<int> queue(2);
        int got = 0;
        task_group([&](TaskGroup& tg) {
            tg.create_task([&] {
                settle();
                // As many as there are, once: all that wait get in all the same.
                for (std::size_t n = queue.qsize(); n > 0; --n, ++got) queue.get_nowait();
            });
            for (int i = 0; i < 4; ++i) tg.create_task([&, i] { queue.put(i); });
        });
        EXPECT_EQ(got, 2);
        EXPECT_TRUE(queue.full());
    });
}

TEST_P(QueuePutTests, test_cancelled_puts_not_being_held_in_self_putters) {
    run([] {
        Queue<int> queue(1);
        queue.put_nowait(1);
        auto putter = start([&] { queue.put(2); });
        EXPECT_FALSE(putter.done());
        putter.cancel();
        EXPECT_THROW(await(putter), CancelledError);
        EXPECT_EQ(queue.get_nowait(), 1);  // and nobody is in line whose place it would be
        EXPECT_FALSE(queue.full());
        queue.put_nowait(3);
        EXPECT_EQ(queue.get_nowait(), 3);
    });
}

TEST_P(QueuePutTests, test_cancelled_put_silence_value_error_exception) {
    run([] {
        Queue<int> queue(1);
        queue.put_nowait(1);
        auto putter = start([&] { queue.put(2); });
        queue.get_nowait();
        putter.cancel();  // the place is its own, but it has not run
        EXPECT_THROW(await(putter), CancelledError);
        EXPECT_TRUE(queue.empty());
        queue.put_nowait(3);
    });
}

}  // namespace

}  // namespace weft::test
