// Queue: order, waiting, cancelling, join. The ids are those of asyncio's semantics.
#include <weft/testing.hpp>

#include <algorithm>
#include <deque>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/support.hpp"

namespace {

using weft::CancelledError;
using weft::Queue;

static constinit Queue<int> static_queue(2);

class QueueTest : public OnWorkers {};
WEFT_ON_WORKERS(QueueTest);
class QueueStrictTest : public WithWatchdog {};

TEST_P(QueueTest, GivesBackWhatWasPutInTheSameOrder) {
    run([] {
        Queue<std::string> queue;
        EXPECT_TRUE(queue.empty());
        for (int i = 0; i < 1000; ++i) queue.put(std::to_string(i));
        EXPECT_EQ(queue.qsize(), 1000U);
        EXPECT_FALSE(queue.full());
        for (int i = 0; i < 1000; ++i) EXPECT_EQ(queue.get(), std::to_string(i));
        EXPECT_TRUE(queue.empty());
    });
}

// q-8
TEST_P(QueueTest, AMaxsizeBelowZeroIsNoBound) {
    auto has_no_bound = [](auto queue) {
        for (int i = 0; i < 1000; ++i) {
            EXPECT_FALSE(queue.full());
            queue.put_nowait(i);
        }
        EXPECT_EQ(queue.qsize(), 1000U);
        for (int i = 0; i < 1000; ++i) queue.get();
        EXPECT_TRUE(queue.empty());
    };
    run([&] {
        for (std::ptrdiff_t maxsize : {std::ptrdiff_t{0}, std::ptrdiff_t{-1}, PTRDIFF_MIN}) {
            has_no_bound(weft::Queue<int>(maxsize));
            has_no_bound(weft::LifoQueue<int>(maxsize));
            has_no_bound(weft::PriorityQueue<int>(maxsize));
        }
    });
}

// q-1
TEST_P(QueueTest, TheNowaitCallsSayFullAndEmpty) {
    run([] {
        Queue<int> queue(2);
        EXPECT_EQ(queue.maxsize(), 2);
        EXPECT_THROW(queue.get_nowait(), weft::QueueEmpty);
        queue.put_nowait(1);
        EXPECT_FALSE(queue.full());
        queue.put_nowait(2);
        EXPECT_TRUE(queue.full());
        EXPECT_THROW(queue.put_nowait(3), weft::QueueFull);
        EXPECT_EQ(queue.get_nowait(), 1);
        EXPECT_EQ(queue.get_nowait(), 2);
        EXPECT_THROW(queue.get_nowait(), weft::QueueEmpty);
    });
}

// q-2
TEST_P(QueueTest, BlockedGettersAreServedInTheOrderOfArrival) {
    run([] {
        Queue<int> queue;
        std::vector<weft::Task<int>> getters;
        for (int i = 0; i < 8; ++i) getters.push_back(start([&] { return queue.get(); }));
        for (int i = 0; i < 8; ++i) queue.put_nowait(i);
        for (int i = 0; i < 8; ++i) EXPECT_EQ(weft::await(getters[static_cast<std::size_t>(i)]), i);
    });
}

// q-2
TEST_P(QueueTest, BlockedPuttersItemsComeInTheOrderOfArrival) {
    run([] {
        Queue<int> queue(1);
        queue.put(0);
        std::vector<weft::Task<void>> putters;
        for (int i = 1; i < 9; ++i) putters.push_back(start([&, i] { queue.put(i); }));
        EXPECT_TRUE(queue.full());
        for (int i = 0; i < 9; ++i) EXPECT_EQ(queue.get(), i);
        for (auto& putter : putters) weft::await(putter);
    });
}

TEST_P(QueueTest, BlockedPuttersItemsComeInOrderThoughRoomComesAtOnce) {
    run([] {
        Queue<int> queue(8);
        for (int i = 0; i < 8; ++i) queue.put(i);
        std::vector<weft::Task<void>> putters;
        for (int i = 8; i < 16; ++i) putters.push_back(start([&, i] { queue.put(i); }));
        for (int i = 0; i < 8; ++i) EXPECT_EQ(queue.get_nowait(), i);
        for (int i = 8; i < 16; ++i) EXPECT_EQ(queue.get(), i);
        for (auto& putter : putters) weft::await(putter);
    });
}

// Woken together, the waiters run in any order on several workers; their items do not.
TEST(QueueSchedules, BlockedOnesAreServedInOrderWhicheverOfThemRunsFirst) {
    auto serve_in_order = [] {
        Queue<int> queue(4);
        for (int i = 0; i < 4; ++i) queue.put(i);
        std::vector<weft::Task<void>> putters;
        for (int i = 4; i < 8; ++i) putters.push_back(start([&, i] { queue.put(i); }));
        for (int i = 0; i < 4; ++i) EXPECT_EQ(queue.get_nowait(), i);
        for (int i = 4; i < 8; ++i) EXPECT_EQ(queue.get(), i);
        for (auto& putter : putters) weft::await(putter);

        std::vector<weft::Task<int>> getters;
        for (int i = 0; i < 4; ++i) getters.push_back(start([&] { return queue.get(); }));
        for (int i = 0; i < 4; ++i) queue.put_nowait(i);
        for (int i = 0; auto& getter : getters) EXPECT_EQ(weft::await(getter), i++);
    };
    weft::testing::explore(300, serve_in_order, {.workers = 3});
}

TEST_P(QueueTest, WhatIsSetAsideForAWaiterIsNotToBeHad) {
    run([] {
        Queue<int> queue(1);
        auto getter = start([&] { return queue.get(); });
        queue.put_nowait(1);
        EXPECT_TRUE(queue.empty());
        EXPECT_THROW(queue.get_nowait(), weft::QueueEmpty);
        EXPECT_EQ(weft::await(getter), 1);
        queue.put_nowait(2);
        auto putter = start([&] { queue.put(3); });
        EXPECT_EQ(queue.get_nowait(), 2);
        EXPECT_TRUE(queue.full());
        EXPECT_THROW(queue.put_nowait(4), weft::QueueFull);
        weft::await(putter);
        EXPECT_EQ(queue.get_nowait(), 3);
    });
}

// q-3
TEST_P(QueueTest, TaskDoneSaidTooOftenIsInvalid) {
    run([] {
        Queue<int> queue;
        EXPECT_THROW(queue.task_done(), std::invalid_argument);
        queue.put(1);
        queue.get();
        queue.task_done();
        EXPECT_THROW(queue.task_done(), std::invalid_argument);
    });
}

// q-3
TEST_P(QueueTest, JoinWaitsForTheWorkAndNotForAnEmptyQueue) {
    run([] {
        Queue<int> queue;
        queue.join();
        queue.put(1);
        queue.put(2);
        std::vector<weft::Task<void>> joiners;
        for (int i = 0; i < 40; ++i) joiners.push_back(start([&] { queue.join(); }));
        queue.get();
        queue.get();
        queue.task_done();
        EXPECT_FALSE(joiners[0].done());
        joiners[0].cancel();
        EXPECT_THROW(weft::await(joiners[0]), CancelledError);
        queue.task_done();
        queue.put(3);  // too late to hold those up who were there
        for (std::size_t i = 1; i < joiners.size(); ++i) weft::await(joiners[i]);
    });
}

// asyncio's test_get_cancelled_race
TEST_P(QueueTest, ACancelledGetterPassesTheItemToTheNext) {
    run([] {
        Queue<int> queue;
        auto first = start([&] { return queue.get(); });
        auto second = start([&] { return queue.get(); });
        first.cancel();
        queue.put_nowait(7);
        EXPECT_THROW(weft::await(first), CancelledError);
        EXPECT_EQ(weft::await(second), 7);
    });
}

// asyncio's test_get_cancel_drop_one_pending_reader
TEST_F(QueueStrictTest, AGetterCancelledAfterItWasWokenLosesNoItem) {
    run_strict([] {
        Queue<int> queue;
        auto getter = start([&] { return queue.get(); });
        queue.put_nowait(1);
        queue.put_nowait(2);
        getter.cancel();
        EXPECT_THROW(weft::await(getter), CancelledError);
        EXPECT_EQ(queue.get(), 1);
        EXPECT_EQ(queue.get(), 2);
    });
}

// asyncio's test_get_cancel_drop_many_pending_readers
TEST_F(QueueStrictTest, OneOfManyWokenGettersCancelledLosesNoItem) {
    run_strict([] {
        Queue<int> queue;
        std::vector<weft::Task<int>> getters;
        for (int i = 0; i < 3; ++i) getters.push_back(start([&] { return queue.get(); }));
        for (int i = 1; i <= 3; ++i) queue.put_nowait(i);
        getters[0].cancel();
        EXPECT_THROW(weft::await(getters[0]), CancelledError);
        std::vector<int> got{weft::await(getters[1]), weft::await(getters[2]), queue.get()};
        EXPECT_EQ(got, (std::vector{1, 2, 3}));
    });
}

// asyncio's test_put_cancel_drop
TEST_F(QueueStrictTest, APutterCancelledAfterItWasWokenHasNotPut) {
    run_strict([] {
        Queue<int> queue(1);
        queue.put_nowait(1);
        auto putter = start([&] { queue.put(2); });
        EXPECT_EQ(queue.get_nowait(), 1);
        putter.cancel();
        EXPECT_THROW(weft::await(putter), CancelledError);
        EXPECT_TRUE(queue.empty());
        EXPECT_FALSE(queue.full());
        queue.put(2);
        EXPECT_EQ(queue.get_nowait(), 2);
    });
}

// asyncio's test_put_cancelled_race
TEST_P(QueueTest, ACancelledPutterPassesTheRoomToTheNext) {
    run([] {
        Queue<std::string> queue(1);
        queue.put("a");
        auto first = start([&] { queue.put("b"); });
        auto second = start([&] { queue.put("c"); });
        first.cancel();
        EXPECT_THROW(weft::await(first), CancelledError);
        EXPECT_EQ(queue.get(), "a");
        EXPECT_EQ(queue.get(), "c");
        weft::await(second);
    });
}

TEST_P(QueueTest, PutAndGetThatNeedNotWaitAreNoCancelPoints) {
    run([] {
        Queue<int> queue(1);
        auto task = weft::create_task([&] {
            weft::current_task().cancel();
            queue.put(1);
            EXPECT_EQ(queue.get(), 1);
            queue.get();
            ADD_FAILURE();
        });
        EXPECT_THROW(weft::await(task), CancelledError);
    });
}

// asyncio's test_why_are_getters_waiting, test_why_are_putters_waiting
TEST_P(QueueTest, ProducersAndConsumersMoveEachItemOnce) {
    constexpr int kEach = 500;
    std::vector<int> seen(4 * kEach, 0);
    run([&] {
        Queue<int> queue(3);
        weft::Lock lock;
        weft::task_group([&](weft::TaskGroup& tg) {
            for (int p = 0; p < 4; ++p) {
                tg.create_task([&, p] {
                    for (int i = 0; i < kEach; ++i) queue.put(p * kEach + i);
                });
            }
            for (int c = 0; c < 4; ++c) {
                tg.create_task([&] {
                    std::vector<int> last(4, -1);
                    for (int i = 0; i < kEach; ++i) {
                        int item = queue.get();
                        auto producer = static_cast<std::size_t>(item / kEach);
                        EXPECT_LT(last[producer], item);  // each producer's come in its order
                        last[producer] = item;
                        std::lock_guard guard(lock);
                        ++seen[static_cast<std::size_t>(item)];
                    }
                });
            }
        });
        EXPECT_TRUE(queue.empty());
    });
    EXPECT_EQ(std::ranges::count(seen, 1), 4 * kEach);
}

TEST_P(QueueTest, TasksAndPlainThreadsExchangeItems) {
    long sum = 0;
    std::thread producer([] {
        for (int i = 1; i <= 1000; ++i) static_queue.put(i);
    });
    run([&] {
        for (int i = 0; i < 1000; ++i) sum += static_queue.get();
    });
    producer.join();
    EXPECT_EQ(sum, 500500);
    std::thread consumer([&] {
        for (int i = 0; i < 1000; ++i) sum -= static_queue.get();
    });
    run([&] {
        for (int i = 1; i <= 1000; ++i) static_queue.put(i);
    });
    consumer.join();
    EXPECT_EQ(sum, 0);
}

TEST(Queue, BehavesAsADequeUnderRandomUse) {
    for (unsigned seed = 1; seed <= 20; ++seed) {
        std::mt19937 random(seed);
        auto bound = static_cast<std::ptrdiff_t>(seed % 4 == 0 ? 0 : 200 * (seed % 4));
        Queue<int> queue(bound);
        weft::LifoQueue<int> stack(bound);
        std::deque<int> model;
        std::vector<int> stack_model;
        for (int i = 0; i < 5000; ++i) {
            bool fill = random() % 1000 < (i / 500 % 2 == 0 ? 700U : 300U);
            if (fill && !queue.full()) {
                queue.put_nowait(i);
                stack.put_nowait(i);
                model.push_back(i);
                stack_model.push_back(i);
            } else if (!fill && !queue.empty()) {
                ASSERT_EQ(queue.get_nowait(), model.front()) << "seed " << seed;
                model.pop_front();
                ASSERT_EQ(stack.get_nowait(), stack_model.back()) << "seed " << seed;
                stack_model.pop_back();
            }
            ASSERT_EQ(queue.qsize(), model.size());
            ASSERT_EQ(stack.full(), bound > 0 && std::cmp_equal(model.size(), bound));
        }
    }
}

}  // namespace
