// test_queues.py: join and shutdown, each of Queue, LifoQueue and PriorityQueue.
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_queues, QueueJoinTestMixin);
WEFT_CONFORMS(test_queues, QueueShutdownTestMixin);

/// Calls f with the type of each queue, as f.template operator()<Q>().
template <class T, class F>
void for_each_queue(F f) {
    {
        SCOPED_TRACE("Queue");
        f.template operator()<Queue<T>>();
    }
    {
        SCOPED_TRACE("LifoQueue");
        f.template operator()<LifoQueue<T>>();
    }
    {
        SCOPED_TRACE("PriorityQueue");
        f.template operator()<PriorityQueue<T>>();
    }
}

TEST_P(QueueJoinTestMixin, test_task_done_underflow) {
    for_each_queue<int>([]<class Q>() {
        Q queue;
        EXPECT_THROW(queue.task_done(), std::invalid_argument);
    });
}

TEST_P(QueueJoinTestMixin, test_task_done) {
    auto body = []<class Q>() {
        Q queue;
        for (int i = 0; i < 100; ++i) queue.put_nowait(i);
        int sum = 0;
        bool running = true;
        task_group([&](TaskGroup& tg) {
            for (int i = 0; i < 2; ++i)
                tg.create_task([&] {
                    while (running) {
                        sum += queue.get();
                        weft::yield();  // the item is taken, but not done
                        queue.task_done();
                    }
                });
            queue.join();
            EXPECT_EQ(sum, 99 * 100 / 2);
            running = false;
            for (int i = 0; i < 2; ++i) queue.put_nowait(0);
        });
    };
    run([&] { for_each_queue<int>(body); });
}

TEST_P(QueueJoinTestMixin, test_join_empty_queue) {
    auto body = []<class Q>() {
        Q queue;
        queue.join();
        queue.join();
        EXPECT_TRUE(queue.empty());
    };
    run([&] { for_each_queue<int>(body); });
}

/// Nothing can be put, nothing is left to get.
template <class Q>
void expect_shut(Q& queue) {
    EXPECT_THROW(queue.put("late"), QueueShutDown);
    EXPECT_THROW(queue.put_nowait("late"), QueueShutDown);
    EXPECT_THROW(queue.get(), QueueShutDown);
    EXPECT_THROW(queue.get_nowait(), QueueShutDown);
}

TEST_P(QueueShutdownTestMixin, test_shutdown_empty) {
    auto body = []<class Q>() {
        Q queue;
        auto getter = start([&] { return queue.get(); });
        EXPECT_FALSE(getter.done());
        queue.shutdown();
        EXPECT_EQ(queue.qsize(), 0U);
        queue.join();
        settle();
        EXPECT_TRUE(getter.done());
        EXPECT_THROW(await(getter), QueueShutDown);
        expect_shut(queue);
    };
    run([&] { for_each_queue<std::string>(body); });
}

TEST_P(QueueShutdownTestMixin, test_shutdown_nonempty) {
    auto body = []<class Q>() {
        Q queue(1);
        queue.put_nowait("kept");
        auto joiner = start([&] { queue.join(); });
        auto putter = start([&] { queue.put("refused"); });
        EXPECT_FALSE(putter.done());
        queue.shutdown();
        EXPECT_EQ(queue.qsize(), 1U);
        settle();
        EXPECT_TRUE(putter.done());
        EXPECT_THROW(await(putter), QueueShutDown);

        EXPECT_EQ(queue.get(), "kept");
        settle();
        EXPECT_FALSE(joiner.done());
        expect_shut(queue);

        queue.task_done();
        settle();
        EXPECT_TRUE(joiner.done());
        await(joiner);
        EXPECT_THROW(queue.task_done(), std::invalid_argument);
    };
    run([&] { for_each_queue<std::string>(body); });
}

TEST_P(QueueShutdownTestMixin, test_shutdown_immediate) {
    auto body = []<class Q>() {
        Q queue;
        queue.put_nowait("dropped");
        auto joiner = start([&] { queue.join(); });
        EXPECT_FALSE(joiner.done());
        queue.shutdown(immediate);
        EXPECT_EQ(queue.qsize(), 0U);
        settle();
        EXPECT_TRUE(joiner.done());
        await(joiner);
        expect_shut(queue);
        EXPECT_THROW(queue.task_done(), std::invalid_argument);
    };
    run([&] { for_each_queue<std::string>(body); });
}

TEST_P(QueueShutdownTestMixin, test_shutdown_immediate_with_unfinished) {
    auto body = []<class Q>() {
        Q queue;
        queue.put_nowait("item");
        queue.put_nowait("item");
        auto joiner = start([&] { queue.join(); });
        EXPECT_EQ(queue.get(), "item");
        queue.shutdown(immediate);
        EXPECT_EQ(queue.qsize(), 0U);
        settle();
        EXPECT_FALSE(joiner.done());
        expect_shut(queue);

        queue.task_done();
        EXPECT_THROW(queue.task_done(), std::invalid_argument);
        settle();
        EXPECT_TRUE(joiner.done());
        await(joiner);
    };
    run([&] { for_each_queue<std::string>(body); });
}

}  // namespace

}  // namespace weft::test
