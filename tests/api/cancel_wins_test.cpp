// asyncio: a cancel that comes when a wait has already been ended, and before the waiter has run again, strikes in that
// wait: what it waited for is there, and the waiter hears of the cancel and not of it.
#include <algorithm>
#include <functional>

#include "core_support.hpp"

namespace weft::test {

namespace {

class CancelWinsTest : public Everywhere {};

WEFT_TEST_ON_ONE_WORKER(CancelWinsTest);

/// What the waiter heard of, when its wait was ended by `end` and it was cancelled just after that.
std::string heard(const std::function<void()>& wait, const std::function<void()>& end) {
    std::string text = "no error";
    auto waiter = create_task([&] {
        text = cancel_message_of(wait);
        if (current_task().cancelling() != 0) current_task().uncancel();
    });
    settle();
    end();
    EXPECT_FALSE(waiter.done());
    waiter.cancel("in between");
    await(waiter);
    return text;
}

TEST_P(CancelWinsTest, InEachKindOfWait) {
    run([] {
        auto expect_cancelled = [](const char* where, const auto& wait, const auto& end) {
            EXPECT_EQ(heard(wait, end), "in between") << where;
        };
        Future<void> future;
        auto set_future = [&] { future.set_result(); };
        auto expect_of_future = [&](const char* where, const auto& wait) {
            future = Future<void>();
            expect_cancelled(where, wait, set_future);
        };
        expect_of_future("await", [&] { await(future); });
        expect_of_future("shield", [&] { shield(future); });
        expect_of_future("wait", [&] { weft::wait(std::vector{future}); });
        expect_of_future("as_completed", [&] {
            for (auto& done : as_completed(std::vector{future})) done.result();
        });
        expect_of_future("gather", [&] { gather(future); });
        expect_of_future("wait_for", [&] { wait_for(future, 1h); });
        expect_of_future("timeout", [&] { timeout(1h, [&] { await(future); }); });
        Event event;
        expect_cancelled("Event", [&] { event.wait(); }, [&] { event.set(); });
        Lock lock;
        lock.acquire();
        expect_cancelled("Lock", [&] { lock.acquire(); }, [&] { lock.release(); });
        EXPECT_FALSE(lock.locked());
        Queue<int> queue;
        expect_cancelled("Queue", [&] { queue.get(); }, [&] { queue.put_nowait(1); });
        EXPECT_EQ(queue.qsize(), 1U);
    });
}

TEST_P(CancelWinsTest, InAYield) {
    run([] {
        std::string text;
        bool began = false;
        auto waiter = create_task([&] {
            began = true;
            text = cancel_message_of([] { yield(); });
            current_task().uncancel();
        });
        while (!began) yield();
        waiter.cancel("in between");
        await(waiter);
        EXPECT_EQ(text, "in between");
    });
}

// The cancel comes at every turn of the group's end: when the group ends without an error, none has come.
TEST_P(CancelWinsTest, InTheEndOfATaskGroup) {
    run([] {
        int heard_inside = 0;
        for (int turns = 0; turns < 8; ++turns) {
            Event go_on;
            auto waiter = create_task([&] {
                try {
                    task_group([&](TaskGroup& group) {
                        group.create_task([&] { go_on.wait(); }, {.eager = true});
                    });
                    EXPECT_EQ(current_task().cancelling(), 0) << turns;
                    settle();
                } catch (const CancelledError&) {
                    ++heard_inside;
                    current_task().uncancel();
                }
            });
            settle();
            go_on.set();
            for (int i = 0; i < turns; ++i) yield();
            waiter.cancel();
            gather(return_exceptions, waiter);
        }
        EXPECT_GT(heard_inside, 0);
    });
}

// Two sleep to the same moment, and the one that wakes first cancels the other.
TEST_P(CancelWinsTest, InASleepWhoseTimeIsUp) {
    run([] {
        std::string heard[2];
        AnyTask sleepers[2];
        bool awake[2] = {false, false};
        TimePoint moment = now() + 1ms;
        for (int i : {0, 1})
            sleepers[i] = create_task([&, i] {
                heard[i] = cancel_message_of([&] { weft::sleep_until(moment); });
                awake[i] = true;
                if (!awake[1 - i]) sleepers[1 - i].cancel("in between");
            });
        for (auto& sleeper : sleepers)
            while (!sleeper.done()) weft::sleep(1ms);
        std::sort(std::begin(heard), std::end(heard));
        EXPECT_EQ(heard[0], "in between");
        EXPECT_EQ(heard[1], "no error");
    });
}

}  // namespace

}  // namespace weft::test
