// wait_for, in virtual time. The ids are those of asyncio's semantics.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class WaitForTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(WaitForTest);

TEST_P(WaitForTest, ItGivesTheValueOfWhateverItIsGiven) {
    run([] {
        auto slowly = [] {
            weft::sleep(1s);
            return 5;
        };
        EXPECT_EQ(wait_for(slowly, 2s), 5);
        EXPECT_EQ(wait_for(weft::coroutine(slowly), 2s), 5);
        auto named = weft::coroutine(slowly);
        EXPECT_EQ(wait_for(named, 2s), 5);
        EXPECT_EQ(wait_for(create_task(slowly), 2s), 5);
        auto task = create_task(slowly);
        EXPECT_EQ(wait_for(task, 2s), 5);
        EXPECT_EQ(task.result(), 5);
        Future<int> future;
        auto setter = create_task([&] {
            weft::sleep(1s);
            future.set_result(6);
        });
        EXPECT_EQ(wait_for(future, 2s), 6);
        EXPECT_EQ(*wait_for([] { return std::make_unique<int>(7); }, 1s), 7);
        wait_for([] {}, 1s);
        await(setter);
    });
}

TEST_P(WaitForTest, ItThrowsTheErrorOfWhatItIsGiven) {
    run([] {
        auto fail = [] {
            weft::sleep(1s);
            throw std::runtime_error("inner");
        };
        EXPECT_EQ(what_of<std::runtime_error>([&] { wait_for(fail, 2s); }), "inner");
        EXPECT_EQ(what_of<std::runtime_error>([&] { wait_for(create_task(fail), 2s); }), "inner");
    });
}

// wf-1
TEST_P(WaitForTest, WithALimitOfZeroOrLessNothingIsStarted) {
    run([] {
        bool ran = false;
        auto body = [&] { ran = true; };
        EXPECT_THROW(wait_for(body, 0s), TimeoutError);
        EXPECT_THROW(wait_for(weft::coroutine(body), 0s), TimeoutError);
        EXPECT_THROW(wait_for(weft::coroutine(body), -1h), TimeoutError);
        auto named = weft::coroutine(body);
        EXPECT_THROW(wait_for(named, 0s), TimeoutError);
        settle();
        EXPECT_FALSE(ran);
    });
}

// wf-1
TEST_P(WaitForTest, WithALimitOfZeroATaskIsCancelledAndItsEndWaitedFor) {
    run([] {
        bool cleaned = false;
        auto task = start([&] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                weft::sleep(1s);
                cleaned = true;
                throw;
            }
        });
        EXPECT_THROW(wait_for(task, 0s), TimeoutError);
        EXPECT_TRUE(cleaned);
        EXPECT_TRUE(task.cancelled());
        Future<int> future;
        EXPECT_THROW(wait_for(future, 0s), TimeoutError);
        EXPECT_TRUE(future.cancelled());
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// wf-2
TEST_P(WaitForTest, OnADoneOneItIsItsResultWhateverTheLimit) {
    run([] {
        Future<int> done;
        done.set_result(3);
        EXPECT_EQ(wait_for(done, 0s), 3);
        EXPECT_EQ(wait_for(done, -1s), 3);
        EXPECT_EQ(wait_for(done, 1s), 3);
        auto failed = create_task([]() -> int { throw std::runtime_error("failed"); });
        EXPECT_THROW(await(failed), std::runtime_error);
        EXPECT_THROW(wait_for(failed, 0s), std::runtime_error);
        Future<int> cancelled;
        cancelled.cancel();
        EXPECT_THROW(wait_for(cancelled, 0s), CancelledError);
        EXPECT_THROW(wait_for(cancelled, 1s), CancelledError);
    });
}

// wf-3
TEST_P(WaitForTest, WhenTimeRunsOutTheInnerIsCancelledAndItsCleanupAwaited) {
    run([] {
        bool cleaned = false;
        auto body = [&] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                weft::sleep(3s);
                cleaned = true;
                throw;
            }
        };
        auto task = create_task(body);
        TimePoint begin = now();
        EXPECT_THROW(wait_for(task, 1s), TimeoutError);
        EXPECT_GE(now() - begin, 4s);
        EXPECT_TRUE(cleaned);
        EXPECT_TRUE(task.cancelled());
        cleaned = false;
        EXPECT_THROW(wait_for(weft::coroutine(body), 1s), TimeoutError);
        EXPECT_TRUE(cleaned);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
    });
}

// wf-4
TEST_P(WaitForTest, AnInnerThatSwallowsTheExpiryGivesItsValue) {
    run([] {
        auto body = [] {
            cancel_message_of([] { wait_for_ever(); });
            return 8;
        };
        EXPECT_EQ(wait_for(create_task(body), 1s), 8);
        EXPECT_EQ(wait_for(body, 1s), 8);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
        auto task = start(body);
        EXPECT_EQ(wait_for(task, 0s), 8);
    });
}

// wf-5
TEST_P(WaitForTest, AnInnerThatRaisesSomethingElseInAnswerRaisesThat) {
    run([] {
        auto body = [] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                throw std::runtime_error("in answer");
            }
        };
        EXPECT_EQ(what_of<std::runtime_error>([&] { wait_for(create_task(body), 1s); }),
                  "in answer");
        EXPECT_EQ(what_of<std::runtime_error>([&] { wait_for(body, 1s); }), "in answer");
        auto task = start(body);
        EXPECT_EQ(what_of<std::runtime_error>([&] { wait_for(task, 0s); }), "in answer");
    });
}

// wf-6
TEST_P(WaitForTest, WithoutALimitItIsAPlainAwait) {
    run([] {
        auto slowly = [] {
            weft::sleep(1000h);
            return 1;
        };
        EXPECT_EQ(wait_for(slowly, no_timeout), 1);
        EXPECT_EQ(wait_for(weft::coroutine(slowly), no_timeout), 1);
        auto task = create_task(slowly);
        EXPECT_EQ(wait_for(task, no_timeout), 1);
        EXPECT_EQ(wait_for(task, Duration::max()), 1);
    });
}

TEST_P(WaitForTest, ACancelFromOutsideCancelsTheInnerAndIsACancelledError) {
    run([] {
        auto inner = create_task([] { wait_for_ever(); });
        auto outer = create_task([&] { wait_for(inner, 1h); });
        weft::sleep(1s);
        outer.cancel("outside");
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "outside");
        EXPECT_TRUE(inner.cancelled());
    });
}

// asyncio gh-86296: also when the inner one finishes in the same turn.
TEST_P(WaitForTest, ACancelFromOutsideTogetherWithTheInnersEndIsNotLost) {
    run([] {
        Future<int> inner;
        auto outer = create_task([&] { return wait_for(inner, 1h); });
        weft::sleep(1s);
        inner.set_result(1);
        if (!outer.cancel("outside")) return;  // it has ended already
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "outside");
    });
}

TEST_P(WaitForTest, ACancelFromOutsideTogetherWithTheExpiryIsACancelledError) {
    run([] {
        auto outer = create_task([] {
            wait_for(
                [] {
                    try {
                        wait_for_ever();
                    } catch (const CancelledError&) {
                        weft::sleep(2s);  // cleaning up when the cancel comes
                        throw;
                    }
                },
                1s);
        });
        weft::sleep(2s);
        outer.cancel("outside");
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "outside");
    });
}

// Since Python 3.12 a coroutine runs in the caller's task.
TEST_P(WaitForTest, ACoroutineOrCallableRunsInTheCallersTaskAndContext) {
    static ContextVar<int> number{"number", 0};
    run([] {
        AnyTask me = current_task();
        auto body = [&] {
            EXPECT_EQ(current_task(), me);
            number.set(number.get() + 1);
        };
        wait_for(body, 1s);
        wait_for(weft::coroutine(body), 1s);
        EXPECT_EQ(number.get(), 2);
    });
}

TEST_P(WaitForTest, AShieldedInnerSurvivesTheExpiry) {
    run([] {
        auto inner = create_task([] {
            weft::sleep(10s);
            return 4;
        });
        EXPECT_THROW(wait_for([&] { return shield(inner); }, 1s), TimeoutError);
        EXPECT_FALSE(inner.done());
        EXPECT_EQ(inner.cancelling(), 0);
        EXPECT_EQ(await(inner), 4);
    });
}

TEST_P(WaitForTest, AnInnerThatTimesOutByItselfIsItsOwnTimeoutError) {
    run([] {
        TimePoint begin = now();
        EXPECT_EQ(what_of<TimeoutError>([] { wait_for([] { throw TimeoutError("own"); }, 1h); }),
                  "own");
        EXPECT_THROW(wait_for([] { timeout(1s, wait_for_ever); }, 1h), TimeoutError);
        EXPECT_LT(now() - begin, 2s);
    });
}

TEST_P(WaitForTest, ManyAtOnceEndEachInItsTime) {
    run([] {
        std::vector<Task<bool>> tasks;
        for (int i = 0; i < 50; ++i)
            tasks.push_back(create_task([i] {
                try {
                    wait_for([i] { weft::sleep((i % 10) * 1s + 500ms); }, 5s);
                    return true;
                } catch (const TimeoutError&) {
                    return false;
                }
            }));
        for (int i = 0; i < 50; ++i)
            EXPECT_EQ(await(tasks[static_cast<std::size_t>(i)]), i % 10 < 5) << i;
    });
}

}  // namespace

}  // namespace weft::test
