// Arena as an object, and what to_arena has beyond f(). Left out under ThreadSanitizer, as arena_test.cpp.
#include <weft/executor.hpp>

#include <atomic>
#include <latch>
#include <semaphore>
#include <set>
#include <stdexcept>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class ArenaExecutorTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(ArenaExecutorTest);

/// The most bodies of a parallel loop that were in it at once.
int most_at_once(int bodies) {
    std::atomic<int> inside = 0;
    std::atomic<int> most = 0;
    oneapi::tbb::parallel_for(
        oneapi::tbb::blocked_range<int>(0, bodies, 1),
        [&](const oneapi::tbb::blocked_range<int>&) {
            int now = ++inside;
            for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
            }
            for (int i = 0; i < 20; ++i) std::this_thread::yield();
            --inside;
        },
        oneapi::tbb::simple_partitioner());
    return most;
}

void loop_until_cancelled(std::latch& runs) {
    std::atomic<bool> first = true;
    oneapi::tbb::parallel_for(
        oneapi::tbb::blocked_range<int>(0, 1'000'000, 1),
        [&](const oneapi::tbb::blocked_range<int>&) {
            if (first.exchange(false)) runs.count_down();
            while (!oneapi::tbb::is_current_task_group_canceling()) std::this_thread::yield();
        },
        oneapi::tbb::simple_partitioner());
}

// --- one shape ----------------------------------------------------------------------------------------------------

TEST_P(ArenaExecutorTest, ArgumentsAndATokenGoAlong) {
    run([] {
        EXPECT_EQ(to_arena([](int a, int b) { return a + b; }, 2, 3), 5);
        EXPECT_EQ(to_arena([](const std::stop_token& token,
                              int x) { return token.stop_possible() ? x : 0; },
                           5),
                  5);
        Arena arena({.cores = 2});
        EXPECT_EQ(run_in_executor(arena, [](int a, int b) { return a + b; }, 2, 3), 5);
        EXPECT_EQ(what_of<std::out_of_range>(
                      [&] { arena.run([] { throw std::out_of_range("there"); }); }),
                  "there");
    });
}

TEST_P(ArenaExecutorTest, TheDeadlineGoesAlong) {
    run([] {
        timeout(std::chrono::hours(1), [&] {
            auto deadline = current_deadline();
            EXPECT_EQ(to_arena([] { return current_deadline(); }), deadline);
        });
    });
}

TEST_P(ArenaExecutorTest, MapKeepsTheOrder) {
    run([] {
        Arena arena({.cores = 2});
        std::vector<int> results;
        for (int x : arena.map([](int x) { return x * x; }, std::vector{1, 2, 3, 4}))
            results.push_back(x);
        EXPECT_EQ(results, (std::vector{1, 4, 9, 16}));
    });
}

TEST_P(ArenaExecutorTest, ARuntimeHasTheFiguresOfItsOwnArena) {
    run([] {
        EXPECT_EQ(current_runtime().arena_figures().calls, 0U);
        to_arena([] {});
        EXPECT_EQ(current_runtime().arena_figures().ended, 1U);
        EXPECT_GT(current_runtime().arena_figures().run_time.count(), 0);
    });
}

// --- whose cores ---------------------------------------------------------------------------------------------------

TEST_P(ArenaExecutorTest, ACallHasNoMoreThreadsThanItsLimit) {
    run({.cores = 6}, [] {
        // Without one, more come: this ends when three are there at once.
        std::latch three(3);
        to_arena([&] {
            oneapi::tbb::parallel_for(
                oneapi::tbb::blocked_range<int>(0, 3, 1),
                [&](const oneapi::tbb::blocked_range<int>&) { three.arrive_and_wait(); },
                oneapi::tbb::simple_partitioner());
        });
        EXPECT_EQ(to_arena(at_most(1), most_at_once, 200), 1);
        EXPECT_LE(to_arena(at_most(2), most_at_once, 200), 2);
        Arena arena({.cores = 6});
        EXPECT_EQ(arena.run(at_most(1), most_at_once, 200), 1);
        EXPECT_LE(arena.run(at_most(3), most_at_once, 200), 3);
        EXPECT_THROW(to_arena(at_most(0), most_at_once, 1), std::invalid_argument);
    });
}

TEST_P(ArenaExecutorTest, AnArenaHasItsOwnNumberOfThreadsBesideASmallerOne) {
    run([] {
        Arena small({.cores = 1});
        Arena large({.cores = 4});
        EXPECT_EQ(small.run(most_at_once, 100), 1);
        EXPECT_LE(large.run(most_at_once, 1000), 4);
        // All four are there at once, or this does not end.
        std::latch all(4);
        large.run([&] {
            oneapi::tbb::parallel_for(
                oneapi::tbb::blocked_range<int>(0, 4, 1),
                [&](const oneapi::tbb::blocked_range<int>&) { all.arrive_and_wait(); },
                oneapi::tbb::simple_partitioner());
        });
    });
}

TEST_P(ArenaExecutorTest, TwoArenasWorkSideBySide) {
    run([] {
        Arena one({.cores = 1});
        Arena other({.cores = 1});
        std::latch both(2);
        auto first = create_task([&] { one.run([&] { both.arrive_and_wait(); }); });
        auto second = create_task([&] { other.run([&] { both.arrive_and_wait(); }); });
        gather(first, second);
    });
}

TEST_P(ArenaExecutorTest, OnAnArenasThreadToArenaIsAPlainCall) {
    run([] {
        auto nested = [] {
            auto here = std::this_thread::get_id();
            EXPECT_EQ(to_arena([] { return std::this_thread::get_id(); }), here);
            return to_arena([](int x) { return x + 1; }, 41);
        };
        EXPECT_EQ(to_arena(nested), 42);
        std::atomic<int> sum = 0;
        to_arena([&] {
            oneapi::tbb::parallel_for(0, 100, [&](int) { sum += to_arena([] { return 1; }); });
        });
        EXPECT_EQ(sum, 100);
        EXPECT_EQ(what_of<std::out_of_range>(
                      [] { to_arena([] { to_arena([] { throw std::out_of_range("deep"); }); }); }),
                  "deep");
    });
    EXPECT_THROW(to_arena([] {}), UsageError);
}

// --- cancels ------------------------------------------------------------------------------------------------------

TEST_P(ArenaExecutorTest, ACheckpointInACancelledCallThrowsInEveryBody) {
    run([] {
        std::latch runs(1);
        std::atomic<bool> first = true;
        std::atomic<int> thrown = 0;
        auto task = start([&] {
            to_arena([&] {
                oneapi::tbb::parallel_for(0, 8, [&](int) {
                    if (first.exchange(false)) runs.count_down();
                    try {
                        for (;;) {
                            checkpoint();
                            std::this_thread::yield();
                        }
                    } catch (const CancelledError&) {
                        ++thrown;
                        throw;
                    }
                });
            });
        });
        runs.wait();
        EXPECT_EQ(thrown, 0);
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_GE(thrown, 1);
    });
}

// While a call's function waits for its algorithm, its thread may run bodies of another call's.
TEST_P(ArenaExecutorTest, ACancelOfOneCallIsNoneInTheBodiesOfAnother) {
    run({.cores = 3}, [] {
        for (int round = 0; round < 10; ++round) {
            std::latch both(2);
            auto work = [&] {
                both.count_down();
                oneapi::tbb::parallel_for(
                    oneapi::tbb::blocked_range<int>(0, 300, 1),
                    [&](const oneapi::tbb::blocked_range<int>&) {
                        for (int i = 0; i < 20; ++i) {
                            std::this_thread::yield();
                            checkpoint();
                        }
                    },
                    oneapi::tbb::simple_partitioner());
            };
            auto cancelled = start([&] { to_arena(work); });
            auto other = start([&] { to_arena(work); });
            both.wait();
            cancelled.cancel();
            try {
                await(cancelled);
            } catch (const CancelledError&) {
            }
            await(other);
        }
    });
}

TEST_P(ArenaExecutorTest, ACallWithALimitLeavesItsThreadInTheArena) {
    run({.cores = 2}, [] {
        Arena arena({.cores = 2});
        for (int i = 0; i < 4; ++i) {
            arena.run(at_most(1), [] {});
            EXPECT_EQ(arena.run([] { return to_arena([] { return 5; }); }), 5);
        }
    });
}

TEST_P(ArenaExecutorTest, ACancelReachesANestedCall) {
    run([] {
        std::latch runs(1);
        auto task = start([&] { to_arena([&] { to_arena(loop_until_cancelled, runs); }); });
        runs.wait();
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
    });
}

TEST_P(ArenaExecutorTest, ATimeoutAsksTheTokenOfANestedCall) {
    if (simulated()) GTEST_SKIP() << "the virtual clock stands still while a call is under way";
    run({.cores = 2}, [] {
        auto nested = [] {
            to_arena([](const std::stop_token& token) {
                // Ends without it too, so that a failure is one.
                auto until = std::chrono::steady_clock::now() + 10s;
                while (!token.stop_requested() && std::chrono::steady_clock::now() < until)
                    std::this_thread::yield();
                EXPECT_TRUE(token.stop_requested());
            });
        };
        EXPECT_THROW(timeout(50ms, [&] { to_arena(nested); }), TimeoutError);
        EXPECT_THROW(timeout(50ms, [&] { to_arena(at_most(1), [&] { to_arena(nested); }); }),
                     TimeoutError);
    });
}

TEST_P(ArenaExecutorTest, ACallNestedInABodyHasNoTokenThatCouldBeAsked) {
    run([] {
        std::atomic<int> possible = 0;
        to_arena([&] {
            oneapi::tbb::parallel_for(0, 100, [&](int) {
                possible += to_arena(
                    [](const std::stop_token& token) { return token.stop_possible() ? 1 : 0; });
            });
        });
        EXPECT_EQ(possible, 0);
    });
}

TEST_P(ArenaExecutorTest, ACancelReachesACallWithALimit) {
    run({.cores = 4}, [] {
        std::latch runs(1);
        auto task = start([&] { to_arena(at_most(2), loop_until_cancelled, runs); });
        runs.wait();
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
    });
}

/// Holds up an arena's only slot until it is let go, whoever asks it to stop.
class SlotTaken {
public:
    explicit SlotTaken(Arena& arena)
        : task_(start([this, &arena] {
              arena.run([this] {
                  begun_.count_down();
                  go_.acquire();
              });
          })) {
        begun_.wait();
    }
    void let_go() { go_.release(); }
    const Task<void>& task() const { return task_; }

private:
    std::latch begun_{1};
    std::binary_semaphore go_{0};
    Task<void> task_;
};

TEST_P(ArenaExecutorTest, ACallThatIsCancelledWhileItIsQueuedIsTakenOutAndNeverRuns) {
    run([] {
        Arena arena({.cores = 1});
        SlotTaken slot(arena);
        std::atomic<bool> ran = false;
        auto queued = start([&] { arena.run([&] { ran = true; }); });
        auto limited = start([&] { arena.run(at_most(1), [&] { ran = true; }); });
        EXPECT_EQ(arena.figures().queued, 2U);
        queued.cancel("not yet");
        limited.cancel("nor this");
        EXPECT_EQ(cancel_message_of([&] { await(queued); }), "not yet");
        EXPECT_EQ(cancel_message_of([&] { await(limited); }), "nor this");
        EXPECT_EQ(arena.figures().taken_back, 2U);
        EXPECT_EQ(arena.figures().queued, 0U);
        slot.let_go();
        await(slot.task());
        arena.run([] {});
        EXPECT_FALSE(ran);
        EXPECT_EQ(arena.figures().ended, 2U);
    });
}

TEST_P(ArenaExecutorTest, ATimeoutOfAQueuedCallDoesNotWaitForASlot) {
    if (simulated()) GTEST_SKIP() << "the virtual clock stands still while a call is under way";
    run([] {
        Arena arena({.cores = 1});
        SlotTaken slot(arena);
        EXPECT_THROW(timeout(2ms, [&] { arena.run([] {}); }), TimeoutError);
        EXPECT_EQ(arena.figures().running, 1U);
        slot.let_go();
        await(slot.task());
    });
}

TEST_P(ArenaExecutorTest, BeyondTheBoundOfItsQueueACallIsRefusedWithTheArenasName) {
    run([] {
        Arena arena({.cores = 1, .name = "pictures", .queue_max = 2});
        SlotTaken slot(arena);
        auto first = start([&] { arena.run([] {}); });
        auto second = start([&] { arena.run([] {}); });
        std::atomic<int> ran = 0;
        EXPECT_EQ(what_of<QueueFull>([&] { arena.run([&] { ++ran; }); }),
                  "the queue of 'pictures' is full: 2 calls wait for a slot");
        EXPECT_EQ(arena.figures().refused, 1U);
        EXPECT_EQ(arena.figures().queued, 2U);
        first.cancel();  // makes room
        EXPECT_THROW(await(first), CancelledError);
        auto third = start([&] { arena.run([&] { ++ran; }); });
        slot.let_go();
        await(slot.task());
        await(second);
        await(third);
        EXPECT_EQ(ran, 1);
        EXPECT_EQ(arena.figures().calls, 4U);
    });
}

TEST_P(ArenaExecutorTest, CallsForWhichSlotsAreFreeDoNotFillTheQueue) {
    run([] {
        Arena arena({.cores = 2, .queue_max = 1});
        std::counting_semaphore<> go(0);
        std::vector<Task<void>> calls;
        for (int i = 0; i < 3; ++i)
            calls.push_back(start([&] { arena.run([&] { go.acquire(); }); }));
        EXPECT_THROW(arena.run([] {}), QueueFull);
        go.release(3);
        gather(calls);
        EXPECT_EQ(arena.figures().refused, 1U);
    });
}

TEST_P(ArenaExecutorTest, CancelsThatRaceWithTheBeginOfTheCallLoseNothing) {
    run([] {
        Arena arena({.cores = 2});
        std::uint64_t ended = 0;
        for (int round = 0; round < 200; ++round) {
            std::atomic<int> ran = 0;
            auto task = create_task([&] { return arena.run([&] { return ++ran; }); });
            for (int i = 0; i < round % 4; ++i) yield();
            task.cancel();
            try {
                EXPECT_EQ(await(task), 1);
            } catch (const CancelledError&) {
            }
            ended += static_cast<std::uint64_t>(ran);
        }
        arena.shutdown();
        ExecutorFigures figures = arena.figures();
        EXPECT_EQ(figures.ended, ended);
        EXPECT_EQ(figures.calls, figures.ended + figures.taken_back);
        EXPECT_EQ(figures.queued + figures.running, 0U);
    });
}

// --- shutdown -----------------------------------------------------------------------------------------------------

TEST_P(ArenaExecutorTest, KilledItEndsCallsWithAnErrorThoughTheirFunctionsReturn) {
    run([] {
        Arena arena({.cores = 2, .name = "pictures"});
        std::latch runs(1);
        auto task = start([&] {
            return arena.run([&] {
                loop_until_cancelled(runs);
                return 1;  // of a loop that was cut short
            });
        });
        runs.wait();
        arena.shutdown(Shutdown::kill);
        EXPECT_EQ(what_of<Error>([&] { await(task); }),
                  "'pictures' was shut down before the call ended");
        EXPECT_EQ(what_of<Error>([&] { arena.run([] {}); }), "'pictures' has been shut down");
    });
}

TEST_P(ArenaExecutorTest, KilledItAsksTokensAndCheckpointsToo) {
    run([] {
        Arena arena({.cores = 2, .name = "pictures"});
        std::latch runs(2);
        auto by_token = start([&] {
            arena.run([&](const std::stop_token& token) {
                runs.count_down();
                while (!token.stop_requested()) std::this_thread::yield();
            });
        });
        auto by_checkpoint = start([&] {
            arena.run([&] {
                runs.count_down();
                for (;;) {
                    checkpoint();
                    std::this_thread::yield();
                }
            });
        });
        runs.wait();
        arena.shutdown(Shutdown::kill);
        for (auto* task : {&by_token, &by_checkpoint})
            EXPECT_EQ(what_of<Error>([&] { await(*task); }),
                      "'pictures' was shut down before the call ended");
    });
}

TEST_P(ArenaExecutorTest, KilledItFailsWhatIsQueuedAtOnce) {
    run([] {
        Arena arena({.cores = 1, .name = "pictures"});
        SlotTaken slot(arena);
        std::atomic<bool> ran = false;
        auto queued = start([&] { arena.run([&] { ran = true; }); });
        auto other = start([&] { arena.run([&] { ran = true; }); });
        auto shutdown = start([&] { arena.shutdown(Shutdown::kill); });
        for (auto* task : {&queued, &other})
            EXPECT_EQ(what_of<Error>([&] { await(*task); }),
                      "'pictures' was shut down before the call began");
        EXPECT_FALSE(shutdown.done());
        slot.let_go();
        await(shutdown);
        EXPECT_EQ(what_of<Error>([&] { await(slot.task()); }),
                  "'pictures' was shut down before the call ended");
        EXPECT_FALSE(ran);
    });
}

// What oneTBB holds of a call that was taken out is nothing of the arena's.
TEST_P(ArenaExecutorTest, ItMayBeDestroyedWithCallsThatWereTakenOut) {
    run([] {
        std::atomic<bool> ran = false;
        for (int i = 0; i < 20; ++i) {
            Arena arena({.cores = 1});
            SlotTaken slot(arena);
            auto queued = start([&] { arena.run([&] { ran = true; }); });
            queued.cancel();
            EXPECT_THROW(await(queued), CancelledError);
            slot.let_go();
            await(slot.task());
        }
        EXPECT_FALSE(ran);
    });
}

TEST_P(ArenaExecutorTest, DrainedItLetsCallsEnd) {
    run([] {
        Arena arena({.cores = 1});
        std::latch runs(1);
        std::atomic<bool> go = false;
        auto task = start([&] {
            return arena.run([&] {
                runs.count_down();
                while (!go) std::this_thread::yield();
                return 1;
            });
        });
        runs.wait();
        auto shutdown = start([&] { arena.shutdown(); });
        EXPECT_FALSE(shutdown.done());
        go = true;
        await(shutdown);
        EXPECT_EQ(await(task), 1);
        ExecutorFigures figures = arena.figures();
        EXPECT_EQ(figures.calls, 1U);
        EXPECT_EQ(figures.ended, 1U);
        EXPECT_EQ(figures.running, 0U);
        EXPECT_GT(figures.run_time.count(), 0);
        EXPECT_EQ(figures.run_time, figures.run_time_max);
    });
}

TEST_P(ArenaExecutorTest, OptionsThatCannotBeAreRefused) {
    EXPECT_THROW(Arena({.nice = 20}), std::invalid_argument);
    EXPECT_THROW(Arena({.nice = -1}), std::invalid_argument);
    // oneTBB counts them as int.
    EXPECT_EQ(what_of<std::invalid_argument>([] { Arena({.cores = 3'000'000'000}); }),
              "ArenaOptions: cores = 3000000000 is more than 2147483647");
    EXPECT_EQ(what_of<std::invalid_argument>(
                  [] { weft::run([] {}, {.workers = 1, .cores = 3'000'000'000}); }),
              "RunOptions: cores = 3000000000 is more than 2147483647");
}

}  // namespace

}  // namespace weft::test
