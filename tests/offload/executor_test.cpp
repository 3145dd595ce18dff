// Executors of one's own: ThreadPool, run_in_executor, map. (Arena as an object: arena_executor_test.cpp.)
//
// What runs in the pools waits for semaphores that the test releases, never for the clock.
#include <weft/executor.hpp>

#include <condition_variable>
#include <latch>
#include <memory>
#include <ranges>
#include <semaphore>
#include <set>
#include <stdexcept>
#include <stop_token>

#include <pthread.h>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

static_assert(Executor<ThreadPool>);
static_assert(Executor<Arena>);
static_assert(Executor<ProcessPool>);
static_assert(!Executor<int>);

class ExecutorTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(ExecutorTest);

std::string name_of_this_thread() {
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof name);
    return name;
}

/// Holds up a pool's threads until it is let go, or destroyed.
class Blockers {
public:
    Blockers(ThreadPool& pool, int threads) : full_(threads) {
        for (int i = 0; i < threads; ++i)
            tasks_.push_back(start([this, &pool] {
                pool.run([this] {
                    full_.count_down();
                    go_.acquire();
                });
            }));
        full_.wait();
    }
    ~Blockers() { let_go(); }
    void let_go() {
        go_.release(std::ssize(tasks_));
        for (auto& task : tasks_) await(task);
        tasks_.clear();
    }

private:
    std::latch full_;
    std::counting_semaphore<> go_{0};
    std::vector<Task<void>> tasks_;
};

// --- one shape ----------------------------------------------------------------------------------------------------

TEST_P(ExecutorTest, ItRunsInThePoolsOwnThreadsWhichHaveItsName) {
    run([] {
        ThreadPool pool({.threads = 2, .name = "disk"});
        EXPECT_EQ(pool.run(name_of_this_thread).substr(0, 5), "disk-");
        EXPECT_EQ(run_in_executor(pool, name_of_this_thread).substr(0, 5), "disk-");
        EXPECT_NE(to_thread(name_of_this_thread).substr(0, 5), "disk-");
    });
}

TEST_P(ExecutorTest, ValuesErrorsArgumentsAndTokensAreAsInToThread) {
    run([] {
        ThreadPool pool;
        EXPECT_EQ(run_in_executor(pool, [](int a, int b) { return a + b; }, 2, 3), 5);
        EXPECT_EQ(*run_in_executor(pool, [] { return std::make_unique<int>(4); }), 4);
        int local = 0;
        EXPECT_EQ(&run_in_executor(pool, [&]() -> int& { return local; }), &local);
        auto box = std::make_unique<int>(7);
        auto open = [](std::unique_ptr<int> taken) { return *taken; };
        EXPECT_EQ(run_in_executor(pool, open, std::move(box)), 7);
        EXPECT_FALSE(
            run_in_executor(pool, [](std::stop_token token) { return token.stop_requested(); }));
        EXPECT_EQ(
            what_of<std::out_of_range>([&] { pool.run([] { throw std::out_of_range("there"); }); }),
            "there");
        EXPECT_EQ(run_in_executor(
                      pool, abandon_on_cancel, [](std::string s) { return s; }, "by value"),
                  "by value");
    });
}

ContextVar<int> number{"number", 0};

TEST_P(ExecutorTest, ContextAndDeadlineGoAlong) {
    run([] {
        ThreadPool pool;
        number.set(3);
        EXPECT_EQ(pool.run([] { return number.get(); }), 3);
        EXPECT_EQ(pool.run([] { return current_deadline(); }), std::nullopt);
        timeout(std::chrono::hours(1), [&] {
            auto deadline = current_deadline();
            EXPECT_TRUE(deadline.has_value());
            EXPECT_EQ(pool.run([] { return current_deadline(); }), deadline);
            EXPECT_EQ(to_thread([] { return current_deadline(); }), deadline);
        });
    });
}

/// An executor of a user's.
struct Here {
    std::atomic<int> calls = 0;
    template <class F, class... Args>
    decltype(auto) run(F&& f, Args&&... args) {
        ++calls;
        return std::forward<F>(f)(std::forward<Args>(args)...);
    }
};

TEST_P(ExecutorTest, AUsersOwnExecutorFits) {
    run([] {
        Here here;
        EXPECT_EQ(run_in_executor(here, [](int x) { return 6 * x; }, 7), 42);
        std::vector<int> results;
        for (int x : map_in_executor(here, [](int x) { return x * x; }, std::vector{1, 2, 3}))
            results.push_back(x);
        EXPECT_EQ(results, (std::vector{1, 4, 9}));
        EXPECT_EQ(here.calls, 4);
    });
}

TEST_P(ExecutorTest, OutsideOfATaskItIsAUsageError) {
    ThreadPool pool;
    EXPECT_THROW(pool.run([] {}), UsageError);
    EXPECT_THROW(pool.run(abandon_on_cancel, [] {}), UsageError);
}

// --- bounds -------------------------------------------------------------------------------------------------------

TEST_P(ExecutorTest, AFloodNeverHasMoreThreadsThanAreAllowed) {
    run([] {
        ThreadPool pool({.threads = 3});
        std::atomic<int> inside = 0;
        std::atomic<int> most = 0;
        std::vector<Task<void>> calls;
        for (int i = 0; i < 300; ++i)
            calls.push_back(create_task([&] {
                pool.run([&] {
                    int now = ++inside;
                    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
                    }
                    std::this_thread::yield();
                    --inside;
                });
            }));
        gather(calls);
        EXPECT_LE(most, 3);
        EXPECT_LE(pool.figures().threads, 3U);
        EXPECT_EQ(pool.figures().ended, 300U);
    });
}

TEST_P(ExecutorTest, BeyondTheBoundOfItsQueueACallIsRefusedWithThePoolsName) {
    run([] {
        ThreadPool pool({.threads = 1, .name = "disk", .queue_max = 2});
        Blockers blockers(pool, 1);
        auto first = start([&] { pool.run([] {}); });
        auto second = start([&] { pool.run([] {}); });
        bool ran = false;
        EXPECT_EQ(what_of<QueueFull>([&] { pool.run([&] { ran = true; }); }),
                  "the queue of 'disk' is full: 2 calls wait for a thread");
        EXPECT_EQ(pool.figures().refused, 1U);
        EXPECT_EQ(pool.figures().queued, 2U);
        first.cancel();  // makes room
        EXPECT_THROW(await(first), CancelledError);
        auto third = start([&] { pool.run([&] { ran = true; }); });
        blockers.let_go();
        await(second);
        await(third);
        EXPECT_TRUE(ran);
        EXPECT_EQ(pool.figures().taken_back, 1U);
    });
}

TEST_P(ExecutorTest, CallsForWhomThreadsAreOnTheirWayDoNotFillTheQueue) {
    run([] {
        ThreadPool pool({.threads = 4, .queue_max = 1});
        std::counting_semaphore<> go(0);
        std::vector<Task<void>> calls;
        for (int i = 0; i < 5; ++i)
            calls.push_back(start([&] { pool.run([&] { go.acquire(); }); }));
        EXPECT_THROW(pool.run([] {}), QueueFull);
        go.release(5);
        gather(calls);
        EXPECT_EQ(pool.figures().refused, 1U);
    });
}

/// Set by a function, it is destroyed with the function's context: which takes as long as it likes.
struct SlowToGo {
    std::binary_semaphore* go = nullptr;
    ~SlowToGo() {
        if (go != nullptr) go->acquire();
    }
};
ContextVar<std::shared_ptr<SlowToGo>> slow_to_go{"slow_to_go", nullptr};

TEST_P(ExecutorTest, AThreadThatStillDestroysWhatItsCallHasSetIsNotFree) {
    run([] {
        ThreadPool pool({.threads = 2});
        std::binary_semaphore go(0);
        std::latch runs(1);
        auto first = start([&] {
            pool.run([&] {
                slow_to_go.set(std::make_shared<SlowToGo>(&go));
                runs.count_down();
            });
        });
        runs.wait();
        pool.run([&] { go.release(); });
        await(first);
    });
}

TEST_P(ExecutorTest, AnIdleThreadEndsAfterItsTime) {
    run([] {
        ThreadPool pool({.threads = 4, .idle_time = 1ms});
        pool.run([] {});
        while (pool.figures().threads > 0) std::this_thread::yield();
        EXPECT_EQ(pool.run([] { return 1; }), 1);
    });
}

// --- figures ------------------------------------------------------------------------------------------------------

TEST_P(ExecutorTest, FiguresTellTheTimeInTheQueueAndTheTimeOfTheRun) {
    run([] {
        using Clock = std::chrono::steady_clock;
        ThreadPool pool({.threads = 1});
        auto before = Clock::now();
        Clock::duration waited;
        Clock::duration ran;
        {
            Blockers blockers(pool, 1);
            EXPECT_EQ(pool.figures().running, 1U);
            auto began = Clock::now();
            auto queued = start([&] { pool.run([] {}); });
            auto in_queue = Clock::now();
            EXPECT_EQ(pool.figures().queued, 1U);
            while (Clock::now() < in_queue + 2ms) std::this_thread::yield();
            waited = Clock::now() - in_queue;
            ran = Clock::now() - began;
            blockers.let_go();
            await(queued);
        }
        auto all = Clock::now() - before;
        pool.shutdown();
        ExecutorFigures figures = pool.figures();
        EXPECT_EQ(figures.calls, 2U);
        EXPECT_EQ(figures.ended, 2U);
        EXPECT_EQ(figures.queued, 0U);
        EXPECT_EQ(figures.running, 0U);
        EXPECT_EQ(figures.threads, 0U);
        EXPECT_GE(figures.queue_time_max, waited);
        EXPECT_GE(figures.run_time_max, ran);
        EXPECT_GE(figures.queue_time, figures.queue_time_max);
        EXPECT_GE(figures.run_time, figures.run_time_max);
        EXPECT_LE(figures.queue_time + figures.run_time, 2 * all);
    });
}

TEST_P(ExecutorTest, ARuntimeHasTheFiguresOfItsOwnThreads) {
    run([] {
        std::uint64_t before = current_runtime().thread_figures().ended;
        to_thread([] {});
        to_thread([] {});
        yield_until([&] { return current_runtime().thread_figures().ended == before + 2; });
        EXPECT_GT(current_runtime().thread_figures().run_time.count(), 0);
    });
}

// --- cancels ------------------------------------------------------------------------------------------------------

/// Computes until it is told not to, without a token.
void compute_until_stopped(std::latch& runs) {
    runs.count_down();
    for (;;) {
        checkpoint();
        std::this_thread::yield();
    }
}

TEST_P(ExecutorTest, ACheckpointInACancelledCallThrows) {
    run([] {
        ThreadPool pool;
        for (bool own_pool : {true, false}) {
            std::latch runs(1);
            auto task = start([&] {
                own_pool ? pool.run(compute_until_stopped, runs)
                         : to_thread(compute_until_stopped, runs);
            });
            runs.wait();
            task.cancel();
            EXPECT_THROW(await(task), CancelledError);
        }
        pool.run([] { checkpoint(); });
    });
    checkpoint();  // nothing, on a thread of no call's
}

TEST_P(ExecutorTest, ACheckpointInADestructorDuringUnwindingDoesNotThrow) {
    run([] {
        struct Cleanup {
            ~Cleanup() { checkpoint(); }
        };
        std::latch runs(1);
        auto task = start([&] {
            to_thread([&] {
                Cleanup cleanup;
                compute_until_stopped(runs);
            });
        });
        runs.wait();
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
    });
}

TEST_P(ExecutorTest, ACheckpointInATaskThrowsWhenItIsCancelled) {
    run([] {
        checkpoint();
        current_task().cancel("now");
        EXPECT_EQ(cancel_message_of([] { checkpoint(); }), "now");
        current_task().uncancel();
    });
}

// --- shutdown -----------------------------------------------------------------------------------------------------

TEST_P(ExecutorTest, DrainedItRunsWhatIsQueuedAndRefusesWhatComes) {
    run([] {
        ThreadPool pool({.threads = 1, .name = "disk"});
        std::atomic<int> ran = 0;
        std::binary_semaphore go(0);
        std::latch runs(1);
        auto running = start([&] {
            pool.run([&] {
                runs.count_down();
                go.acquire();
                ++ran;
            });
        });
        runs.wait();
        auto queued = start([&] { pool.run([&] { ++ran; }); });
        auto shutdown = start([&] { pool.shutdown(); });
        EXPECT_EQ(what_of<Error>([&] { pool.run([] {}); }), "'disk' has been shut down");
        EXPECT_FALSE(shutdown.done());
        go.release();
        await(shutdown);
        EXPECT_EQ(ran, 2);
        gather(running, queued);
        pool.shutdown();
    });
}

TEST_P(ExecutorTest, KilledItFailsWhatIsQueuedAndAsksWhatRuns) {
    run([] {
        ThreadPool pool({.threads = 2, .name = "disk"});
        std::latch runs(2);
        auto by_checkpoint = start([&] { pool.run(compute_until_stopped, runs); });
        auto by_token = start([&] {
            pool.run([&](const std::stop_token& token) {
                runs.count_down();
                while (!token.stop_requested()) std::this_thread::yield();
                return 5;
            });
        });
        runs.wait();
        bool ran = false;
        auto queued = start([&] { pool.run([&] { ran = true; }); });
        auto left_behind = start([&] { pool.run(abandon_on_cancel, [&ran] { ran = true; }); });
        pool.shutdown(Shutdown::kill);
        EXPECT_EQ(what_of<Error>([&] { await(queued); }),
                  "'disk' was shut down before the call began");
        EXPECT_EQ(what_of<Error>([&] { await(left_behind); }),
                  "'disk' was shut down before the call began");
        EXPECT_FALSE(ran);
        EXPECT_EQ(what_of<Error>([&] { await(by_checkpoint); }),
                  "'disk' was shut down before the call ended");
        await(by_token);
    });
}

TEST_P(ExecutorTest, ItsDestructorWaitsForWhatWasLeftBehind) {
    run([] {
        auto ended = std::make_shared<std::atomic<bool>>(false);
        {
            ThreadPool pool;
            auto runs = std::make_shared<std::latch>(1);
            auto task = start([&] {
                pool.run(abandon_on_cancel, [ended, runs](const std::stop_token& token) {
                    runs->count_down();
                    while (!token.stop_requested()) std::this_thread::yield();
                    *ended = true;
                });
            });
            runs->wait();
            task.cancel();
            EXPECT_THROW(await(task), CancelledError);
        }
        EXPECT_TRUE(*ended);
    });
}

TEST_P(ExecutorTest, ManyMayShutItDownAndTheRuntimesThreadsStayFree) {
    run({.cores = 1}, [] {
        ThreadPool pool({.threads = 1});
        std::binary_semaphore go(0);
        std::latch runs(1);
        auto call = start([&] {
            pool.run([&] {
                runs.count_down();
                go.acquire();
            });
        });
        runs.wait();
        std::vector<Task<void>> shutdowns;
        for (int i = 0; i < 40; ++i) shutdowns.push_back(start([&] { pool.shutdown(); }));
        to_thread([&] { go.release(); });
        await(call);
        gather(shutdowns);
    });
}

TEST_P(ExecutorTest, AnIdleTimeWithoutEndIsOne) {
    run([] {
        ThreadPool pool({.threads = 1, .idle_time = std::chrono::nanoseconds::max()});
        pool.run([] {});
        pool.run([] {});
        EXPECT_EQ(pool.figures().threads, 1U);
    });
}

class ExecutorOnThreadsTest : public Everywhere {};
WEFT_TEST_ON_THREADS(ExecutorOnThreadsTest);

TEST_P(ExecutorOnThreadsTest, SeveralRuntimesMayShareIt) {
    ThreadPool pool({.threads = 2});
    std::atomic<int> sum = 0;
    std::vector<std::thread> programs;
    for (int i = 0; i < 3; ++i)
        programs.emplace_back([&] {
            weft::run(
                [&] {
                    for (int j = 0; j < 100; ++j) pool.run([&] { ++sum; });
                },
                options());
        });
    for (std::thread& program : programs) program.join();
    EXPECT_EQ(sum, 300);
}

TEST_P(ExecutorOnThreadsTest, WhatWasLeftBehindInItMayOutliveItsRuntime) {
    ThreadPool pool({.threads = 1});
    auto go = std::make_shared<std::binary_semaphore>(0);
    weft::run(
        [&] {
            auto runs = std::make_shared<std::latch>(1);
            auto task = start([&] {
                pool.run(abandon_on_cancel, [go, runs] {
                    runs->count_down();
                    go->acquire();
                });
            });
            runs->wait();
            task.cancel();
            EXPECT_THROW(await(task), CancelledError);
        },
        options());
    EXPECT_EQ(pool.figures().running, 1U);
    go->release();
    pool.shutdown();
    EXPECT_EQ(pool.figures().ended, 1U);
    EXPECT_EQ(go.use_count(), 1);
}

// A thread cannot be killed: the end of the runtime says whom it leaves, and goes.
TEST_P(ExecutorOnThreadsTest, TheRuntimesEndNamesWhatIsStuckAndGoesOnWithoutIt) {
    auto go = std::make_shared<std::binary_semaphore>(0);
    auto ended = std::make_shared<std::latch>(1);
    RunOptions with_limit = options();
    with_limit.abandoned_grace = 1ms;
    ::testing::internal::CaptureStderr();
    weft::run(
        [&] {
            auto runs = std::make_shared<std::latch>(1);
            auto task = create_task(
                [&] {
                    to_thread(abandon_on_cancel, [go, ended, runs] {
                        runs->count_down();
                        go->acquire();
                        ended->count_down();
                    });
                },
                {.name = "reader"});
            while (!runs->try_wait()) yield();
            task.cancel();
            EXPECT_THROW(await(task), CancelledError);
        },
        with_limit);
    std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("a call in a thread of 'weft-io' has run for"), std::string::npos) << said;
    EXPECT_NE(said.find("task 'reader' has left it behind"), std::string::npos) << said;
    // It goes on, and ends, in peace.
    std::weak_ptr<std::binary_semaphore> still_held = go;
    go->release();
    ended->wait();
    go.reset();
    while (!still_held.expired()) std::this_thread::yield();
}

/// Its destructor waits to be let go.
struct Held {
    std::shared_ptr<std::binary_semaphore> go;
    ~Held() {
        if (go != nullptr) go->acquire();
    }
};

TEST_P(ExecutorOnThreadsTest, TheRuntimesEndSaysThatAThreadsOwnObjectIsStuckAndGoesOnWithoutIt) {
    auto go = std::make_shared<std::binary_semaphore>(0);
    RunOptions with_limit = options();
    with_limit.abandoned_grace = 1ms;
    ::testing::internal::CaptureStderr();
    weft::run(
        [&] {
            to_thread([&] {
                thread_local Held held;
                held.go = go;
            });
        },
        with_limit);
    std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("a thread of 'weft-io' has no more calls and does not end"),
              std::string::npos)
        << said;
    std::weak_ptr<std::binary_semaphore> still_held = go;
    go->release();
    go.reset();
    while (!still_held.expired()) std::this_thread::yield();
}

}  // namespace

}  // namespace weft::test
