// LifoQueue and PriorityQueue: what differs from Queue.
#include <atomic>
#include <functional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "api/support.hpp"

namespace {

using weft::CancelledError;
using weft::LifoQueue;
using weft::PriorityQueue;

class LifoQueueTest : public OnWorkers {};
WEFT_ON_WORKERS(LifoQueueTest);
class PriorityQueueTest : public OnWorkers {};
WEFT_ON_WORKERS(PriorityQueueTest);
class PriorityQueueStrictTest : public WithWatchdog {};

TEST_P(LifoQueueTest, GivesTheNewestFirst) {
    run([] {
        LifoQueue<int> queue;
        for (int i = 0; i < 1000; ++i) queue.put(i);
        for (int i = 999; i >= 0; --i) EXPECT_EQ(queue.get(), i);
    });
}

TEST_P(LifoQueueTest, ABlockedPuttersItemGoesOnTop) {
    run([] {
        LifoQueue<int> queue(2);
        queue.put(1);
        queue.put(2);
        auto putter = start([&] { queue.put(3); });
        EXPECT_EQ(queue.get(), 2);
        weft::await(putter);
        EXPECT_EQ(queue.get(), 3);
        EXPECT_EQ(queue.get(), 1);
    });
}

TEST_P(PriorityQueueTest, GivesTheSmallestFirst) {
    run([] {
        PriorityQueue<int> queue;
        std::mt19937 random(7);
        std::multiset<int> model;
        for (int i = 0; i < 3000; ++i) {
            if (random() % 3 != 0 || model.empty()) {
                int value = static_cast<int>(random() % 500);
                queue.put(value);
                model.insert(value);
            } else {
                ASSERT_EQ(queue.get(), *model.begin());
                model.erase(model.begin());
            }
        }
        EXPECT_EQ(queue.qsize(), model.size());
        for (int value : model) EXPECT_EQ(queue.get_nowait(), value);
        EXPECT_THROW(queue.get_nowait(), weft::QueueEmpty);
    });
}

TEST_P(PriorityQueueTest, TakesAnotherOrder) {
    run([] {
        PriorityQueue<std::pair<int, std::string>, std::greater<>> queue(3);
        queue.put({1, "one"});
        queue.put({3, "three"});
        queue.put({2, "two"});
        EXPECT_THROW(queue.put_nowait({4, "four"}), weft::QueueFull);
        EXPECT_EQ(queue.get().second, "three");
        EXPECT_EQ(queue.get().second, "two");
        EXPECT_EQ(queue.get().second, "one");
    });
}

TEST_P(PriorityQueueTest, BlockedPuttersAndGettersAreServed) {
    run([] {
        PriorityQueue<int> queue(1);
        auto getter = start([&] { return queue.get(); });
        queue.put(5);
        EXPECT_EQ(weft::await(getter), 5);
        queue.put(4);
        auto putter = start([&] { queue.put(3); });
        EXPECT_FALSE(putter.done());
        EXPECT_EQ(queue.get(), 4);
        weft::await(putter);
        EXPECT_EQ(queue.get(), 3);
        queue.task_done();
        queue.task_done();
        queue.task_done();
        queue.join();
    });
}

struct Countdown {
    int* left;
    bool operator()(int a, int b) const {
        if (--*left == 0) throw std::runtime_error("compare");
        return a < b;
    }
};

TEST_P(PriorityQueueTest, IsAsItWasWhenAComparisonThrows) {
    run([] {
        int failures = 0;
        for (int fail_at = 1; fail_at < 12; ++fail_at) {
            int left = 0;
            PriorityQueue<int, Countdown> queue(40, Countdown{&left});
            std::multiset<int> model;
            for (int i = 0; i < 31; ++i) {
                queue.put((i * 11) % 31);
                model.insert(i);
            }
            try {
                left = fail_at;
                queue.put(-1);
                model.insert(-1);
            } catch (const std::runtime_error&) {
                ++failures;
            }
            try {
                left = fail_at;
                EXPECT_EQ(queue.get(), *model.begin());
                model.erase(model.begin());
            } catch (const std::runtime_error&) {
                ++failures;
            }
            left = 0;
            EXPECT_EQ(queue.qsize(), model.size());
            for (int item : model) EXPECT_EQ(queue.get_nowait(), item);
            for (int i = 0; i < 40; ++i) queue.put_nowait(i);  // no room was lost
        }
        EXPECT_GT(failures, 11);
    });
}

TEST_P(PriorityQueueTest, ShutdownImmediateDropsAllAndUnblocksAll) {
    run([] {
        PriorityQueue<int> queue(3);
        for (int i = 0; i < 3; ++i) queue.put(i);
        auto putter = start([&] { queue.put(9); });
        auto joiner = start([&] { queue.join(); });
        queue.shutdown(weft::immediate);
        EXPECT_THROW(weft::await(putter), weft::QueueShutDown);
        weft::await(joiner);
        EXPECT_THROW(queue.get(), weft::QueueShutDown);
        EXPECT_THROW(queue.put(1), weft::QueueShutDown);
    });
}

TEST_P(PriorityQueueTest, ARangeForTakesTheSmallestFirst) {
    run([] {
        PriorityQueue<int> queue;
        for (int i : {3, 1, 2}) queue.put(i);
        queue.shutdown();
        std::vector<int> items;
        for (int item : queue) items.push_back(item);
        EXPECT_EQ(items, (std::vector{1, 2, 3}));
    });
}

TEST_F(PriorityQueueStrictTest, ACancelAfterTheWakeUpLosesNothing) {
    run_strict([] {
        PriorityQueue<int> queue(1);
        auto getter = start([&] { return queue.get(); });
        queue.put_nowait(1);
        getter.cancel();
        EXPECT_THROW(weft::await(getter), CancelledError);
        EXPECT_EQ(queue.qsize(), 1U);
        auto putter = start([&] { queue.put(2); });
        EXPECT_EQ(queue.get_nowait(), 1);
        putter.cancel();
        EXPECT_THROW(weft::await(putter), CancelledError);
        EXPECT_TRUE(queue.empty());
        queue.put_nowait(3);
        EXPECT_EQ(queue.get_nowait(), 3);
    });
}

TEST_P(PriorityQueueTest, ProducersAndConsumersMoveEachItemOnce) {
    std::atomic<long> sum{0};
    run([&] {
        PriorityQueue<int> queue(5);
        weft::task_group([&](weft::TaskGroup& tg) {
            for (int t = 0; t < 4; ++t) {
                tg.create_task([&] {
                    for (int i = 1; i <= 200; ++i) queue.put(i);
                });
                tg.create_task([&] {
                    for (int i = 1; i <= 200; ++i) sum += queue.get();
                });
            }
        });
        EXPECT_TRUE(queue.empty());
    });
    EXPECT_EQ(sum, 4 * 20100);
}

}  // namespace
