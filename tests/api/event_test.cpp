// Event. The ids are those of asyncio's semantics.
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "api/support.hpp"

namespace {

using weft::CancelledError;
using weft::Event;

class EventTest : public OnWorkers {};
WEFT_ON_WORKERS(EventTest);
class EventStrictTest : public WithWatchdog {};

TEST_P(EventTest, WaitReturnsAtOnceWhileItIsSet) {
    run([] {
        Event event;
        EXPECT_FALSE(event.is_set());
        event.set();
        EXPECT_TRUE(event.is_set());
        EXPECT_TRUE(event.wait());
        EXPECT_TRUE(event.wait());
        event.set();
        EXPECT_TRUE(event.wait());
    });
}

// ev-1
TEST_P(EventTest, SetWakesAllWhoWaitThoughClearFollows) {
    run([] {
        Event event;
        std::vector<weft::Task<bool>> tasks;
        for (int i = 0; i < 100; ++i) tasks.push_back(start([&] { return event.wait(); }));
        event.set();
        event.clear();
        for (auto& task : tasks) EXPECT_TRUE(weft::await(task));
        EXPECT_FALSE(event.is_set());
    });
}

TEST_P(EventTest, WhoComesAfterClearWaitsForTheNextSet) {
    run([] {
        Event event;
        event.set();
        event.clear();
        auto task = start([&] { event.wait(); });
        EXPECT_FALSE(task.done());
        event.set();
        weft::await(task);
    });
}

TEST_P(EventTest, ACancelledWaiterLeavesTheOthersWaiting) {
    run([] {
        Event event;
        auto first = start([&] { event.wait(); });
        auto second = start([&] { event.wait(); });
        first.cancel();
        EXPECT_THROW(weft::await(first), CancelledError);
        EXPECT_FALSE(second.done());
        event.set();
        weft::await(second);
    });
}

TEST_F(EventStrictTest, ACancelAfterSetButBeforeTheWaiterRanStrikesInTheWait) {
    run_strict([] {
        Event event;
        bool went_on = false;
        auto task = start([&] {
            event.wait();
            went_on = true;
        });
        event.set();
        task.cancel();
        EXPECT_THROW(weft::await(task), CancelledError);
        EXPECT_FALSE(went_on);
    });
}

TEST_P(EventTest, MayBeDestroyedAsSoonAsTheWaitIsOver) {
    run([] {
        for (int i = 0; i < 500; ++i) {
            auto event = std::make_unique<Event>();
            Event* shared = event.get();
            auto setter = weft::create_task([shared] { shared->set(); });
            event->wait();
            event.reset();
            weft::await(setter);
        }
    });
}

TEST_P(EventTest, MayBeDestroyedAsSoonAsItIsSeenSet) {
    run([] {
        for (int i = 0; i < 200; ++i) {
            auto event = std::make_unique<Event>();
            std::thread setter([shared = event.get()] { shared->set(); });
            while (!event->is_set()) std::this_thread::yield();
            event.reset();
            setter.join();
        }
    });
}

TEST_P(EventTest, WakesPlainThreadsToo) {
    Event event;
    std::atomic<int> awake{0};
    auto wait = [&] {
        event.wait();
        ++awake;
    };
    std::thread one(wait);
    std::thread two(wait);
    run([&] {
        auto task = start(wait);
        event.set();
        weft::await(task);
    });
    one.join();
    two.join();
    EXPECT_EQ(awake, 3);
}

TEST_P(EventTest, NoWakeUpIsLostBetweenSetAndWait) {
    run([] {
        for (int i = 0; i < 300; ++i) {
            Event event;
            Event back;
            auto other = weft::create_task([&] {
                event.wait();
                back.set();
            });
            event.set();
            back.wait();
            weft::await(other);
        }
    });
}

}  // namespace
