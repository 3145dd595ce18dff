// select: which case wins, and that all others are as if they had not been given. Queues' own matters are in
// select_queue_test.cpp.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class SelectTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(SelectTest);
class SelectTimeTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(SelectTimeTest);
class SelectThreadTest : public Everywhere {};
WEFT_TEST_ON_THREADS(SelectThreadTest);

// --- which --------------------------------------------------------------------------------------

TEST_P(SelectTest, TheOnlyOneThatIsReadyWinsAndItsHandlerIsCalled) {
    run([] {
        Queue<int> empty;
        Queue<int> full(1);
        full.put(1);
        Queue<int> other;
        other.put(7);
        Event event;
        Future<int> future;
        int got = 0;
        std::size_t winner =
            select(on_get(empty, [](int) { FAIL(); }), on_put(full, 2, [] { FAIL(); }),
                   on(future, [](const auto&) { FAIL(); }), on(event, [] { FAIL(); }),
                   on_get(other, [&](int item) { got = item; }), on_timeout(1h, [] { FAIL(); }));
        EXPECT_EQ(winner, 4U);
        EXPECT_EQ(got, 7);
        EXPECT_TRUE(other.empty());
        EXPECT_EQ(full.qsize(), 1U);
    });
}

TEST_P(SelectTest, OfSeveralThatAreReadyTheFirstInOrderWinsAlways) {
    run([] {
        Queue<int> one;
        Queue<int> two(1);
        Event event;
        event.set();
        Future<void> future;
        future.set_result();
        for (int i = 0; i < 20; ++i) {
            one.put(i);
            EXPECT_EQ(select(on_get(one, [&](int item) { EXPECT_EQ(item, i); }), on_put(two, i),
                             on(event), on(future), on_timeout(0s)),
                      0U);
        }
        EXPECT_EQ(select(on_get(one, [](int) {}), on_put(two, 5), on(event)), 1U);
        EXPECT_EQ(select(on_get(one, [](int) {}), on_put(two, 6), on(event), on(future)), 2U);
        EXPECT_EQ(select(on(future), on(event)), 0U);
        EXPECT_EQ(select(on_timeout(0s), on(event)), 0U);
        EXPECT_EQ(select(on_timeout(1s), on(event)), 1U);
        EXPECT_EQ(two.get(), 5);
        EXPECT_TRUE(two.empty());
    });
}

TEST_P(SelectTest, TheDefaultWinsOnlyWhenNoOtherIsReadyWhereverItStands) {
    run([] {
        Queue<int> queue;
        bool called = false;
        EXPECT_EQ(select(on_default([&] { called = true; }), on_get(queue, [](int) { FAIL(); })),
                  0U);
        EXPECT_TRUE(called);
        queue.put(1);
        EXPECT_EQ(select(on_default([] { FAIL(); }), on_get(queue, [](int) {})), 1U);
        EXPECT_EQ(select(on_default()), 0U);
    });
}

TEST_P(SelectTest, WhoComesFirstWhileItWaitsWins) {
    run([] {
        for (std::size_t which = 0; which < 4; ++which) {
            Queue<int> in;
            Queue<int> out(1);
            out.put(0);
            Event event;
            Future<int> future;
            std::size_t handled = 9;
            auto selecting = start([&] {
                return select(on_get(in, [&](int item) { handled = item == 5 ? 0 : 99; }),
                              on_put(out, 6, [&] { handled = 1; }), on(event, [&] { handled = 2; }),
                              on(future, [&](const Future<int>& f) {
                                  handled = static_cast<std::size_t>(f.result());
                              }));
            });
            settle();
            EXPECT_FALSE(selecting.done());
            if (which == 0) in.put(5);
            if (which == 1) out.get();
            if (which == 2) event.set();
            if (which == 3) future.set_result(3);
            EXPECT_EQ(await(selecting), which);
            EXPECT_EQ(handled, which);
            // What has lost is untouched: nobody is in line there.
            EXPECT_TRUE(in.empty());
            in.put(1);
            EXPECT_EQ(in.qsize(), 1U);
            EXPECT_EQ(out.get(), which == 1 ? 6 : 0);
            EXPECT_TRUE(out.empty());
        }
    });
}

TEST_P(SelectTest, OneThatSeesManyAtOnceTakesOneOfThem) {
    run([] {
        for (int round = 0; round < 20; ++round) {
            Queue<int> a;
            Queue<int> b;
            auto selecting =
                start([&] { return select(on_get(a, [](int) {}), on_get(b, [](int) {})); });
            task_group([&](TaskGroup& tg) {
                tg.create_task([&] { a.put(1); });
                tg.create_task([&] { b.put(2); });
            });
            std::size_t winner = await(selecting);
            EXPECT_EQ(a.qsize(), winner == 0 ? 0U : 1U);
            EXPECT_EQ(b.qsize(), winner == 1 ? 0U : 1U);
        }
    });
}

TEST_P(SelectTest, TheSameThingMayStandInSeveralCases) {
    run([] {
        Queue<int> queue;
        Event event;
        auto selecting = start([&] {
            return select(on_get(queue, [](int) {}), on(event), on_get(queue, [](int) {}),
                          on(event));
        });
        settle();
        queue.put(1);
        EXPECT_EQ(await(selecting), 0U);
        queue.put(2);
        EXPECT_EQ(queue.qsize(), 1U);
        event.set();
        EXPECT_EQ(select(on(event), on(event)), 0U);
    });
}

TEST_P(SelectTest, TwoSelectsMeetInTheMiddle) {
    run([] {
        Queue<int> there(1);
        Queue<int> back(1);
        std::atomic<int> sent = 0;
        std::atomic<int> got = 0;
        auto play = [&] {
            for (int n = 0; n < 50; ++n)
                select(on_put(there, n, [&] { ++sent; }), on_get(back, [&](int) { ++got; }));
        };
        auto reply = [&] {
            for (int n = 0; n < 50; ++n)
                select(on_get(there, [&](int) { ++got; }), on_put(back, n, [&] { ++sent; }));
        };
        task_group([&](TaskGroup& tg) {
            tg.create_task(play);
            tg.create_task(reply);
        });
        auto left = static_cast<int>(there.qsize() + back.qsize());
        EXPECT_EQ(sent + got, 100);
        EXPECT_EQ(sent - got, left);
    });
}

TEST_P(SelectTest, WhatTheHandlerThrowsComesOut) {
    run([] {
        Event event;
        event.set();
        EXPECT_EQ(what_of<std::runtime_error>(
                      [&] { select(on(event, [] { throw std::runtime_error("mine"); })); }),
                  "mine");
    });
}

TEST_P(SelectTest, AHandlerMayWaitAndSelectAgain) {
    run([] {
        Queue<int> queue;
        Event event;
        auto putter = start([&] {
            event.wait();
            queue.put(3);
        });
        int got = 0;
        select(on_timeout(0s, [&] {
            event.set();
            select(on_get(queue, [&](int item) { got = item; }));
        }));
        EXPECT_EQ(got, 3);
        await(putter);
    });
}

// --- tasks and futures --------------------------------------------------------------------------

TEST_P(SelectTest, ATaskIsDoneHoweverItEnds) {
    run([] {
        auto value = create_task([] { return std::make_unique<int>(4); });
        auto fails = create_task([] { throw std::runtime_error("failed"); });
        auto waits = create_task([] { wait_for_ever(); });
        Event never;
        select(on(never), on(value, [](const auto& task) { EXPECT_EQ(*task.result(), 4); }));
        select(on(never), on(fails, [](const Task<void>& task) {
                   EXPECT_EQ(text_of(task.exception()), "failed");
               }));
        settle();
        waits.cancel();
        EXPECT_EQ(select(on(never), on(AnyTask(waits))), 1U);
        EXPECT_TRUE(waits.cancelled());
        EXPECT_THROW(select(on(AnyTask())), InvalidStateError);
    });
}

TEST_P(SelectTest, WhoeverSetsTheFutureNeedsNoHandleOfTheSelects) {
    run([] {
        auto future = std::make_unique<Future<int>>();
        Event never;
        auto selecting = start([&, copy = *future]() mutable {
            return select(on(never),
                          on(std::move(copy), [](const auto& f) { EXPECT_EQ(f.result(), 2); }));
        });
        settle();
        future->set_result(2);
        future.reset();
        EXPECT_EQ(await(selecting), 1U);
    });
}

TEST_P(SelectTest, AnEventThatIsSetAndClearedWakesIt) {
    run([] {
        Event event;
        Queue<int> queue;
        auto selecting = start([&] { return select(on_get(queue, [](int) {}), on(event)); });
        settle();
        event.set();
        event.clear();
        EXPECT_EQ(await(selecting), 1U);
        EXPECT_FALSE(event.is_set());
    });
}

TEST_P(SelectTest, AnEventWakesAllThoughSomeOfThemHaveWonElsewhere) {
    run([] {
        Event event;
        Queue<int> queue;
        std::atomic<int> by_event = 0;
        std::atomic<int> by_queue = 0;
        task_group([&](TaskGroup& tg) {
            for (int i = 0; i < 80; ++i)
                tg.create_task([&] {
                    select(on_get(queue, [&](int) { ++by_queue; }), on(event, [&] { ++by_event; }));
                });
            tg.create_task([&] { event.wait(); });
            settle();
            tg.create_task([&] {
                for (int i = 0; i < 40; ++i) queue.put(i);
            });
            event.set();
        });
        EXPECT_EQ(by_event + by_queue, 80);
        EXPECT_EQ(queue.qsize(), static_cast<std::size_t>(40 - by_queue));
    });
}

// --- time ---------------------------------------------------------------------------------------

TEST_P(SelectTimeTest, ATimeoutWinsWhenNothingComes) {
    run([] {
        Queue<int> queue;
        TimePoint begin = now();
        EXPECT_EQ(select(on_get(queue, [](int) {}), on_timeout(3s), on_timeout(2s)), 2U);
        EXPECT_EQ(now() - begin, 2s);
        queue.put(1);
        EXPECT_EQ(queue.qsize(), 1U) << "somebody is in line";
        EXPECT_EQ(select(on_timeout(1s), on_get(queue, [](int) {})), 1U);
        EXPECT_EQ(now() - begin, 2s);
    });
}

TEST_P(SelectTimeTest, WhatComesAtTheSameTimeAsTheTimeoutIsTakenOrLeft) {
    run([] {
        for (int round = 0; round < 20; ++round) {
            Queue<int> queue;
            auto putter = create_task([&] {
                sleep(1s);
                queue.put(1);
            });
            std::size_t winner = select(on_get(queue, [](int) {}), on_timeout(1s));
            await(putter);
            EXPECT_EQ(queue.qsize(), winner == 0 ? 0U : 1U);
        }
    });
}

TEST_P(SelectTimeTest, AClockTicksWhileItemsCome) {
    run([] {
        Queue<int> queue;
        auto putter = create_task([&] {
            for (int i = 0; i < 10; ++i) {
                sleep(300ms);
                queue.put(i);
            }
            sleep(2s);
            queue.shutdown();
        });
        int items = 0;
        int ticks = 0;
        EXPECT_THROW(for (;;) select(on_get(queue, [&](int) { ++items; }),
                                     on_timeout(700ms, [&] { ++ticks; })),
                     QueueShutDown);
        EXPECT_EQ(items, 10);
        EXPECT_EQ(ticks, 2);
        await(putter);
    });
}

// --- cancels ------------------------------------------------------------------------------------

TEST_P(SelectTest, CancelledWhileItWaitsItHasTakenNothing) {
    run([] {
        Queue<int> in;
        Queue<int> out(1);
        out.put(0);
        Event event;
        auto task = create_task([] {
            Event here;
            here.wait();
        });
        auto selecting = start(
            [&] { select(on_get(in, [](int) { FAIL(); }), on_put(out, 1), on(event), on(task)); });
        settle();
        selecting.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(selecting); }), "enough");
        EXPECT_FALSE(task.done());
        in.put(1);
        EXPECT_EQ(in.qsize(), 1U);
        EXPECT_EQ(out.get(), 0);
        EXPECT_TRUE(out.empty());
        task.cancel();
        await_end(task);
    });
}

TEST_P(SelectTest, CancelledBeforeItWaitsItEntersNoLine) {
    run([] {
        Queue<int> queue;
        auto selecting = create_task([&] {
            current_task().cancel("now");
            select(on_get(queue, [](int) {}));
        });
        EXPECT_EQ(cancel_message_of([&] { await(selecting); }), "now");
        queue.put(1);
        EXPECT_EQ(queue.qsize(), 1U);
    });
}

TEST(Select, CancelledAfterItHasWonTheItemGoesToTheNext) {
    weft::run(
        [] {
            Queue<int> queue;
            Event event;
            auto first =
                start([&] { select(on(event), on_get(queue, [](int) { ADD_FAILURE(); })); });
            auto second = start([&] {
                int got = 0;
                select(on(event), on_get(queue, [&](int item) { got = item; }));
                return got;
            });
            queue.put(5);
            first.cancel();
            EXPECT_THROW(await(first), CancelledError);
            EXPECT_EQ(await(second), 5);
        },
        {.workers = 1, .strict = true});
}

TEST(Select, CancelledAfterItHasWonARoomNothingIsPut) {
    weft::run(
        [] {
            Queue<std::string> queue(1);
            queue.put("old");
            std::string mine = "mine";
            auto selecting = start([&] { select(on_put(queue, std::move(mine))); });
            EXPECT_EQ(queue.get(), "old");
            selecting.cancel();
            EXPECT_THROW(await(selecting), CancelledError);
            EXPECT_TRUE(queue.empty());
            EXPECT_FALSE(queue.full());
            EXPECT_EQ(mine, "mine");
        },
        {.workers = 1, .strict = true});
}

TEST_P(SelectTest, InAShieldScopeACancelWaits) {
    run([] {
        Queue<int> queue;
        int got = 0;
        auto selecting = start([&] {
            ShieldScope shield;
            select(on_get(queue, [&](int item) { got = item; }));
        });
        settle();
        selecting.cancel();
        settle();
        queue.put(8);
        await_end(selecting);
        EXPECT_EQ(got, 8);
    });
}

// --- threads ------------------------------------------------------------------------------------

TEST_P(SelectThreadTest, PlainThreadsSelectToo) {
    Queue<int> to_thread;
    Queue<int> from_thread(1);
    Event stop;
    std::thread thread([&] {
        for (bool open = true; open;)
            select(on_get(to_thread, [&](int item) { from_thread.put(2 * item); }),
                   on(stop, [&] { open = false; }));
    });
    run([&] {
        for (int i = 0; i < 50; ++i) {
            to_thread.put(i);
            EXPECT_EQ(from_thread.get(), 2 * i);
        }
        stop.set();
    });
    thread.join();
    EXPECT_THROW(select(on_get(to_thread, [](int) {}), on_timeout(1s)), UsageError);
    EXPECT_EQ(select(on_get(to_thread, [](int) {}), on_default()), 1U);
}

}  // namespace

}  // namespace weft::test
