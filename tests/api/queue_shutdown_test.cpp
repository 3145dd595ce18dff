// Shutting queues down, and taking from one until it is. The ids are those of asyncio's semantics.
#include <memory>
#include <string>
#include <vector>

#include "api/support.hpp"

namespace {

using weft::CancelledError;
using weft::Queue;
using weft::QueueShutDown;

class QueueShutdownTest : public OnWorkers {};
WEFT_ON_WORKERS(QueueShutdownTest);
class QueueShutdownStrictTest : public WithWatchdog {};

// q-4, q-5
TEST_P(QueueShutdownTest, PutFailsAtOnceAndGetWhenNothingIsLeft) {
    run([] {
        Queue<int> queue(2);
        queue.put(1);
        queue.put(2);
        queue.shutdown();
        EXPECT_THROW(queue.put_nowait(3), QueueShutDown);
        EXPECT_THROW(queue.put(3), QueueShutDown);
        EXPECT_EQ(queue.get(), 1);
        EXPECT_THROW(queue.put_nowait(3), QueueShutDown);
        EXPECT_EQ(queue.get_nowait(), 2);
        EXPECT_THROW(queue.get_nowait(), QueueShutDown);
        EXPECT_THROW(queue.get(), QueueShutDown);
        queue.shutdown();
    });
}

// q-6
TEST_P(QueueShutdownTest, ImmediateDropsTheItemsAndCountsThemDone) {
    run([] {
        auto item = std::make_shared<int>(1);
        Queue<std::shared_ptr<int>> queue;
        for (int i = 0; i < 300; ++i) queue.put(item);
        auto joiner = start([&] { queue.join(); });
        queue.shutdown(weft::immediate);
        EXPECT_EQ(item.use_count(), 1);
        EXPECT_EQ(queue.qsize(), 0U);
        EXPECT_THROW(queue.get(), QueueShutDown);
        EXPECT_THROW(queue.get_nowait(), QueueShutDown);
        weft::await(joiner);
        queue.join();
        EXPECT_THROW(queue.task_done(), std::invalid_argument);
    });
}

// asyncio's test_shutdown_immediate_with_unfinished
TEST_P(QueueShutdownTest, ImmediateLeavesWhatWasTakenToBeDone) {
    run([] {
        Queue<int> queue;
        queue.put(1);
        queue.put(2);
        queue.get();
        auto joiner = start([&] { queue.join(); });
        queue.shutdown(weft::immediate);
        EXPECT_FALSE(joiner.done());
        queue.task_done();
        weft::await(joiner);
    });
}

TEST_P(QueueShutdownTest, JoinWaitsForWhatIsDrained) {
    run([] {
        Queue<int> queue;
        queue.put(1);
        queue.shutdown();
        auto joiner = start([&] { queue.join(); });
        queue.get();
        EXPECT_FALSE(joiner.done());
        queue.task_done();
        weft::await(joiner);
    });
}

// q-7
TEST_P(QueueShutdownTest, BlockedGettersAreWokenWithQueueShutDown) {
    run([] {
        Queue<int> queue;
        std::vector<weft::Task<int>> getters;
        for (int i = 0; i < 50; ++i) getters.push_back(start([&] { return queue.get(); }));
        queue.shutdown();
        for (auto& getter : getters) EXPECT_THROW(weft::await(getter), QueueShutDown);
    });
}

// q-7
TEST_P(QueueShutdownTest, BlockedPuttersAreWokenWithQueueShutDown) {
    run([] {
        Queue<std::string> queue(1);
        queue.put("kept");
        std::vector<weft::Task<void>> putters;
        for (int i = 0; i < 3; ++i) putters.push_back(start([&] { queue.put("refused"); }));
        queue.shutdown();
        for (auto& putter : putters) EXPECT_THROW(weft::await(putter), QueueShutDown);
        EXPECT_EQ(queue.get(), "kept");
        EXPECT_THROW(queue.get(), QueueShutDown);
    });
}

TEST_F(QueueShutdownStrictTest, AGetterThatWasWokenBeforeStillGetsItsItem) {
    run_strict([] {
        Queue<int> queue;
        auto getter = start([&] { return queue.get(); });
        queue.put_nowait(1);
        queue.shutdown();
        EXPECT_EQ(weft::await(getter), 1);
    });
}

TEST_F(QueueShutdownStrictTest, AGetterThatWasWokenBeforeAnImmediateOneGetsNone) {
    run_strict([] {
        Queue<int> queue;
        auto getter = start([&] { return queue.get(); });
        queue.put_nowait(1);
        queue.shutdown(weft::immediate);
        EXPECT_THROW(weft::await(getter), QueueShutDown);
        queue.join();
    });
}

TEST_F(QueueShutdownStrictTest, APutterThatWasWokenBeforeIsRefused) {
    run_strict([] {
        Queue<int> queue(1);
        queue.put_nowait(1);
        auto putter = start([&] { queue.put(2); });
        queue.get_nowait();
        queue.shutdown();
        EXPECT_THROW(weft::await(putter), QueueShutDown);
        EXPECT_TRUE(queue.empty());
    });
}

TEST_F(QueueShutdownStrictTest, AnItemThatACancelledGetterGivesBackCanStillBeTaken) {
    run_strict([] {
        Queue<int> queue;
        auto first = start([&] { return queue.get(); });
        queue.put_nowait(1);
        queue.shutdown();
        first.cancel();
        EXPECT_THROW(weft::await(first), CancelledError);
        EXPECT_EQ(queue.get(), 1);
        EXPECT_THROW(queue.get(), QueueShutDown);
    });
}

TEST_P(QueueShutdownTest, ARangeForTakesItemsUntilShutdown) {
    run([] {
        Queue<std::unique_ptr<int>> queue(2);
        int sum = 0;
        auto consumer = start([&] {
            for (auto& item : queue) sum += *item;
        });
        for (int i = 1; i <= 100; ++i) queue.put(std::make_unique<int>(i));
        queue.shutdown();
        weft::await(consumer);
        EXPECT_EQ(sum, 5050);
        for (auto& item : queue) ADD_FAILURE() << *item;
    });
}

TEST_P(QueueShutdownTest, ARangeForGivesCopiesToo) {
    run([] {
        weft::LifoQueue<int> queue;
        for (int i = 0; i < 3; ++i) queue.put(i);
        queue.shutdown();
        std::vector<int> items;
        for (int item : queue) items.push_back(item);
        EXPECT_EQ(items, (std::vector{2, 1, 0}));
    });
}

TEST_P(QueueShutdownTest, ARangeForIsACancelPoint) {
    run([] {
        Queue<int> queue;
        auto consumer = start([&] {
            for ([[maybe_unused]] int item : queue) {
            }
        });
        consumer.cancel();
        EXPECT_THROW(weft::await(consumer), CancelledError);
    });
}

}  // namespace
