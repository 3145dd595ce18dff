// timeout and timeout_at, in virtual time. The ids are those of asyncio's semantics.
#include <limits>
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class TimeoutTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(TimeoutTest);

class TimeoutOnThreadsTest : public Everywhere {};
WEFT_TEST_ON_THREADS(TimeoutOnThreadsTest);

/// What an assertion on time allows for: settle() takes a nanosecond.
constexpr Duration kSlack = 1us;

template <class F>
Duration duration_of(F&& f) {
    TimePoint begin = now();
    std::forward<F>(f)();
    return now() - begin;
}

// --- sleeping -----------------------------------------------------------------------------------------------------

TEST_P(TimeoutTest, SleepTakesAsLongAsItSays) {
    run([] {
        for (Duration duration : {Duration(1ns), Duration(1ms), Duration(1s), Duration(24h)}) {
            Duration slept = duration_of([&] { weft::sleep(duration); });
            EXPECT_GE(slept, duration);
            EXPECT_LT(slept, duration + kSlack);
        }
        EXPECT_EQ(duration_of([] { weft::sleep(0s); }), 0s);
        EXPECT_EQ(duration_of([] { weft::sleep(-5s); }), 0s);
        EXPECT_GE(duration_of([] { weft::sleep(std::chrono::duration<double>(0.25)); }), 250ms);
    });
}

TEST_P(TimeoutTest, SleepersWakeInTheOrderOfTheirDeadlines) {
    run([] {
        std::vector<int> order;
        std::vector<Task<void>> tasks;
        for (int i : {5, 3, 9, 1, 7})
            tasks.push_back(create_task([&, i] {
                weft::sleep(i * 1s);
                order.push_back(i);
            }));
        for (auto& task : tasks) await(task);
        EXPECT_EQ(order, (std::vector{1, 3, 5, 7, 9}));
    });
}

TEST_P(TimeoutTest, ASleepForEverIsEndedByACancel) {
    run([] {
        auto task = create_task([] { weft::sleep(Duration::max()); });
        auto until = create_task([] { weft::sleep_until(TimePoint::max()); });
        weft::sleep(1h);
        task.cancel();
        until.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_THROW(await(until), CancelledError);
    });
}

TEST_P(TimeoutTest, SleepUntilATimeGoneByIsAYield) {
    run([] { EXPECT_EQ(duration_of([] { weft::sleep_until(now() - 1h); }), 0s); });
}

// --- expiry -------------------------------------------------------------------------------------------------------

// to-1
TEST_P(TimeoutTest, ItsOwnExpiryIsATimeoutErrorOutsideAndTheCountGoesBack) {
    run([] {
        Duration waited =
            duration_of([] { EXPECT_THROW(timeout(2s, wait_for_ever), TimeoutError); });
        EXPECT_GE(waited, 2s);
        EXPECT_LT(waited, 2s + kSlack);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
    });
}

// to-2
TEST_P(TimeoutTest, InsideItsBlockTheExpiryIsACancelledError) {
    run([] {
        bool seen = false;
        auto block = [&](Timeout& limit) {
            EXPECT_FALSE(limit.expired());
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                seen = true;
                EXPECT_TRUE(limit.expired());
                EXPECT_EQ(current_task().cancelling(), 1);
                throw;
            }
        };
        EXPECT_THROW(timeout(1s, block), TimeoutError);
        EXPECT_TRUE(seen);
    });
}

// to-1
TEST_P(TimeoutTest, ABlockThatSwallowsTheExpiryGivesItsValue) {
    run([] {
        int value = timeout(1s, [] {
            cancel_message_of([] { wait_for_ever(); });
            yield();
            return 5;
        });
        EXPECT_EQ(value, 5);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
    });
}

TEST_P(TimeoutTest, ABlockThatEndsInTimeGivesWhatItGives) {
    run([] {
        int here = 0;
        EXPECT_EQ(timeout(1h,
                          [] {
                              weft::sleep(1s);
                              return 3;
                          }),
                  3);
        EXPECT_EQ(&timeout(1s, [&]() -> int& { return here; }), &here);
        EXPECT_EQ(*timeout(1s, [] { return std::make_unique<int>(4); }), 4);
        static_assert(std::is_void_v<decltype(timeout(1s, [] {}))>);
        EXPECT_EQ(what_of<std::runtime_error>(
                      [] { timeout(1s, [] { throw std::runtime_error("its own"); }); }),
                  "its own");
        weft::sleep(2h);  // no timer is left
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

TEST_P(TimeoutTest, CleanupInItsBlockMayTakeTime) {
    run([] {
        bool cleaned = false;
        Duration waited = duration_of([&] {
            EXPECT_THROW(timeout(1s,
                                 [&] {
                                     try {
                                         wait_for_ever();
                                     } catch (const CancelledError&) {
                                         weft::sleep(5s);
                                         cleaned = true;
                                         throw;
                                     }
                                 }),
                         TimeoutError);
        });
        EXPECT_TRUE(cleaned);
        EXPECT_GE(waited, 6s);
    });
}

TEST_P(TimeoutTest, AnotherErrorInAnswerToTheExpiryPassesThrough) {
    run([] {
        auto block = [] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                throw std::runtime_error("in answer");
            }
        };
        EXPECT_EQ(what_of<std::runtime_error>([&] { timeout(1s, block); }), "in answer");
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
    });
}

TEST_P(TimeoutTest, ItsExpiryCancelsWhatItsBlockAwaits) {
    run([] {
        auto task = create_task([] { wait_for_ever(); });
        Future<int> future;
        EXPECT_THROW(timeout(1s, [&] { await(task); }), TimeoutError);
        EXPECT_TRUE(task.cancelled());
        EXPECT_THROW(timeout(1s, [&] { await(future); }), TimeoutError);
        EXPECT_TRUE(future.cancelled());
        Task<void> child;
        EXPECT_THROW(timeout(1s,
                             [&] {
                                 task_group([&](TaskGroup& group) {
                                     child = group.create_task([] { wait_for_ever(); });
                                 });
                             }),
                     TimeoutError);
        EXPECT_TRUE(child.cancelled());
    });
}

// to-7
TEST_P(TimeoutTest, ATimeoutOfZeroAroundWhatDoesNotWaitIsNoError) {
    run([] {
        EXPECT_EQ(timeout(0s, [] { return 1; }), 1);
        EXPECT_EQ(timeout(-1s, [] { return 2; }), 2);
        EXPECT_EQ(timeout_at(now() - 1h, [] { return 3; }), 3);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
    });
}

// to-7
TEST_P(TimeoutTest, ATimeoutOfZeroAroundWhatDoesNotWaitLeavesNothingDueAfterASwallowedCancel) {
    run([] {
        auto task = create_task([] {
            current_task().cancel();
            EXPECT_THROW(yield(), CancelledError);
            EXPECT_EQ(timeout(0s, [] { return 1; }), 1);
            yield();
            return current_task().cancelling();
        });
        EXPECT_EQ(await(task), 1);
    });
}

// to-8
TEST_P(TimeoutTest, ATimeoutOfZeroAroundAYieldIsATimeoutError) {
    run([] {
        EXPECT_THROW(timeout(0s, [] { yield(); }), TimeoutError);
        EXPECT_THROW(timeout(0s, [] { weft::sleep(0s); }), TimeoutError);
        EXPECT_THROW(timeout(-1s, [] { weft::sleep(1h); }), TimeoutError);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// to-10
TEST_P(TimeoutOnThreadsTest, ABusyBlockThatNeverWaitsIsNotInterruptedAndLeavesNothingDue) {
    run([] {
        for (int i = 0; i < 5; ++i) {
            int value = timeout(1ms, [] {
                TimePoint end = now() + 3ms;
                while (now() < end) std::this_thread::yield();
                return 4;
            });
            EXPECT_EQ(value, 4);
            EXPECT_EQ(current_task().cancelling(), 0);
            yield();
        }
    });
}

// --- the deadline -------------------------------------------------------------------------------------------------

// to-3
TEST_P(TimeoutTest, NoTimeoutNeverExpires) {
    run([] {
        auto block = [](Timeout& limit) {
            EXPECT_FALSE(limit.when());
            weft::sleep(1000h);
            return limit.expired();
        };
        EXPECT_FALSE(timeout(no_timeout, block));
        EXPECT_FALSE(timeout_at(no_timeout, block));
        EXPECT_FALSE(timeout(Duration::max(), [](Timeout& limit) {
            weft::sleep(1000h);
            return limit.expired();
        }));
    });
}

// to-3
TEST_P(TimeoutTest, RescheduleToNoTimeoutDisablesIt) {
    run([] {
        bool expired = timeout(1s, [](Timeout& limit) {
            limit.reschedule(no_timeout);
            EXPECT_FALSE(limit.when());
            weft::sleep(1h);
            return limit.expired();
        });
        EXPECT_FALSE(expired);
    });
}

// to-4
TEST_P(TimeoutTest, RescheduleMovesTheDeadlineEarlierAndLater) {
    run([] {
        auto earlier = [](Timeout& limit) {
            limit.reschedule(now() + 1s);
            EXPECT_EQ(limit.when(), now() + 1s);
            wait_for_ever();
        };
        Duration waited = duration_of([&] { EXPECT_THROW(timeout(1h, earlier), TimeoutError); });
        EXPECT_LT(waited, 1s + kSlack);
        auto later = [](Timeout& limit) {
            weft::sleep(500ms);
            limit.reschedule(now() + 10s);
            wait_for_ever();
        };
        waited = duration_of([&] { EXPECT_THROW(timeout(1s, later), TimeoutError); });
        EXPECT_GE(waited, 10500ms);
        auto at_once = [](Timeout& limit) {
            limit.reschedule(now());
            yield();
        };
        EXPECT_THROW(timeout(no_timeout, at_once), TimeoutError);
    });
}

// to-5
TEST_P(TimeoutTest, RescheduleOfAnExpiringOneIsAUsageError) {
    run([] {
        auto block = [](Timeout& limit) {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                std::string what = what_of<UsageError>([&] { limit.reschedule(now() + 1h); });
                EXPECT_NE(what.find("expiring"), std::string::npos) << what;
                throw;
            }
        };
        EXPECT_THROW(timeout(1s, block), TimeoutError);
    });
}

TEST_P(TimeoutTest, WhenIsTheDeadline) {
    run([] {
        TimePoint deadline = now() + 90s;
        timeout_at(deadline, [&](Timeout& limit) { EXPECT_EQ(limit.when(), deadline); });
        timeout(90s, [&](Timeout& limit) { EXPECT_EQ(limit.when(), now() + 90s); });
    });
}

// --- nested -------------------------------------------------------------------------------------------------------

// to-6
TEST_P(TimeoutTest, OfNestedOnesTheOuterDeadlineRaisesAtTheOuterBlockOnly) {
    run([] {
        bool inner_timed_out = false;
        auto outer = [&] {
            try {
                timeout(1h, wait_for_ever);
            } catch (const TimeoutError&) {
                inner_timed_out = true;
                throw;
            }
        };
        EXPECT_THROW(timeout(1s, outer), TimeoutError);
        EXPECT_FALSE(inner_timed_out);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// to-6
TEST_P(TimeoutTest, OfNestedOnesTheInnerDeadlineRaisesAtTheInnerBlockAndTheOuterGoesOn) {
    run([] {
        int value = timeout(1h, [] {
            EXPECT_THROW(timeout(1s, wait_for_ever), TimeoutError);
            EXPECT_EQ(current_task().cancelling(), 0);
            weft::sleep(1min);
            return 1;
        });
        EXPECT_EQ(value, 1);
    });
}

// to-6
TEST_P(TimeoutTest, AfterTheInnerDeadlineTheOuterOneStillComes) {
    run([] {
        Duration waited = duration_of([] {
            EXPECT_THROW(timeout(10s,
                                 [] {
                                     EXPECT_THROW(timeout(1s, wait_for_ever), TimeoutError);
                                     wait_for_ever();
                                 }),
                         TimeoutError);
        });
        EXPECT_GE(waited, 10s);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// to-6
TEST_P(TimeoutTest, OfNestedOnesThatExpireTogetherTheOuterRaisesInTheEnd) {
    run([] {
        EXPECT_THROW(timeout_at(now() + 1s,
                                [] {
                                    auto inner = [] { timeout_at(now() + 1s, wait_for_ever); };
                                    try {
                                        inner();
                                    } catch (const TimeoutError&) {
                                        wait_for_ever();
                                    }
                                }),
                     TimeoutError);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
    });
}

// --- cancels from outside -----------------------------------------------------------------------------------------

// to-9
TEST_P(TimeoutTest, ACancelFromOutsideStaysACancelledError) {
    run([] {
        auto task = create_task([] { timeout(1h, wait_for_ever); });
        weft::sleep(1s);
        task.cancel("outside");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "outside");
        EXPECT_EQ(task.cancelling(), 1);
    });
}

// to-9
TEST_P(TimeoutTest, OfACancelFromOutsideAndAnExpiryTheCancelWins) {
    run([] {
        auto task = create_task([] {
            EXPECT_THROW(timeout(1s,
                                 [] {
                                     try {
                                         wait_for_ever();
                                     } catch (const CancelledError&) {
                                         current_task().cancel();
                                         throw;
                                     }
                                 }),
                         CancelledError);
            return current_task().cancelling();
        });
        // asyncio: the second request has not been delivered.
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_EQ(task.cancelling(), 1);
    });
}

TEST_P(TimeoutTest, ADurationThatIsNoNumberIsAnInvalidArgument) {
    run([] {
        std::chrono::duration<double> nan(std::numeric_limits<double>::quiet_NaN());
        EXPECT_THROW(weft::sleep(nan), std::invalid_argument);
        EXPECT_THROW(timeout(nan, [] { ADD_FAILURE() << "begun"; }), std::invalid_argument);
        EXPECT_THROW(wait_for([] { ADD_FAILURE() << "begun"; }, nan), std::invalid_argument);
        EXPECT_THROW(weft::wait(std::vector<Future<int>>(1), {.timeout = nan}),
                     std::invalid_argument);
        EXPECT_THROW(weft::sleep(std::chrono::duration<long double, std::milli>(nan)),
                     std::invalid_argument);
    });
}

// to-9
TEST_P(TimeoutTest, ACancelFromOutsideBeforeTheExpiryOfASlowCleanupStaysACancelledError) {
    run([] {
        auto task = create_task([] {
            timeout(10s, [] {
                try {
                    wait_for_ever();
                } catch (const CancelledError&) {
                    cancel_message_of([] { weft::sleep(1h); });  // the expiry comes here
                    throw;
                }
            });
        });
        weft::sleep(1s);
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(task.cancelled());
    });
}

}  // namespace

}  // namespace weft::test
