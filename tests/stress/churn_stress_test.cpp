// Many tasks that come and go: gathers, groups, futures set from threads, work submitted from threads, handles dropped
// everywhere. What is checked is that all of it adds up, and that nothing is left (the fixture's books).
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

#if WEFT_TSAN || WEFT_ASAN
constexpr int kMany = 10'000;
#else
constexpr int kMany = 100'000;
#endif

class ChurnStressTest : public Everywhere {};
WEFT_TEST_ON_THREADS(ChurnStressTest);

TEST_P(ChurnStressTest, GathersOfChildrenThatWaitNowAndThen) {
    run([] {
        auto round = [](int r) {
            return [r] {
                auto child = [r](int i) {
                    return [r, i] {
                        if ((r + i) % 3 == 0) yield();
                        if ((r + i) % 7 == 0) await(create_task([] { yield(); }));
                        return r + i;
                    };
                };
                auto [a, b, c] = gather(child(0), child(1), child(2));
                return a + b + c;
            };
        };
        long sum = 0;
        long expected = 0;
        for (int r = 0; r < kMany / 100; ++r) {
            std::vector<decltype(round(0))> rounds;
            for (int i = 0; i < 10; ++i) {
                rounds.push_back(round(r + i));
                expected += 3L * (r + i) + 3;
            }
            for (int value : gather(std::move(rounds))) sum += value;
        }
        EXPECT_EQ(sum, expected);
    });
}

TEST_P(ChurnStressTest, GathersThatFailLeaveTheirChildrenBehindAndNothingIsLost) {
    std::atomic<int> ended = 0;
    run([&] {
        for (int r = 0; r < kMany / 50; ++r) {
            auto slow = [&] {
                yield();
                ++ended;
            };
            auto fail = [&, r] {
                if (r % 2 == 0) yield();
                ++ended;
                throw std::runtime_error("one");
            };
            EXPECT_THROW(gather(slow, fail, slow, fail), std::runtime_error);
        }
        yield_until([&] { return ended == 4 * (kMany / 50); });
        settle();  // what has counted itself may be about to throw
    });
}

TEST_P(ChurnStressTest, GroupsWhoseChildrenFailOrAreCancelledOrEnd) {
    run([] {
        int failed = 0;
        int good = 0;
        int cancelled = 0;
        std::atomic<int> children = 0;
        for (int r = 0; r < kMany / 50; ++r) {
            auto group_task = create_task([&, r] {
                task_group([&](TaskGroup& group) {
                    for (int i = 0; i < 5; ++i)
                        group.create_task([&, r, i] {
                            struct Count {
                                std::atomic<int>& count;
                                ~Count() { --count; }
                            } count{children};
                            ++children;
                            if ((r + i) % 2 == 0) yield();
                            if (r % 3 == 1 && i == 3) throw std::runtime_error("child");
                            if (r % 3 == 2) yield();
                        });
                    if (r % 5 == 0) yield();
                });
            });
            if (r % 3 == 2) {
                if (r % 2 == 0) yield();
                group_task.cancel();
            }
            try {
                await(group_task);
                ++good;
            } catch (const ExceptionGroup& group) {
                EXPECT_EQ(group.exceptions().size(), 1U);
                ++failed;
            } catch (const CancelledError&) {
                ++cancelled;
            }
            ASSERT_EQ(children, 0) << "a child outlived its group";
        }
        EXPECT_EQ(good + failed + cancelled, kMany / 50);
        EXPECT_GE(failed, kMany / 50 / 3);
    });
}

TEST_P(ChurnStressTest, FuturesSetFromThreads) {
    run([] {
        constexpr int kThreads = 3;
        constexpr int kEach = kMany / 10;
        std::vector<Future<int>> futures(static_cast<std::size_t>(kThreads * kEach));
        std::vector<std::thread> threads;
        auto waiters = create_task([&] {
            long sum = 0;
            std::vector<Task<int>> tasks;
            for (auto& future : futures)
                tasks.push_back(create_task([&] { return await(future); }));
            for (auto& task : tasks) sum += await(std::move(task));
            return sum;
        });
        yield();
        for (int t = 0; t < kThreads; ++t)
            threads.emplace_back([&, t] {
                for (int i = 0; i < kEach; ++i)
                    futures[static_cast<std::size_t>(i * kThreads + t)].set_result(1);
            });
        EXPECT_EQ(await(waiters), static_cast<long>(futures.size()));
        for (std::thread& thread : threads) thread.join();
    });
}

TEST_P(ChurnStressTest, HandlesDroppedByWhoeverComesLast) {
    run([] {
        auto tracked = std::make_shared<int>();
        for (int r = 0; r < kMany / 10; ++r) {
            auto task = create_task([tracked, r] {
                if (r % 2 == 0) yield();
                return tracked;
            });
            auto keeper = create_task([task, r] {
                if (r % 3 == 0) yield();
            });
            if (r % 5 == 0) await(task);
            if (r % 7 == 0) await(keeper);
        }
        yield_until([&] { return tracked.use_count() == 1; });
    });
}

TEST_P(ChurnStressTest, CallbacksAddedWhileTheirFutureIsSet) {
    run([] {
        std::atomic<int> called = 0;
        constexpr int kRounds = kMany / 20;
        for (int r = 0; r < kRounds; ++r) {
            Future<int> future;
            auto adder = create_task([&] {
                for (int i = 0; i < 3; ++i)
                    future.add_done_callback(
                        [&](const Future<int>& done) { called += done.result(); });
            });
            auto setter = create_task([&] { future.set_result(1); });
            await(adder);
            await(setter);
        }
        yield_until([&] { return called == 3 * kRounds; });
    });
}

TEST_P(ChurnStressTest, WorkSubmittedFromThreadsWhileTheRuntimeWorks) {
    Runtime runtime(options());
    std::atomic<int> ran = 0;
    std::vector<std::thread> threads;
    constexpr int kEach = kMany / 50;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&, t] {
            std::vector<ConcurrentFuture<int>> futures;
            for (int i = 0; i < kEach; ++i) {
                futures.push_back(runtime.submit([&, i] {
                    ++ran;
                    auto [a, b] = gather([i] { return i; },
                                         [] {
                                             yield();
                                             return 1;
                                         });
                    return a + b;
                }));
                runtime.post([&] { ++ran; });
                if (i % 64 == t) {
                    EXPECT_EQ(futures.back().result(), i + 1);
                }
            }
            for (int i = 0; i < kEach; ++i)
                EXPECT_EQ(futures[static_cast<std::size_t>(i)].result(), i + 1);
        });
    for (std::thread& thread : threads) thread.join();
    runtime.submit([&] { yield_until([&] { return ran == 6 * kEach; }); }).result();
}

TEST_P(ChurnStressTest, RuntimesThatComeAndGo) {
    for (int r = 0; r < 100; ++r) {
        Future<int> future;
        Runtime runtime(options());
        auto first = runtime.submit([&] { return await(future); });
        auto second = runtime.submit([&] { future.set_result(r); });
        if (r % 2 == 0) {
            EXPECT_EQ(first.result(), r);
        }
    }
}

TEST_P(ChurnStressTest, ContextVariablesFollowTasksThatWander) {
    static ContextVar<int> number{"number", -1};
    run([] {
        auto wanderer = [](int i) {
            return [i] {
                number.set(i);
                for (int turn = 0; turn < 20; ++turn) {
                    if (turn % 3 == 0)
                        await(create_task([i] { EXPECT_EQ(number.get(), i); }));
                    else
                        yield();
                    EXPECT_EQ(number.get(), i);
                }
            };
        };
        for (int r = 0; r < kMany / 1000; ++r) {
            std::vector<decltype(wanderer(0))> wanderers;
            for (int i = 0; i < 50; ++i) wanderers.push_back(wanderer(i));
            gather(std::move(wanderers));
        }
        EXPECT_EQ(number.get(), -1);
    });
}

TEST_P(ChurnStressTest, ExceptionsThrownAndCaughtAcrossWaitsStayWithTheirTask) {
    run([] {
        auto thrower = [](int i) {
            return [i] {
                int caught = 0;
                for (int turn = 0; turn < 20; ++turn) {
                    try {
                        if (turn % 2 == 0) yield();
                        throw i;
                    } catch (int seen) {
                        yield();
                        EXPECT_EQ(seen, i);
                        try {
                            throw;
                        } catch (int again) {
                            EXPECT_EQ(again, i);
                            ++caught;
                        }
                    }
                }
                return caught;
            };
        };
        for (int r = 0; r < kMany / 2000; ++r) {
            std::vector<decltype(thrower(0))> throwers;
            for (int i = 0; i < 20; ++i) throwers.push_back(thrower(i));
            for (int caught : gather(std::move(throwers))) EXPECT_EQ(caught, 20);
        }
    });
}

}  // namespace

}  // namespace weft::test
