// to_thread: values, contexts, cancels, the pool. The ids are those of asyncio's semantics.
//
// What runs on the pool's threads waits for semaphores that the test releases, never for the clock.
#include <barrier>
#include <condition_variable>
#include <filesystem>
#include <latch>
#include <memory>
#include <semaphore>
#include <set>
#include <stdexcept>
#include <stop_token>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class ThreadTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(ThreadTest);

ContextVar<int> number{"number", 0};

/// Blocks a thread until it is asked to stop.
void block_until_stopped(const std::stop_token& token) {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::unique_lock guard(mutex);
    changed.wait(guard, token, [] { return false; });
}

// --- waits of weft's in there --------------------------------------------------------------------------------------

TEST_P(ThreadTest, ACancelEndsAWaitInTheFunction) {
    run([] {
        Event begun;
        Event never;
        bool cancelled = false;
        auto task = create_task([&] {
            to_thread([&] {
                begun.set();
                try {
                    never.wait();
                } catch (const CancelledError&) {
                    cancelled = true;
                    throw;
                }
            });
        });
        begun.wait();
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(cancelled);
    });
}

TEST_P(ThreadTest, AWaitInAFunctionThatWasAskedToStopDoesNotBegin) {
    run([] {
        Event never;
        std::binary_semaphore begun(0);
        auto task = create_task([&] {
            to_thread([&](std::stop_token stop) {
                begun.release();
                block_until_stopped(stop);
                EXPECT_THROW(never.wait(), CancelledError);
                try {
                    throw 1;
                } catch (int) {
                    EXPECT_THROW(never.wait(), CancelledError) << "and again";
                }
            });
        });
        to_thread([&] { begun.acquire(); });
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
    });
}

// --- values -------------------------------------------------------------------------------------------------------

// th-1
TEST_P(ThreadTest, ItRunsOnAnotherThreadAndGivesTheValue) {
    run([] {
        auto here = std::this_thread::get_id();
        auto there = to_thread([] { return std::this_thread::get_id(); });
        EXPECT_NE(there, here);
        EXPECT_EQ(to_thread([](int a, int b) { return a + b; }, 2, 3), 5);
        to_thread([] {});
        EXPECT_EQ(*to_thread([] { return std::make_unique<int>(4); }), 4);
        int local = 0;
        EXPECT_EQ(&to_thread([&]() -> int& { return local; }), &local);
    });
}

TEST_P(ThreadTest, ItThrowsWhatTheFunctionThrows) {
    run([] {
        EXPECT_EQ(
            what_of<std::out_of_range>([] { to_thread([] { throw std::out_of_range("there"); }); }),
            "there");
        EXPECT_THROW(to_thread([] { throw 42; }), int);
        EXPECT_THROW(to_thread(abandon_on_cancel, [] { throw std::runtime_error("there"); }),
                     std::runtime_error);
    });
}

TEST_P(ThreadTest, ArgumentsAreReferredToAndMayBeMoveOnly) {
    run([] {
        int count = 0;
        to_thread([](int& to) { ++to; }, count);
        EXPECT_EQ(count, 1);
        auto box = std::make_unique<int>(7);
        EXPECT_EQ(to_thread([](std::unique_ptr<int> taken) { return *taken; }, std::move(box)), 7);
        EXPECT_EQ(box, nullptr);
    });
}

TEST_P(ThreadTest, WithAbandonOnCancelArgumentsAreCopiedOrMoved) {
    run([] {
        std::string text = "before";
        auto length = [](const std::string& given) { return given.size(); };
        EXPECT_EQ(to_thread(abandon_on_cancel, length, text), 6U);
        auto box = std::make_unique<int>(7);
        auto open = [](std::unique_ptr<int> taken) { return *taken; };
        EXPECT_EQ(to_thread(abandon_on_cancel, open, std::move(box)), 7);
        EXPECT_EQ(to_thread(abandon_on_cancel, [own = std::make_unique<int>(8)] { return *own; }),
                  8);
    });
}

TEST_P(ThreadTest, TheFunctionMayTakeAStopTokenFirst) {
    run([] {
        EXPECT_FALSE(to_thread([](std::stop_token token) { return token.stop_requested(); }));
        EXPECT_EQ(to_thread([](const std::stop_token& token,
                               int x) { return token.stop_possible() ? x : 0; },
                            5),
                  5);
        EXPECT_EQ(to_thread(abandon_on_cancel, [](std::stop_token, int x) { return x; }, 6), 6);
    });
}

// th-1
TEST_P(ThreadTest, ItRunsWithACopyOfTheContext) {
    run([] {
        number.set(3);
        auto seen_and_set = [] {
            int seen = number.get();
            number.set(100);
            return seen;
        };
        EXPECT_EQ(to_thread(seen_and_set), 3);
        EXPECT_EQ(number.get(), 3);
        EXPECT_EQ(to_thread(abandon_on_cancel, seen_and_set), 3);
        EXPECT_EQ(number.get(), 3);
        EXPECT_EQ(Context().run([&] { return to_thread([] { return number.get(); }); }), 0);
    });
}

TEST_P(ThreadTest, TheWorkerIsFreeMeanwhile) {
    run([] {
        std::binary_semaphore go(0);
        auto blocked = create_task([&] { to_thread([&] { go.acquire(); }); });
        bool ran = false;
        auto other = create_task([&] { ran = true; });
        await(other);
        EXPECT_TRUE(ran);
        EXPECT_FALSE(blocked.done());
        go.release();
        await(blocked);
    });
}

TEST_P(ThreadTest, CallsRunSideBySide) {
    run([] {
        std::barrier meet(4);
        auto call = [&] { to_thread([&] { meet.arrive_and_wait(); }); };
        gather(call, call, call, call);
    });
}

TEST_P(ThreadTest, ManyCallsAllEnd) {
    run([] {
        auto call = weft::async([](int x) { return to_thread([x] { return x * x; }); });
        std::vector<Coroutine<int>> calls;
        for (int i = 0; i < 200; ++i) calls.push_back(call(i));
        auto squares = gather(std::move(calls));
        for (int i = 0; i < 200; ++i) EXPECT_EQ(squares[static_cast<std::size_t>(i)], i * i);
    });
}

std::ptrdiff_t threads_of_this_process() {
    std::filesystem::directory_iterator threads("/proc/self/task");
    return std::distance(begin(threads), end(threads));
}

// th-6: however many cores there are
TEST_P(ThreadTest, ThePoolIsThirtyTwoThreadsAtMost) {
    run({.cores = 64}, [] {
        constexpr int kMost = 32;
        std::counting_semaphore<> go(0);
        std::latch full(kMost);
        std::atomic<int> begun = 0;
        std::vector<Task<void>> blockers;
        for (int i = 0; i < kMost; ++i)
            blockers.push_back(start([&] {
                to_thread([&] {
                    ++begun;
                    full.count_down();
                    go.acquire();
                });
            }));
        full.wait();
        // The pool makes a thread before the call waits.
        std::ptrdiff_t threads = threads_of_this_process();
        auto queued = start([&] { to_thread([&] { ++begun; }); });
        EXPECT_LE(threads_of_this_process(), threads);  // others may be going
        go.release(kMost);
        gather(blockers);
        await(queued);
        EXPECT_EQ(begun, kMost + 1);
    });
}

TEST_P(ThreadTest, ThePoolIsCoresAndFourThreadsAndTheRestQueuesInOrder) {
    run({.cores = 1}, [] {
        std::counting_semaphore<> go(0);
        std::latch full(5);
        std::vector<Task<void>> blockers;
        for (int i = 0; i < 5; ++i)
            blockers.push_back(start([&] {
                to_thread([&] {
                    full.count_down();
                    go.acquire();
                });
            }));
        full.wait();
        std::vector<int> order;
        std::mutex mutex;
        std::vector<Task<void>> queued;
        for (int i = 0; i < 5; ++i)
            queued.push_back(start([&, i] {
                to_thread([&, i] {
                    std::lock_guard guard(mutex);
                    order.push_back(i);
                });
            }));
        {
            std::lock_guard guard(mutex);
            EXPECT_TRUE(order.empty()) << "a sixth thread";
        }
        go.release();
        for (auto& task : queued) await(task);
        EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
        go.release(4);
        for (auto& task : blockers) await(task);
    });
}

TEST_P(ThreadTest, ThreadsAreUsedAgain) {
    run([] {
        std::set<std::thread::id> threads;
        for (int i = 0; i < 30; ++i)
            threads.insert(to_thread([] { return std::this_thread::get_id(); }));
        EXPECT_LE(threads.size(), 5U);
    });
}

// --- cancels ------------------------------------------------------------------------------------------------------

TEST_P(ThreadTest, ACallThatIsCancelledWhileItIsQueuedIsTakenOutAndNeverRuns) {
    run({.cores = 1}, [] {
        std::counting_semaphore<> go(0);
        std::latch full(5);
        std::vector<Task<void>> blockers;
        for (int i = 0; i < 5; ++i)
            blockers.push_back(start([&] {
                to_thread([&] {
                    full.count_down();
                    go.acquire();
                });
            }));
        full.wait();
        std::atomic<bool> ran = false;
        auto queued = start([&] { to_thread([&] { ran = true; }); });
        auto abandoned = start([&] { to_thread(abandon_on_cancel, [&ran] { ran = true; }); });
        queued.cancel("not yet");
        abandoned.cancel("nor this");
        EXPECT_EQ(cancel_message_of([&] { await(queued); }), "not yet");
        EXPECT_EQ(cancel_message_of([&] { await(abandoned); }), "nor this");
        go.release(5);
        for (auto& task : blockers) await(task);
        to_thread([] {});
        EXPECT_FALSE(ran);
    });
}

TEST_P(ThreadTest, ACallThatIsCancelledWhileItRunsIsAskedToStopAndWaitedFor) {
    run([] {
        std::latch runs(1);
        std::atomic<bool> ended = false;
        auto task = start([&] {
            to_thread([&](const std::stop_token& token) {
                runs.count_down();
                block_until_stopped(token);
                ended = true;
            });
        });
        runs.wait();
        task.cancel("stop it");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "stop it");
        EXPECT_TRUE(ended);
    });
}

TEST_P(ThreadTest, ACallThatIgnoresItsCancelIsWaitedForAndItsValueIsLost) {
    run([] {
        std::latch runs(1);
        std::binary_semaphore go(0);
        std::string local = "the caller's own";
        auto task = start([&] {
            return to_thread([&] {
                runs.count_down();
                go.acquire();
                local += ", still there";
                return 1;
            });
        });
        runs.wait();
        task.cancel();
        auto watcher = create_task([&] {
            yield();
            EXPECT_FALSE(task.done());
            go.release();
        });
        EXPECT_THROW(await(task), CancelledError);
        await(watcher);
        EXPECT_EQ(local, "the caller's own, still there");
    });
}

TEST_P(ThreadTest, WhatACancelledCallThrowsInAnswerComesOut) {
    run([] {
        std::latch runs(1);
        auto task = start([&] {
            to_thread([&](const std::stop_token& token) {
                runs.count_down();
                block_until_stopped(token);
                throw std::runtime_error("interrupted");
            });
        });
        runs.wait();
        task.cancel();
        EXPECT_EQ(what_of<std::runtime_error>([&] { await(task); }), "interrupted");
    });
}

TEST_P(ThreadTest, ASecondCancelDoesNotEndTheWaitEarly) {
    run([] {
        std::latch runs(1);
        std::binary_semaphore go(0);
        std::atomic<bool> ended = false;
        auto task = start([&] {
            to_thread([&] {
                runs.count_down();
                go.acquire();
                ended = true;
            });
        });
        runs.wait();
        task.cancel();
        auto watcher = create_task([&] {
            yield();
            task.cancel();
            yield();
            EXPECT_FALSE(task.done());
            go.release();
        });
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(ended);
        await(watcher);
    });
}

// th-2
TEST_P(ThreadTest, WithAbandonOnCancelTheWaitEndsAtOnceAndTheCallRunsOnUntilTheEndOfRun) {
    auto ended = std::make_shared<std::atomic<int>>(0);
    int runs = 0;
    run([&] {
        ++runs;
        auto begun = std::make_shared<std::latch>(1);
        auto go = std::make_shared<std::binary_semaphore>(0);
        auto task = start([=] {
            to_thread(abandon_on_cancel, [=] {
                begun->count_down();
                go->acquire();
                ++*ended;
            });
        });
        begun->wait();
        task.cancel("abandoned");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "abandoned");
        EXPECT_EQ(*ended, runs - 1) << "it has been waited for";
        go->release();
    });
    EXPECT_EQ(*ended, runs) << "the end of run waits for it";
}

TEST_P(ThreadTest, AnAbandonedCallIsAskedToStop) {
    run([] {
        auto begun = std::make_shared<std::latch>(1);
        auto stopped = std::make_shared<std::latch>(1);
        auto task = start([=] {
            to_thread(abandon_on_cancel, [=](const std::stop_token& token) {
                begun->count_down();
                block_until_stopped(token);
                stopped->count_down();
            });
        });
        begun->wait();
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        stopped->wait();
    });
}

TEST_P(ThreadTest, ACancelThatIsDueBeforeTheCallKeepsItFromRunning) {
    run([] {
        std::atomic<bool> ran = false;
        current_task().cancel("before");
        EXPECT_EQ(cancel_message_of([&] { to_thread([&] { ran = true; }); }), "before");
        current_task().uncancel();
        EXPECT_FALSE(ran);
    });
}

TEST_P(ThreadTest, InAShieldScopeACancelWaitsForTheValue) {
    run([] {
        std::latch runs(1);
        std::binary_semaphore go(0);
        auto task = start([&] {
            int value = 0;
            {
                ShieldScope shield;
                value = to_thread([&](const std::stop_token& token) {
                    runs.count_down();
                    go.acquire();
                    return token.stop_requested() ? -1 : 5;
                });
            }
            EXPECT_THROW(yield(), CancelledError);
            return value;
        });
        runs.wait();
        task.cancel();
        go.release();
        EXPECT_EQ(await(task), 5);
    });
}

// Real time: virtual time stands still while a call is under way.
TEST_P(ThreadTest, ATimeoutAsksTheCallToStop) {
    if (simulated()) GTEST_SKIP() << "the virtual clock stands still while a call is under way";
    run([] {
        std::atomic<bool> begun = false;
        std::atomic<bool> ended = false;
        // Until the time was enough for the call to begin.
        for (auto limit = 2ms; !begun; limit *= 2)
            EXPECT_THROW(timeout(limit,
                                 [&] {
                                     to_thread([&](const std::stop_token& token) {
                                         begun = true;
                                         block_until_stopped(token);
                                         ended = true;
                                     });
                                 }),
                         TimeoutError);
        EXPECT_TRUE(ended);
    });
}

TEST_P(ThreadTest, TheEndOfRunCancelsACallThatALeftoverWaitsFor) {
    std::atomic<int> ended = 0;
    int runs = 0;
    run([&] {
        ++runs;
        auto begun = std::make_shared<std::latch>(1);
        start([&ended, begun] {
            to_thread([&ended, begun](const std::stop_token& token) {
                begun->count_down();
                block_until_stopped(token);
                ++ended;
            });
        });
        begun->wait();
    });
    EXPECT_EQ(ended, runs);
}

TEST_P(ThreadTest, CancelsThatRaceWithTheEndOfTheCallLoseNothing) {
    run([] {
        for (int round = 0; round < 200; ++round) {
            std::atomic<bool> entered = false;
            std::atomic<bool> left = false;
            auto task = create_task([&] {
                return to_thread([&] {
                    entered = true;
                    left = true;
                    return 1;
                });
            });
            for (int i = 0; i < round % 4; ++i) yield();
            task.cancel();
            try {
                EXPECT_EQ(await(task), 1);
            } catch (const CancelledError&) {
            }
            EXPECT_EQ(entered, left) << "it was waited for";
        }
    });
}

/// Its destructor takes its time.
struct SlowToGo {
    std::atomic<int>* gone = nullptr;
    ~SlowToGo() {
        auto until = std::chrono::steady_clock::now() + 20ms;
        while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
        if (gone != nullptr) ++*gone;
    }
};

void make_thread_local(std::atomic<int>& gone) {
    thread_local SlowToGo object;
    object.gone = &gone;
}

TEST_P(ThreadTest, TheEndOfRunWaitsForTheDestructorsOfItsThreadsOwnObjects) {
    std::atomic<int> gone = 0;
    int runs = 0;
    run([&] {
        ++runs;
        to_thread(make_thread_local, gone);
    });
    EXPECT_EQ(gone, runs);
}

TEST_P(ThreadTest, TheEndOfAPoolWaitsForTheDestructorsOfItsThreadsOwnObjects) {
    run([] {
        std::atomic<int> gone = 0;
        {
            ThreadPool pool;
            pool.run(make_thread_local, gone);
        }
        EXPECT_EQ(gone, 1);
        {
            ThreadPool pool({.threads = 2, .idle_time = 1ns});
            // Each has gone for want of calls before the next one comes.
            for (int i = 0; i < 3; ++i) {
                pool.run(make_thread_local, gone);
                while (pool.figures().threads > 0) std::this_thread::yield();
            }
        }
        EXPECT_EQ(gone, 4);
    });
}

TEST_P(ThreadTest, AFunctionOnAThreadMaySubmitToTheRuntimeAndWait) {
    run([] {
        Runtime& runtime = current_runtime();
        int value = to_thread([&] {
            auto future = runtime.submit([] {
                yield();
                return 6;
            });
            return future.result();
        });
        EXPECT_EQ(value, 6);
    });
}

}  // namespace

}  // namespace weft::test
