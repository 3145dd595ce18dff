// to_process inside of tasks: it waits as everything waits, overlaps, and can be cancelled.
#include <weft/process.hpp>
#include <weft/testing.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <csignal>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "offload/process_support.hpp"

namespace {

using namespace std::chrono_literals;
using weft::ProcessPool;
using weft::to_process;
using weft::test::hang;
using weft::test::Messenger;
using weft::test::Watched;

class ProcessTask : public testing::TestWithParam<unsigned> {
protected:
    template <class F>
    void run(F f) {
        weft::run(std::move(f), weft::RunOptions{.workers = GetParam()});
    }
};
INSTANTIATE_TEST_SUITE_P(Workers, ProcessTask, testing::Values(1U, 2U, 4U));

int tell_and_hang(std::string path) {
    Messenger::tell(path, ::getpid());
    hang();
}

/// Hears in a thread, so that the tasks of this one go on meanwhile.
Watched hear(const Messenger& messenger) {
    return Watched(weft::to_thread([&] { return messenger.hear(); }));
}

TEST_P(ProcessTask, ReturnsTheValueAndThrowsTheException) {
    run([] {
        EXPECT_EQ(to_process([](int x) { return x + 1; }, 41), 42);
        EXPECT_THROW(to_process([] { throw std::domain_error("there"); }), std::domain_error);
        EXPECT_THROW(to_process([] { ::_exit(1); }), weft::WorkerDied);
    });
}

TEST_P(ProcessTask, CallsOverlap) {
    run([] {
        ProcessPool pool{{.workers = 2}};
        Messenger mine;
        Messenger yours;
        // Each waits for the other's word: one after the other they would never end.
        auto exchange = [](std::string tell, int word, std::string listen) {
            Messenger::tell(tell, word);
            return Messenger::listen(listen);
        };
        auto [first, second] =
            weft::gather([&] { return pool.run(exchange, yours.path(), 1, mine.path()); },
                         [&] { return pool.run(exchange, mine.path(), 2, yours.path()); });
        EXPECT_EQ(first, 2);
        EXPECT_EQ(second, 1);
    });
}

TEST_P(ProcessTask, ManyTasksGetEachItsOwnAnswer) {
    run([] {
        std::vector<weft::Task<int>> tasks;
        for (int i = 0; i < 200; ++i) {
            tasks.push_back(
                weft::create_task([i] { return to_process([](int x) { return x; }, i); }));
        }
        for (int i = 0; i < 200; ++i) {
            EXPECT_EQ(weft::await(tasks[static_cast<std::size_t>(i)]), i);
        }
    });
}

TEST_P(ProcessTask, CancelledWhileItRunsKillsTheWorker) {
    run([] {
        ProcessPool pool{{.workers = 1}};
        Messenger messenger;
        auto task = weft::create_task([&] { return pool.run<&tell_and_hang>(messenger.path()); });
        Watched worker = hear(messenger);
        task.cancel("enough");
        EXPECT_THROW(weft::await(task), weft::CancelledError);
        EXPECT_TRUE(worker.ends());
        EXPECT_EQ(pool.run([] { return 1; }), 1) << "a new worker is there";
    });
}

/// In a function of to_thread's or to_arena's, which blocks its thread.
template <class Leave>
void cancel_a_call_below(Leave leave) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    auto task =
        weft::create_task([&] { leave([&] { pool.run<&tell_and_hang>(messenger.path()); }); });
    Watched worker = hear(messenger);
    task.cancel();
    EXPECT_THROW(weft::await(task), weft::CancelledError);
    EXPECT_TRUE(worker.ends());
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

TEST_P(ProcessTask, ACancelReachesThroughAThread) {
    run([] { cancel_a_call_below([](auto call) { weft::to_thread(call); }); });
}

// Not in ThreadSanitizer's runs, as all of the arena.
TEST(ArenaProcess, ACancelReachesThroughAnArena) {
    weft::run([] { cancel_a_call_below([](auto call) { weft::to_arena(call); }); });
}

TEST_P(ProcessTask, CancelledWhileItRunsDisturbsNoOtherCall) {
    run([] {
        ProcessPool pool{{.workers = 2}};
        Messenger messenger;
        Messenger other;
        auto survivor = weft::create_task([&] {
            return pool.run(
                [](std::string path, std::string go) {
                    Messenger::tell(path, ::getpid());
                    return Messenger::listen(go);
                },
                messenger.path(), other.path());
        });
        Watched surviving = hear(messenger);
        auto victim = weft::create_task([&] { return pool.run<&tell_and_hang>(messenger.path()); });
        Watched worker = hear(messenger);
        victim.cancel();
        EXPECT_THROW(weft::await(victim), weft::CancelledError);
        EXPECT_TRUE(worker.ends());
        EXPECT_TRUE(surviving.lives());
        Messenger::tell(other.path(), 42);
        EXPECT_EQ(weft::await(survivor), 42);
    });
}

TEST_P(ProcessTask, CancelledWhileQueuedNeverRuns) {
    run([] {
        ProcessPool pool{{.workers = 1}};
        Messenger messenger;
        auto running =
            weft::create_task([&] { return pool.run<&tell_and_hang>(messenger.path()); });
        Watched worker = hear(messenger);
        Messenger mark;
        auto queued = weft::create_task(
            [&] { pool.run([](std::string path) { Messenger::tell(path, 99); }, mark.path()); });
        while (pool.figures().queued == 0) weft::yield();
        queued.cancel();
        EXPECT_THROW(weft::await(queued), weft::CancelledError);
        EXPECT_EQ(pool.figures().queued, 0U);
        EXPECT_TRUE(worker.lives()) << "what ran is left alone";
        running.cancel();
        EXPECT_THROW(weft::await(running), weft::CancelledError);
        // What was taken out would come before this one.
        pool.run([](std::string path) { Messenger::tell(path, 1); }, mark.path());
        EXPECT_EQ(mark.hear(), 1);
    });
}

TEST_P(ProcessTask, CancelledBeforeItBeginsIsNeverSent) {
    run([] {
        ProcessPool pool{{.workers = 1}};
        auto task = weft::create_task([&] {
            weft::current_task().cancel();
            pool.run([] {});
        });
        EXPECT_THROW(weft::await(task), weft::CancelledError);
        EXPECT_EQ(pool.figures().calls, 0U);
    });
}

TEST_P(ProcessTask, ATimeoutKillsAFunctionThatNeverEnds) {
    run([] {
        ProcessPool pool{{.workers = 1}};
        EXPECT_THROW(weft::timeout(20ms, [&] { pool.run([] { hang(); }); }), weft::TimeoutError);
        EXPECT_EQ(pool.run([] { return 1; }), 1);
    });
}

TEST_P(ProcessTask, TheOtherTasksGoOnMeanwhile) {
    run([] {
        Messenger messenger;
        auto call = weft::create_task([&] {
            return to_process([](std::string go) { return Messenger::listen(go); },
                              messenger.path());
        });
        for (int i = 0; i < 100; ++i) weft::yield();
        Messenger::tell(messenger.path(), 5);
        EXPECT_EQ(weft::await(call), 5);
    });
}

TEST_P(ProcessTask, AWorkerCanRunTasksOfItsOwn) {
    run([] {
        int sum = to_process([] {
            return weft::run([] {
                auto [a, b] = weft::gather([] { return 20; }, [] { return 22; });
                return a + b;
            });
        });
        EXPECT_EQ(sum, 42);
    });
}

TEST_P(ProcessTask, DeathsLoseAndDoubleNoAnswer) {
    run([] {
        ProcessPool pool{{.workers = 3}};
        int answered = 0;
        int died = 0;
        std::vector<weft::Task<int>> tasks;
        for (int i = 0; i < 300; ++i) {
            tasks.push_back(weft::create_task([&pool, i] {
                return pool.run(
                    [](int number) {
                        if (number % 7 == 0) ::raise(SIGKILL);
                        return number;
                    },
                    i);
            }));
        }
        for (int i = 0; i < 300; ++i) {
            try {
                EXPECT_EQ(weft::await(tasks[static_cast<std::size_t>(i)]), i);
                ++answered;
            } catch (const weft::WorkerDied&) {
                EXPECT_EQ(i % 7, 0);
                ++died;
            }
        }
        EXPECT_EQ(answered + died, 300);
        EXPECT_EQ(died, 43);
    });
}

// --- in a simulation ------------------------------------------------------------------------------

TEST(ProcessSimulated, TheClockStandsStillWhileACallIsUnderWay) {
    weft::testing::simulate(1, [] {
        weft::TimePoint before = weft::now();
        // Nothing else is due: the clock would jump to the timeout.
        EXPECT_EQ(weft::timeout(1h, [] { return to_process([] { return 5; }); }), 5);
        EXPECT_THROW(
            weft::timeout(1h, [] { to_process([] { throw std::domain_error("there"); }); }),
            std::domain_error);
        EXPECT_EQ(weft::now(), before);
    });
}

TEST(ProcessSimulated, TheClockGoesOnAfterACallThatWasCancelled) {
    weft::testing::simulate(1,
                            [] {
                                ProcessPool pool{{.workers = 1}};
                                Messenger messenger;
                                auto task = weft::create_task(
                                    [&] { return pool.run<&tell_and_hang>(messenger.path()); });
                                Watched worker = hear(messenger);
                                auto queued = weft::create_task([&] { pool.run([] {}); });
                                while (pool.figures().queued == 0) weft::yield();
                                queued.cancel();
                                task.cancel();
                                EXPECT_THROW(weft::await(queued), weft::CancelledError);
                                EXPECT_THROW(weft::await(task), weft::CancelledError);
                                weft::sleep(1h);
                            },
                            {.workers = 3});
}

TEST(ProcessSimulated, TheClockGoesOnAfterACallThatCouldNotBegin) {
    weft::testing::simulate(1, [] {
        ProcessPool pool{{.workers = 1}};
        pool.run([] {});
        pool.shutdown();
        EXPECT_THROW(pool.run([] {}), weft::Error);
        weft::sleep(1h);
    });
}

}  // namespace
