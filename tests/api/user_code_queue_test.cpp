// Items of queues, and comparisons, that call back into their queue. As user_code_test.cpp.
#include <memory>
#include <stdexcept>

#include "api/user_code.hpp"

namespace weft::test {

namespace {

class UserCodeInQueuesTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(UserCodeInQueuesTest);

/// All of a queue that one may call without waiting.
template <class Q>
void call_all(Q& queue) {
    queue.qsize();
    queue.full();
    try {
        queue.put_nowait(Caller(2));
    } catch (const QueueFull&) {
    } catch (const QueueShutDown&) {
    } catch (const UsageError&) {
    }
    try {
        queue.get_nowait();
    } catch (const QueueEmpty&) {
    } catch (const QueueShutDown&) {
    } catch (const UsageError&) {
    }
}

template <class Q>
void let_items_call() {
    std::optional<Q> queue(std::in_place, 3);
    Hook hook([&] { call_all(*queue); });
    for (int i = 0; i < 5; ++i) {
        Caller item(i);
        queue->put(std::move(item));
        queue->get();
    }
    for (int i = 0; i < 3 && !queue->full(); ++i) queue->put_nowait(Caller(i));
    weft::select(on_get(*queue, [](Caller) {}), on_default());
    weft::select(on_put(*queue, Caller(1)), on_default());
    queue->shutdown(immediate);
    EXPECT_TRUE(queue->empty());
    Caller::hook = nullptr;

    queue.emplace(3);
    for (int i = 0; i < 3; ++i) queue->put(Caller(i));
    int before = Caller::calls;
    Caller::hook = [&] {
        EXPECT_EQ(queue->qsize(), 0U);
        call_all(*queue);
    };
    // Not reset(): that marks the optional empty first.
    std::destroy_at(&*queue);
    Caller::hook = nullptr;
    EXPECT_EQ(Caller::calls, before + 3);
    std::construct_at(&*queue, 1);
}

TEST_P(UserCodeInQueuesTest, ItemsMayCallTheirQueue) {
    run([] {
        let_items_call<Queue<Caller>>();
        let_items_call<LifoQueue<Caller>>();
        let_items_call<PriorityQueue<Caller>>();
    });
}

template <class Q>
void let_items_call_in_line() {
    Q queue(1);
    // It asks only: what it took would be missed by those in line.
    Hook hook([&] {
        queue.qsize();
        queue.full();
    });
    task_group([&](TaskGroup& tg) {
        for (int t = 0; t < 3; ++t) {
            tg.create_task([&] {
                for (int i = 0; i < 50; ++i) queue.put(Caller(i));
            });
            tg.create_task([&] {
                for (int i = 0; i < 50; ++i) queue.get();
            });
        }
    });
    EXPECT_TRUE(queue.empty());
}

TEST_P(UserCodeInQueuesTest, ItemsOfThoseInLineMayAskTheirQueue) {
    run([] {
        let_items_call_in_line<Queue<Caller>>();
        let_items_call_in_line<LifoQueue<Caller>>();
        let_items_call_in_line<PriorityQueue<Caller>>();
    });
}

TEST_P(UserCodeInQueuesTest, AComparisonMayAskItsQueueAndIsToldWhatItMayNot) {
    run([] {
        struct Compare {
            std::function<void()>* hook;
            bool operator()(int a, int b) const {
                if (*hook) (*hook)();
                return a < b;
            }
        };
        std::function<void()> hook;
        PriorityQueue<int, Compare> queue(4, Compare{&hook});
        queue.put(3);
        int asked = 0;
        hook = [&] {
            ++asked;
            EXPECT_GT(queue.qsize() + 1, 0U);
            EXPECT_FALSE(queue.full());
            EXPECT_THROW(queue.put_nowait(1), UsageError);
            EXPECT_THROW(queue.put(1), UsageError);
            EXPECT_THROW(queue.get(), UsageError);  // though there may be none
            EXPECT_THROW(weft::select(on_get(queue, [](int) {})), UsageError);
            EXPECT_THROW(weft::select(on_put(queue, 1)), UsageError);
            EXPECT_ANY_THROW(queue.get_nowait());  // QueueEmpty, if there are none
            EXPECT_THROW(queue.shutdown(immediate), UsageError);
        };
        queue.put(1);
        queue.put(2);
        EXPECT_EQ(queue.qsize(), 3U);
        EXPECT_EQ(queue.get(), 1);
        EXPECT_GT(asked, 2);
        hook = [&] { queue.shutdown(); };
        queue.put(1);  // comes before the shutdown that it leads to
        hook = nullptr;
        EXPECT_THROW(queue.put(5), QueueShutDown);
        EXPECT_EQ(queue.get(), 1);
        EXPECT_EQ(queue.get(), 2);
        EXPECT_EQ(queue.get(), 3);
        EXPECT_THROW(queue.get(), QueueShutDown);
    });
}

// An item whose comparison threw after a shutdown(immediate) is dropped then: without the heap's lock, and join() hears.
TEST_P(UserCodeInQueuesTest, AnItemThatIsDroppedBecauseItsComparisonThrewMayCallItsQueue) {
    run([] {
        struct Item {
            std::shared_ptr<AtEnd> at_end;
            int value;
            Item(std::shared_ptr<AtEnd> a, int v) : at_end(std::move(a)), value(v) {}
            Item(Item&& other) noexcept : at_end(std::move(other.at_end)), value(other.value) {}
        };
        struct Compare {
            std::function<void()>* hook;
            bool operator()(const Item& a, const Item& b) const {
                if (*hook) (*hook)();
                return a.value < b.value;
            }
        };
        std::function<void()> hook;
        std::atomic<int> destroyed = 0;
        PriorityQueue<Item, Compare> queue(0, Compare{&hook});
        auto put = [&](int value) {
            queue.put(Item(std::make_shared<AtEnd>([&] {
                               EXPECT_TRUE(queue.empty());
                               EXPECT_THROW(queue.get_nowait(), QueueShutDown);
                               queue.shutdown();
                               ++destroyed;
                           }),
                           value));
        };
        for (int i = 0; i < 4; ++i) put(i);
        Event comparing;
        Event go_on;
        hook = [&] {
            comparing.set();
            go_on.wait();
            throw std::runtime_error("compare");
        };
        auto get = [&] { EXPECT_THROW(queue.get(), std::runtime_error); };
        auto first = start(get);
        comparing.wait();
        // In the heap's line, in this order: the second one has its right to an item when the queue is shut.
        auto closer = start([&] { queue.shutdown(immediate); });
        auto second = start(get);
        auto joiner = start([&] { queue.join(); });
        go_on.set();
        await(first);
        await(closer);
        await(second);
        await(joiner);
        EXPECT_EQ(destroyed, 4);
    });
}

}  // namespace

}  // namespace weft::test
