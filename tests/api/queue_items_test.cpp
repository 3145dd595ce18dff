// What a queue does with the items themselves: no code of theirs runs under its lock, none is lost, none is leaked.
#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "api/support.hpp"

namespace {

using weft::LifoQueue;
using weft::PriorityQueue;
using weft::Queue;

class QueueItemsTest : public OnWorkers {};
WEFT_ON_WORKERS(QueueItemsTest);

/// Each of its operations lets other tasks run: under a spin lock that would never end.
struct Yielding {
    static inline std::atomic<int> alive{0};
    int value = 0;

    explicit Yielding(int v) : value(v) { ++alive; }
    Yielding(Yielding&& other) : value(std::exchange(other.value, -1)) {
        ++alive;
        weft::yield();
    }
    Yielding& operator=(Yielding&& other) {
        value = std::exchange(other.value, -1);
        weft::yield();
        return *this;
    }
    ~Yielding() {
        --alive;
        weft::yield();
    }
    bool operator<(const Yielding& other) const {
        weft::yield();
        return value < other.value;
    }
};

template <class Q>
long exchange_items(Q& queue) {
    std::atomic<long> sum{0};
    weft::task_group([&](weft::TaskGroup& tg) {
        for (int t = 0; t < 4; ++t) {
            tg.create_task([&] {
                for (int i = 1; i <= 100; ++i) queue.put(Yielding(i));
            });
            tg.create_task([&] {
                for (int i = 1; i <= 100; ++i) sum += queue.get().value;
            });
        }
    });
    return sum;
}

TEST_P(QueueItemsTest, ItemsMayWaitInTheirMovesComparisonsAndDestructors) {
    run([] {
        Queue<Yielding> queue(3);
        EXPECT_EQ(exchange_items(queue), 4 * 5050);
        LifoQueue<Yielding> stack(3);
        EXPECT_EQ(exchange_items(stack), 4 * 5050);
        PriorityQueue<Yielding> heap(3);
        EXPECT_EQ(exchange_items(heap), 4 * 5050);
    });
    EXPECT_EQ(Yielding::alive, 0);
}

/// Throws from the copy or move that it is told to.
struct Throwing {
    static inline int alive = 0;
    static inline int moves_left = -1;
    int value;

    explicit Throwing(int v) : value(v) { ++alive; }
    Throwing(Throwing&& other) : value(other.value) {
        if (moves_left == 0) throw std::runtime_error("move");
        --moves_left;
        ++alive;
    }
    Throwing(const Throwing&) = delete;
    ~Throwing() { --alive; }
};

TEST_P(QueueItemsTest, AMoveThatThrowsInPutLeavesTheQueueAsItWas) {
    run([] {
        Queue<Throwing> queue(1);
        Throwing::moves_left = 0;
        EXPECT_THROW(queue.put(Throwing(1)), std::runtime_error);
        EXPECT_TRUE(queue.empty());
        EXPECT_FALSE(queue.full());
        Throwing::moves_left = -1;
        queue.put(Throwing(2));
        EXPECT_EQ(queue.get().value, 2);
    });
    EXPECT_EQ(Throwing::alive, 0);
}

/// Movable without throwing, but by code of its own.
struct Loud {
    std::string text;
    explicit Loud(std::string t) : text(std::move(t)) {}
    Loud(Loud&& other) noexcept : text(std::move(other.text)) {}
    Loud& operator=(Loud&& other) noexcept {
        text = std::move(other.text);
        return *this;
    }
};

TEST_P(QueueItemsTest, AnItemThatWasRefusedIsStillTheCallers) {
    run([] {
        Queue<std::unique_ptr<int>> queue(1);
        queue.put(std::make_unique<int>(1));
        auto item = std::make_unique<int>(2);
        EXPECT_THROW(queue.put_nowait(std::move(item)), weft::QueueFull);
        EXPECT_NE(item, nullptr);
        queue.shutdown();
        EXPECT_THROW(queue.put(std::move(item)), weft::QueueShutDown);
        EXPECT_NE(item, nullptr);

        Queue<Loud> loud(1);
        loud.put(Loud("first"));
        Loud second("second");
        EXPECT_THROW(loud.put_nowait(std::move(second)), weft::QueueFull);
        EXPECT_EQ(second.text, "second");
        auto putter =
            start([&] { EXPECT_THROW(loud.put(std::move(second)), weft::CancelledError); });
        putter.cancel();
        await_end(putter);
        EXPECT_EQ(second.text, "second");
    });
}

TEST_P(QueueItemsTest, WhatIsLeftIsDestroyedWithTheQueue) {
    auto item = std::make_shared<int>(1);
    struct Holder {
        std::shared_ptr<int> held;
        explicit Holder(std::shared_ptr<int> h) : held(std::move(h)) {}
        Holder(Holder&& other) noexcept : held(std::move(other.held)) {}
        bool operator<(const Holder& other) const { return held < other.held; }
    };
    run([&] {
        Queue<std::shared_ptr<int>> plain;
        Queue<Holder> queue;
        LifoQueue<Holder> stack;
        PriorityQueue<Holder> heap;
        PriorityQueue<std::shared_ptr<int>> plain_heap;
        for (int i = 0; i < 200; ++i) {
            plain.put(item);
            queue.put(Holder(item));
            stack.put(Holder(item));
            heap.put(Holder(item));
            plain_heap.put(item);
        }
        EXPECT_EQ(item.use_count(), 1001);
        stack.shutdown(weft::immediate);
        heap.shutdown(weft::immediate);
        EXPECT_EQ(item.use_count(), 601);
    });
    EXPECT_EQ(item.use_count(), 1);
}

TEST_P(QueueItemsTest, TakesLargeAndOveralignedItems) {
    struct alignas(64) Large {
        long numbers[100];
    };
    run([] {
        Queue<Large> queue;
        for (long i = 0; i < 50; ++i) queue.put(Large{{i}});
        for (long i = 0; i < 50; ++i) {
            Large large = queue.get();
            EXPECT_EQ(large.numbers[0], i);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&large) % 64, 0U);
        }
        Queue<std::pair<int, std::string>> pairs;
        pairs.put({1, "one"});
        EXPECT_EQ(pairs.get().second, "one");
    });
}

}  // namespace
