// select with queues of all kinds: order, boxes, shutdown, values that were not put.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class SelectQueueTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(SelectQueueTest);

/// Lives in a box, may not be copied, and remembers.
struct Boxed {
    int value;
    Boxed(int v) : value(v) {}
    Boxed(Boxed&& other) noexcept : value(std::exchange(other.value, -1)) {}
    Boxed& operator=(Boxed&& other) noexcept {
        value = std::exchange(other.value, -1);
        return *this;
    }
    bool operator<(const Boxed& other) const {
        if (value == 13 || other.value == 13) throw std::domain_error("thirteen");
        return value < other.value;
    }
};

/// Items go through select on both sides, with waits on both.
template <class Queue>
void pass_through() {
    Queue queue(2);
    Event never;
    int sum = 0;
    task_group([&](TaskGroup& tg) {
        tg.create_task([&] {
            for (int i = 1; i <= 60; ++i) select(on(never), on_put(queue, i));
            queue.shutdown();
        });
        tg.create_task([&] {
            try {
                for (;;)
                    select(on(never), on_get(queue, [&](auto item) {
                               if constexpr (std::is_same_v<decltype(item), Boxed>)
                                   sum += item.value;
                               else
                                   sum += item;
                           }));
            } catch (const QueueShutDown&) {
            }
        });
    });
    EXPECT_EQ(sum, 1830);
}

TEST_P(SelectQueueTest, EveryKindOfQueueCanBeSelected) {
    run([] {
        pass_through<Queue<int>>();
        pass_through<LifoQueue<int>>();
        pass_through<PriorityQueue<int>>();
        pass_through<Queue<Boxed>>();
        pass_through<LifoQueue<Boxed>>();
    });
}

TEST_P(SelectQueueTest, APriorityQueueGivesItsSmallest) {
    run([] {
        PriorityQueue<Boxed> queue;
        Event never;
        for (int value : {5, 2, 9}) select(on_put(queue, Boxed(value)), on(never));
        std::vector<int> order;
        while (!queue.empty())
            select(on(never), on_get(queue, [&](Boxed item) { order.push_back(item.value); }));
        EXPECT_EQ(order, (std::vector{2, 5, 9}));
    });
}

TEST_P(SelectQueueTest, ItStandsInLineWithOthersAndIsServedInOrder) {
    run([] {
        Queue<int> queue;
        Event never;
        std::vector<Task<int>> getters;
        for (int i = 0; i < 6; ++i)
            getters.push_back(start([&, i] {
                if (i % 2 == 0) return queue.get();
                int got = -1;
                select(on(never), on_get(queue, [&](int item) { got = item; }));
                return got;
            }));
        for (int i = 0; i < 6; ++i) queue.put(i);
        for (int i = 0; i < 6; ++i) EXPECT_EQ(await(getters[static_cast<std::size_t>(i)]), i);
    });
}

TEST_P(SelectQueueTest, PuttersItemsComeInTheOrderOfArrival) {
    run([] {
        Queue<int> queue(1);
        queue.put(0);
        Event never;
        std::vector<Task<void>> putters;
        for (int i = 1; i < 7; ++i)
            putters.push_back(start([&, i] {
                if (i % 2 == 0) return queue.put(i);
                select(on(never), on_put(queue, i));
            }));
        for (int i = 0; i < 7; ++i) EXPECT_EQ(queue.get(), i);
        for (auto& putter : putters) await(putter);
    });
}

TEST_P(SelectQueueTest, WhoHasWonElsewhereIsPassedOver) {
    run([] {
        Queue<int> queue;
        Event event;
        auto gone = start([&] { return select(on_get(queue, [](int) {}), on(event)); });
        auto next = start([&] { return queue.get(); });
        settle();
        event.set();
        queue.put(4);
        EXPECT_EQ(await(gone), 1U);
        EXPECT_EQ(await(next), 4);
    });
}

// --- values that were not put -------------------------------------------------------------------

TEST_P(SelectQueueTest, AValueThatIsNotPutIsAsItWas) {
    run([] {
        Queue<std::unique_ptr<int>> full(1);
        full.put(std::make_unique<int>(0));
        Queue<Boxed> boxes(1);
        boxes.put(Boxed(0));
        auto pointer = std::make_unique<int>(1);
        Boxed box(2);
        Future<void> future;
        auto selecting = start([&] {
            std::size_t winner = select(on_put(full, std::move(pointer)),
                                        on_put(boxes, std::move(box)), on(future, [&](const auto&) {
                                            EXPECT_EQ(*pointer, 1);
                                            EXPECT_EQ(box.value, 2);
                                        }));
            EXPECT_EQ(winner, 2U);
        });
        settle();
        future.set_result();
        await(selecting);
        EXPECT_EQ(*pointer, 1);
        EXPECT_EQ(box.value, 2);
        EXPECT_EQ(boxes.get().value, 0);
        EXPECT_EQ(select(on_put(full, std::move(pointer)), on_put(boxes, std::move(box))), 1U);
        EXPECT_EQ(*pointer, 1);
        EXPECT_EQ(box.value, -1);
        EXPECT_EQ(boxes.get().value, 2);
    });
}

TEST_P(SelectQueueTest, AValueByNameIsCopied) {
    run([] {
        Queue<std::string> queue;
        std::string text = "text";
        select(on_put(queue, text));
        select(on_put(queue, "literal"));
        EXPECT_EQ(text, "text");
        EXPECT_EQ(queue.get(), "text");
        EXPECT_EQ(queue.get(), "literal");
    });
}

TEST_P(SelectQueueTest, AComparisonThatThrowsLeavesValueAndQueueAsTheyWere) {
    run([] {
        PriorityQueue<Boxed> queue(2);
        queue.put(Boxed(1));
        Boxed bad(13);
        EXPECT_THROW(select(on_put(queue, std::move(bad))), std::domain_error);
        EXPECT_EQ(bad.value, 13);
        queue.put(Boxed(2));
        auto selecting =
            start([&] { EXPECT_THROW(select(on_put(queue, std::move(bad))), std::domain_error); });
        settle();
        EXPECT_EQ(queue.get().value, 1);
        await(selecting);
        EXPECT_EQ(bad.value, 13);
        EXPECT_EQ(queue.qsize(), 1U);
        EXPECT_FALSE(queue.full());
    });
}

// --- shutdown -----------------------------------------------------------------------------------

TEST_P(SelectQueueTest, AShutQueueComesOutAsAnErrorInItsPlaceInTheOrder) {
    run([] {
        Queue<int> shut;
        shut.put(1);
        shut.shutdown();
        Event event;
        event.set();
        EXPECT_THROW(select(on_put(shut, 2), on(event)), QueueShutDown);
        EXPECT_EQ(select(on(event), on_put(shut, 2)), 0U);
        EXPECT_EQ(select(on_get(shut, [](int item) { EXPECT_EQ(item, 1); }), on(event)), 0U);
        EXPECT_THROW(select(on_get(shut, [](int) {}), on(event)), QueueShutDown);
        EXPECT_THROW(select(on_get(shut, [](int) {}), on_default()), QueueShutDown);
    });
}

TEST_P(SelectQueueTest, AShutdownEndsTheSelectsThatWaitAndLeavesTheirOtherLines) {
    run([] {
        Queue<int> shut;
        Queue<int> full(1);
        full.put(0);
        PriorityQueue<int> other;
        auto getting = start([&] { select(on_get(other, [](int) {}), on_get(shut, [](int) {})); });
        auto putting = start([&] { select(on_get(other, [](int) {}), on_put(full, 1)); });
        settle();
        shut.shutdown();
        full.shutdown(immediate);
        EXPECT_THROW(await(getting), QueueShutDown);
        EXPECT_THROW(await(putting), QueueShutDown);
        other.put(1);
        EXPECT_EQ(other.qsize(), 1U);
    });
}

TEST_P(SelectQueueTest, WhatWasPromisedBeforeAShutdownIsGivenUnlessItIsDropped) {
    run([] {
        for (bool drop : {false, true}) {
            Queue<int> queue;
            auto selecting = start([&] {
                std::string how = "none";
                try {
                    select(on_get(queue, [&](int item) { how = std::to_string(item); }));
                } catch (const QueueShutDown&) {
                    how = "shut";
                }
                return how;
            });
            settle();
            queue.put(6);
            drop ? queue.shutdown(immediate) : queue.shutdown();
            std::string how = await(selecting);
            EXPECT_TRUE(how == "6" || (drop && how == "shut")) << how;
        }
    });
}

TEST_P(SelectQueueTest, JoinCountsWhatSelectPuts) {
    run([] {
        Queue<int> queue(1);
        Event never;
        auto worker = start([&] {
            for (int i = 0; i < 3; ++i) {
                select(on(never), on_get(queue, [](int) {}));
                queue.task_done();
            }
        });
        for (int i = 0; i < 3; ++i) select(on(never), on_put(queue, i));
        queue.join();
        await(worker);
        EXPECT_THROW(queue.task_done(), std::invalid_argument);
    });
}

}  // namespace

}  // namespace weft::test
