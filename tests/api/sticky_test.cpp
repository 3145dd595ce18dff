// Sticky cancels, as Trio's, beside asyncio's edge-triggered ones; and current_deadline.
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class StickyTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(StickyTest);

bool is_cancelled_at(auto&& wait) {
    try {
        wait();
        return false;
    } catch (const CancelledError&) {
        return true;
    }
}
bool sleep_is_cancelled() {
    return is_cancelled_at([] { weft::sleep(1s); });
}

TEST_P(StickyTest, ACancelIsMetAtEachWaitUntilTheScopeEnds) {
    run([] {
        auto task = create_task([] {
            {
                StickyScope sticky;
                EXPECT_EQ(cancel_message_of(wait_for_ever), "stop");
                EXPECT_EQ(cancel_message_of(wait_for_ever), "stop");
                EXPECT_EQ(cancel_message_of([] { weft::yield(); }), "stop");
                EXPECT_TRUE(is_cancelled_at([] { Queue<int>().get(); }));
                EXPECT_TRUE(is_cancelled_at([] { to_thread([] {}); }));
            }
            EXPECT_FALSE(sleep_is_cancelled());
            EXPECT_EQ(current_task().cancelling(), 1);
        });
        weft::sleep(1s);
        task.cancel("stop");
        await(task);
    });
}

TEST_P(StickyTest, WithoutAScopeACancelIsMetOnce) {
    run([] {
        auto task = create_task([] {
            EXPECT_TRUE(is_cancelled_at(wait_for_ever));
            StickyScope sticky;  // too late: it was met outside
            EXPECT_FALSE(sleep_is_cancelled());
        });
        weft::sleep(1s);
        task.cancel();
        await(task);
    });
}

TEST_P(StickyTest, ACancelThatCameBeforeTheScopeIsStickyInIt) {
    run([] {
        auto task = create_task([] {
            current_task().cancel();
            {
                StickyScope sticky;
                EXPECT_TRUE(sleep_is_cancelled());
                EXPECT_TRUE(sleep_is_cancelled());
            }
            EXPECT_FALSE(sleep_is_cancelled());
        });
        await(task);
    });
}

TEST_P(StickyTest, OneThatWasNotMetInTheScopeIsMetAfterIt) {
    run([] {
        auto task = create_task([] {
            {
                StickyScope sticky;
                EXPECT_TRUE(is_cancelled_at(wait_for_ever));
                current_task().cancel();
            }
            EXPECT_TRUE(sleep_is_cancelled());
            EXPECT_FALSE(sleep_is_cancelled());
        });
        weft::sleep(1s);
        task.cancel();
        await(task);
    });
}

TEST_P(StickyTest, AShieldedWaitIsLeftAlone) {
    run([] {
        auto task = create_task([] {
            StickyScope sticky;
            EXPECT_TRUE(is_cancelled_at(wait_for_ever));
            {
                ShieldScope shield;
                EXPECT_FALSE(sleep_is_cancelled());
            }
            EXPECT_TRUE(sleep_is_cancelled());
        });
        weft::sleep(1s);
        task.cancel();
        await(task);
    });
}

TEST_P(StickyTest, ScopesNest) {
    run([] {
        auto task = create_task([] {
            StickyScope outer;
            {
                StickyScope inner;
                EXPECT_TRUE(is_cancelled_at(wait_for_ever));
            }
            EXPECT_TRUE(sleep_is_cancelled());
        });
        weft::sleep(1s);
        task.cancel();
        await(task);
    });
}

TEST_P(StickyTest, TheEndOfWhatIsAwaitedIsWaitedForAllTheSame) {
    run([] {
        std::atomic<int> cleaned_up = 0;
        auto slow_to_end = [&] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                weft::sleep(5s);
                ++cleaned_up;
                throw;
            }
        };
        auto task = create_task([&] {
            StickyScope sticky;
            EXPECT_TRUE(is_cancelled_at([&] { await(create_task(slow_to_end)); }));
            EXPECT_EQ(cleaned_up, 1);
            // From here on each is cancelled as it begins, perhaps after its first step.
            EXPECT_TRUE(is_cancelled_at([&] { gather(slow_to_end, slow_to_end); }));
            EXPECT_TRUE(is_cancelled_at(
                [&] { task_group([&](TaskGroup& tg) { tg.create_task(slow_to_end); }); }));
            EXPECT_TRUE(sleep_is_cancelled());
        });
        weft::sleep(1s);
        TimePoint begin = now();
        task.cancel();
        await(task);
        EXPECT_LT(now() - begin, 16s);
    });
}

TEST_P(StickyTest, AGroupIsWaitedForWithoutSpinning) {
    run([] {
        std::atomic<bool> ended = false;
        auto task = create_task([&] {
            StickyScope sticky;
            EXPECT_TRUE(is_cancelled_at([&] {
                task_group([&](TaskGroup& tg) {
                    tg.create_task([&] {
                        ShieldScope shield;
                        weft::sleep(10s);
                        ended = true;
                    });
                    weft::sleep(1h);
                });
            }));
            EXPECT_TRUE(ended);
            EXPECT_TRUE(sleep_is_cancelled());
        });
        weft::sleep(1s);
        task.cancel();
        await(task);
    });
}

TEST_P(StickyTest, AStartIsWaitedForWithoutSpinning) {
    run([] {
        auto task = create_task([&] {
            task_group([&](TaskGroup& tg) {
                StickyScope sticky;
                std::atomic<bool> ended = false;
                EXPECT_TRUE(is_cancelled_at([&] {
                    tg.start([&](TaskStatus<>&) {
                        try {
                            weft::sleep(1h);
                        } catch (const CancelledError&) {
                            weft::sleep(5s);
                            ended = true;
                            throw;
                        }
                    });
                }));
                EXPECT_TRUE(ended);
            });
        });
        weft::sleep(1s);
        TimePoint begin = now();
        task.cancel();
        await(task);
        EXPECT_GE(now() - begin, 5s);
        EXPECT_EQ(current_runtime().swallowed_cancels(),
                  1U);  // the task's own, and not the child's
    });
}

TEST_P(StickyTest, WhatIsAwaitedIsCancelledOnce) {
    run([] {
        auto inner = create_task([] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                weft::sleep(1s);  // not interrupted
                throw;
            }
        });
        settle();
        auto task = create_task([&] {
            StickyScope sticky;
            current_task().cancel();
            EXPECT_TRUE(is_cancelled_at([&] { await(inner); }));
            EXPECT_EQ(inner.cancelling(), 1);
        });
        await(task);
    });
}

TEST_P(StickyTest, ATimeoutInsideTakesItsOwnBack) {
    run([] {
        StickyScope sticky;
        EXPECT_THROW(timeout(1s,
                             [] {
                                 EXPECT_TRUE(is_cancelled_at(wait_for_ever));
                                 EXPECT_TRUE(sleep_is_cancelled());
                                 wait_for_ever();
                             }),
                     TimeoutError);
        EXPECT_FALSE(sleep_is_cancelled());
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

TEST_P(StickyTest, ATimeoutAroundItIsSticky) {
    run([] {
        EXPECT_THROW(timeout(1s,
                             [] {
                                 StickyScope sticky;
                                 for (int i = 0; i < 3; ++i)
                                     EXPECT_TRUE(is_cancelled_at(wait_for_ever));
                                 wait_for_ever();
                             }),
                     TimeoutError);
        EXPECT_FALSE(sleep_is_cancelled());
    });
}

TEST_P(StickyTest, UncancelTakesItBack) {
    run([] {
        auto task = create_task([] {
            StickyScope sticky;
            EXPECT_TRUE(is_cancelled_at(wait_for_ever));
            EXPECT_EQ(current_task().uncancel(), 0);
            EXPECT_FALSE(sleep_is_cancelled());
        });
        weft::sleep(1s);
        task.cancel();
        await(task);
    });
    EXPECT_THROW(StickyScope(), UsageError);
}

// --- deadlines ----------------------------------------------------------------------------------------------------

TEST_P(StickyTest, TheCurrentDeadlineIsTheEarliestAround) {
    EXPECT_EQ(current_deadline(), std::nullopt);
    run([] {
        EXPECT_EQ(current_deadline(), std::nullopt);
        TimePoint begin = now();
        timeout_at(begin + 5s, [&] {
            EXPECT_EQ(current_deadline(), begin + 5s);
            timeout_at(begin + 9s, [&](Timeout& limit) {
                EXPECT_EQ(current_deadline(), begin + 5s);
                limit.reschedule(begin + 3s);
                EXPECT_EQ(current_deadline(), begin + 3s);
                limit.reschedule(no_timeout);
                EXPECT_EQ(current_deadline(), begin + 5s);
                StickyScope sticky;
                timeout(no_timeout, [&] { EXPECT_EQ(current_deadline(), begin + 5s); });
            });
            auto job = weft::async([] { return current_deadline(); });
            EXPECT_EQ(await(job()), begin + 5s);
            EXPECT_EQ(wait_for(job(), 1h), begin + 5s);
            EXPECT_EQ(await(create_task([] { return current_deadline(); })), std::nullopt);
        });
        EXPECT_EQ(current_deadline(), std::nullopt);
    });
}

}  // namespace

}  // namespace weft::test
