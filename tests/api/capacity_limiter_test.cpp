// CapacityLimiter: who has a token, who is next, what changes when their number does.
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class CapacityLimiterTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(CapacityLimiterTest);
class CapacityLimiterThreadTest : public Everywhere {};
WEFT_TEST_ON_THREADS(CapacityLimiterThreadTest);

constinit CapacityLimiter static_limiter(2);

TEST_P(CapacityLimiterTest, LetsAsManyInAsItHasTokens) {
    run([] {
        CapacityLimiter limiter(3);
        std::atomic<int> inside = 0;
        std::atomic<int> most = 0;
        task_group([&](TaskGroup& tg) {
            for (int i = 0; i < 12; ++i)
                tg.create_task([&] {
                    for (int n = 0; n < 10; ++n) {
                        std::lock_guard guard(limiter);
                        int now = ++inside;
                        for (int seen = most;
                             seen < now && !most.compare_exchange_weak(seen, now););
                        yield();
                        --inside;
                    }
                });
        });
        EXPECT_LE(most, 3);
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
        EXPECT_EQ(limiter.available_tokens(), 3);
    });
}

TEST_P(CapacityLimiterTest, CountsWhatIsLent) {
    run([] {
        EXPECT_EQ(static_limiter.total_tokens(), 2);
        EXPECT_EQ(static_limiter.borrowed_tokens(), 0);
        EXPECT_TRUE(static_limiter.try_lock());
        EXPECT_EQ(static_limiter.borrowed_tokens(), 1);
        EXPECT_EQ(static_limiter.available_tokens(), 1);
        await(create_task([] { std::lock_guard guard(static_limiter); }));
        static_limiter.unlock();
        EXPECT_EQ(static_limiter.available_tokens(), 2);
    });
}

TEST(CapacityLimiter, RefusesFewerThanOne) {
    EXPECT_THROW(CapacityLimiter(0), std::invalid_argument);
    EXPECT_THROW(CapacityLimiter(-1), std::invalid_argument);
    CapacityLimiter limiter(1);
    EXPECT_THROW(limiter.set_total_tokens(0), std::invalid_argument);
    EXPECT_EQ(limiter.total_tokens(), 1);
}

// --- borrowers ----------------------------------------------------------------------------------

TEST_P(CapacityLimiterTest, ATaskHasOneTokenOrNone) {
    run([] {
        CapacityLimiter limiter(3);
        EXPECT_THROW(limiter.release(), UsageError);
        limiter.acquire();
        EXPECT_THROW(limiter.acquire(), UsageError);
        EXPECT_THROW(limiter.try_lock(), UsageError);
        EXPECT_EQ(limiter.borrowed_tokens(), 1);
        auto other = create_task([&] {
            EXPECT_THROW(limiter.release(), UsageError);
            std::lock_guard guard(limiter);
            EXPECT_EQ(limiter.borrowed_tokens(), 2);
        });
        await(other);
        limiter.release();
        EXPECT_THROW(limiter.release(), UsageError);
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
    });
}

TEST_P(CapacityLimiterTest, ABorrowerThatIsNamedBorrowsHereAndGivesBackThere) {
    run([] {
        CapacityLimiter limiter(2);
        int a = 0;
        int b = 0;
        EXPECT_THROW(limiter.acquire_on_behalf_of(nullptr), std::invalid_argument);
        limiter.acquire_on_behalf_of(&a);
        limiter.acquire_on_behalf_of(&b);
        EXPECT_THROW(limiter.acquire_on_behalf_of(&a), UsageError);
        EXPECT_THROW(limiter.release(), UsageError);
        await(create_task([&] { limiter.release_on_behalf_of(&a); }));
        EXPECT_THROW(limiter.release_on_behalf_of(&a), UsageError);
        EXPECT_THROW(limiter.release_on_behalf_of(nullptr), UsageError);
        limiter.acquire();
        EXPECT_EQ(limiter.available_tokens(), 0);
        limiter.release();
        limiter.release_on_behalf_of(&b);
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
    });
}

TEST_P(CapacityLimiterTest, WhoWaitsForABorrowerThatHasGotOneIsToldSoAndTheNextIsServed) {
    run([] {
        CapacityLimiter limiter(1);
        int named = 0;
        limiter.acquire();
        auto first = start([&] { limiter.acquire_on_behalf_of(&named); });
        auto second = start([&] { limiter.acquire_on_behalf_of(&named); });
        auto third = start([&] { std::lock_guard guard(limiter); });
        limiter.set_total_tokens(3);
        await(first);
        EXPECT_THROW(await(second), UsageError);
        await(third);
        limiter.release();
        limiter.release_on_behalf_of(&named);
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
    });
}

TEST_P(CapacityLimiterTest, KnowsThousandsOfBorrowersThatComeAndGo) {
    run([] {
        CapacityLimiter limiter(5000);
        std::vector<char> names(4000);
        std::set<const char*> lent;
        std::mt19937 random(7);
        for (int n = 0; n < 20000; ++n) {
            const char* name = &names[random() % names.size()];
            if (lent.insert(name).second) {
                limiter.acquire_on_behalf_of(name);
            } else {
                EXPECT_THROW(limiter.acquire_on_behalf_of(name), UsageError);
                limiter.release_on_behalf_of(name);
                lent.erase(name);
            }
        }
        EXPECT_EQ(limiter.borrowed_tokens(), static_cast<std::ptrdiff_t>(lent.size()));
        for (const char* name : lent) limiter.release_on_behalf_of(name);
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
    });
}

// --- the line -----------------------------------------------------------------------------------

TEST_P(CapacityLimiterTest, WaitersGetTokensInTheOrderOfArrivalAndByHandOff) {
    run([] {
        CapacityLimiter limiter(1);
        std::vector<int> order;
        limiter.acquire();
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 5; ++i)
            tasks.push_back(start([&, i] {
                std::lock_guard guard(limiter);
                order.push_back(i);
            }));
        int newcomer = 0;
        limiter.release();
        auto last = start([&] {
            limiter.acquire_on_behalf_of(&newcomer);
            order.push_back(5);
            limiter.release_on_behalf_of(&newcomer);
        });
        for (auto& task : tasks) await_end(task);
        await(last);
        EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5}));
    });
}

TEST_P(CapacityLimiterTest, CancelledInLineItGivesUpThePlace) {
    run([] {
        CapacityLimiter limiter(1);
        limiter.acquire();
        auto first = start([&] { limiter.acquire(); });
        auto second = start([&] { std::lock_guard guard(limiter); });
        first.cancel();
        limiter.release();
        EXPECT_THROW(await(first), CancelledError);
        await(second);
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
    });
}

TEST_P(CapacityLimiterTest, CancelledAfterTheHandOffItPassesTheTokenOn) {
    run([] {
        CapacityLimiter limiter(1);
        limiter.acquire();
        bool got = false;
        auto first = start([&] {
            limiter.acquire();
            got = true;
            limiter.release();
        });
        auto second = start([&] { std::lock_guard guard(limiter); });
        limiter.release();
        first.cancel();
        await_end(first);
        await(second);
        EXPECT_EQ(first.cancelled(), !got);
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
    });
}

TEST(CapacityLimiter, AWaiterCancelledAfterItWasServedPassesTheTokenOn) {
    weft::run(
        [] {
            CapacityLimiter limiter(1);
            limiter.acquire();
            auto first = start([&] { limiter.acquire(); });
            auto second = start([&] { limiter.acquire(); });
            limiter.release();
            first.cancel();
            EXPECT_THROW(await(first), CancelledError);
            await(second);
            EXPECT_EQ(limiter.borrowed_tokens(), 1);
        },
        {.workers = 1, .strict = true});
}

// --- another total ------------------------------------------------------------------------------

TEST_P(CapacityLimiterTest, MoreTokensWakeWhoWaits) {
    run([] {
        CapacityLimiter limiter(1);
        limiter.acquire();
        Event go_on;
        std::atomic<int> inside = 0;
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 100; ++i)
            tasks.push_back(start([&] {
                std::lock_guard guard(limiter);
                ++inside;
                go_on.wait();
            }));
        EXPECT_EQ(inside, 0);
        limiter.set_total_tokens(81);
        EXPECT_EQ(limiter.borrowed_tokens(), 81);
        yield_until([&] { return inside == 80; });
        settle();
        EXPECT_EQ(inside, 80);
        go_on.set();
        for (auto& task : tasks) await(task);
        EXPECT_EQ(inside, 100);
        limiter.release();
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
    });
}

TEST_P(CapacityLimiterTest, FewerTokensTakeNoneAwayAndLendNoneUntilTheNumberFits) {
    run([] {
        CapacityLimiter limiter(3);
        int a = 0;
        int b = 0;
        limiter.acquire_on_behalf_of(&a);
        limiter.acquire_on_behalf_of(&b);
        limiter.acquire();
        limiter.set_total_tokens(1);
        EXPECT_EQ(limiter.borrowed_tokens(), 3);
        EXPECT_EQ(limiter.available_tokens(), -2);
        auto task = start([&] { std::lock_guard guard(limiter); });
        limiter.release_on_behalf_of(&a);
        limiter.release_on_behalf_of(&b);
        settle();
        EXPECT_FALSE(task.done());
        EXPECT_EQ(limiter.borrowed_tokens(), 1);
        limiter.release();
        await(task);
        EXPECT_EQ(limiter.available_tokens(), 1);
    });
}

TEST_P(CapacityLimiterTest, LosesNoTokenWhileItsTotalChangesAndWaitersAreCancelled) {
    run([] {
        CapacityLimiter limiter(1);
        std::atomic<int> inside = 0;
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 8; ++i)
            tasks.push_back(create_task([&] {
                for (int n = 0; n < 30; ++n) {
                    try {
                        std::lock_guard guard(limiter);
                        EXPECT_LE(++inside, 5);
                        ShieldScope shield;
                        yield();
                        --inside;
                    } catch (const CancelledError&) {
                    }
                }
            }));
        std::mt19937 random(3);
        for (int n = 0; n < 100; ++n) {
            limiter.set_total_tokens(1 + static_cast<std::ptrdiff_t>(random() % 5));
            tasks[random() % tasks.size()].cancel();
            yield();
        }
        for (auto& task : tasks) await_end(task);
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
    });
}

// --- threads ------------------------------------------------------------------------------------

TEST_P(CapacityLimiterThreadTest, TasksAndPlainThreadsShareTheTokens) {
    CapacityLimiter limiter(2);
    std::atomic<int> inside = 0;
    auto work = [&] {
        for (int n = 0; n < 200; ++n) {
            std::lock_guard guard(limiter);
            EXPECT_LE(++inside, 2);
            --inside;
        }
    };
    std::thread one(work);
    std::thread two(work);
    run([&] {
        task_group([&](TaskGroup& tg) {
            for (int i = 0; i < 4; ++i) tg.create_task(work);
        });
    });
    one.join();
    two.join();
    EXPECT_EQ(limiter.borrowed_tokens(), 0);
    limiter.acquire();
    EXPECT_THROW(limiter.acquire(), UsageError);
    limiter.release();
    EXPECT_THROW(limiter.release(), UsageError);
}

TEST_P(CapacityLimiterThreadTest, ToThreadBorrowsATokenForTheCall) {
    run([] {
        CapacityLimiter limiter(2);
        std::atomic<int> inside = 0;
        task_group([&](TaskGroup& tg) {
            for (int i = 0; i < 8; ++i)
                tg.create_task([&, i] {
                    int twice = to_thread(
                        limiter,
                        [&](int x) {
                            EXPECT_LE(++inside, 2);
                            std::this_thread::yield();
                            --inside;
                            return 2 * x;
                        },
                        i);
                    EXPECT_EQ(twice, 2 * i);
                });
        });
        EXPECT_THROW(to_thread(limiter, [] { throw std::runtime_error("no"); }),
                     std::runtime_error);
        std::lock_guard guard(limiter);  // the task has one, and the call another
        EXPECT_EQ(to_thread(limiter, [&](std::stop_token) { return limiter.borrowed_tokens(); }),
                  2);
        EXPECT_EQ(limiter.borrowed_tokens(), 1);
    });
}

TEST_P(CapacityLimiterThreadTest, ToThreadCancelledInLineForATokenNeverCalls) {
    run([] {
        CapacityLimiter limiter(1);
        limiter.acquire();
        bool called = false;
        auto task = start([&] { to_thread(limiter, [&] { called = true; }); });
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        limiter.release();
        EXPECT_FALSE(called);
        EXPECT_EQ(limiter.borrowed_tokens(), 0);
    });
}

TEST(CapacityLimiter, ToThreadIsRefusedOutsideOfATask) {
    CapacityLimiter limiter(1);
    EXPECT_THROW(to_thread(limiter, [] {}), UsageError);
    EXPECT_EQ(limiter.borrowed_tokens(), 0);
}

}  // namespace

}  // namespace weft::test
