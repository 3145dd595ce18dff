// Calls that are run again: which, how often, and what is told when it was no use.
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <csignal>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "offload/process_support.hpp"

namespace {

using weft::idempotent;
using weft::ProcessPool;
using weft::WorkerDied;
using weft::test::death_of;
using weft::test::hang;
using weft::test::Messenger;
using weft::test::Runs;
using weft::test::Watched;

/// Kills its worker in its first `deaths` runs; then it returns which run it is.
int die_at_first(std::string runs, int deaths) {
    int run = Runs::add(runs);
    if (run <= deaths) ::raise(SIGKILL);
    return run;
}

TEST(ProcessRetry, RunsAnIdempotentCallAgainWhereItsWorkerDied) {
    ProcessPool pool{{.workers = 1}};
    Runs runs;
    EXPECT_EQ(pool.run(idempotent<&die_at_first>(), runs.path(), 1), 2);
    EXPECT_EQ(runs.count(), 2);
    EXPECT_EQ(pool.figures().retried, 1U);
    EXPECT_EQ(pool.figures().calls, 1U) << "it is one call, however often it ran";
}

TEST(ProcessRetry, TakesALambdaAndReachesTheSharedPool) {
    Runs runs;
    auto work = [](std::string path) { return die_at_first(path, 1); };
    EXPECT_EQ(weft::to_process(idempotent(work), runs.path()), 2);
}

TEST(ProcessRetry, SendsSharedBuffersAgain) {
    ProcessPool pool{{.workers = 1}};
    Runs runs;
    weft::SharedBuffer numbers(1 << 20);
    numbers.writable_as<int>()[1000] = 41;
    auto work = [](std::string path, const weft::SharedBuffer& in) {
        int run = die_at_first(path, 1);
        weft::SharedBuffer out(in.size());
        out.writable_as<int>()[1000] = in.as<int>()[1000] + run;
        return out;
    };
    weft::SharedBuffer out = pool.run(idempotent(work), runs.path(), numbers);
    EXPECT_EQ(out.as<int>()[1000], 43);
    EXPECT_EQ(runs.count(), 2);
}

TEST(ProcessRetry, NeverRunsAnUnmarkedCallAgain) {
    ProcessPool pool{{.workers = 1, .retry = 5}};
    Runs runs;
    WorkerDied died = death_of([&] { pool.run<&die_at_first>(runs.path(), 1); });
    EXPECT_EQ(died.signal(), SIGKILL);
    EXPECT_EQ(std::string(died.what()).find("two workers"), std::string::npos) << died.what();
    EXPECT_EQ(pool.run([] { return 1; }), 1);
    EXPECT_EQ(runs.count(), 1);
    EXPECT_EQ(pool.figures().retried, 0U);
}

TEST(ProcessRetry, GivesUpACallThatHasKilledTwoWorkersAndSaysSo) {
    ProcessPool pool{{.workers = 1, .retry = 5}};
    Runs runs;
    WorkerDied died = death_of([&] { pool.run(idempotent<&die_at_first>(), runs.path(), 100); });
    EXPECT_EQ(died.signal(), SIGKILL);
    EXPECT_NE(std::string(died.what()).find("it has killed two workers"), std::string::npos)
        << died.what();
    EXPECT_EQ(runs.count(), 2);
}

TEST(ProcessRetry, OfZeroRunsNothingAgain) {
    ProcessPool pool{{.workers = 1, .retry = 0}};
    Runs runs;
    death_of([&] { pool.run(idempotent<&die_at_first>(), runs.path(), 1); });
    EXPECT_EQ(pool.run([] { return 1; }), 1);
    EXPECT_EQ(runs.count(), 1);
}

TEST(ProcessRetry, RunsNothingAgainThatThrew) {
    ProcessPool pool{{.workers = 1}};
    Runs runs;
    auto work = [](std::string path) {
        Runs::add(path);
        throw std::runtime_error("no");
    };
    EXPECT_THROW(pool.run(idempotent(work), runs.path()), std::runtime_error);
    EXPECT_EQ(runs.count(), 1);
}

/// In its first `losses` runs it ends the fork server, and with it its own worker.
int lose_the_server_at_first(std::string runs, int losses) {
    int run = Runs::add(runs);
    if (run <= losses) {
        ::kill(::getppid(), SIGKILL);
        hang();
    }
    return run;
}

TEST(ProcessRetry, DoesNotCountTheDeathOfTheForkServerAgainstTheCall) {
    ProcessPool pool{{.workers = 1}};
    Runs runs;
    EXPECT_EQ(pool.run(idempotent<&lose_the_server_at_first>(), runs.path(), 2), 3);
}

TEST(ProcessRetry, OfACallThatAlwaysLosesTheForkServerEnds) {
    ProcessPool pool{{.workers = 1, .retry = 100}};
    Runs runs;
    death_of([&] { pool.run(idempotent<&lose_the_server_at_first>(), runs.path(), 1000); });
    EXPECT_LT(runs.count(), 10);
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

TEST(ProcessRetry, CarriesALargeArgumentToTheSecondWorkerToo) {
    ProcessPool pool{{.workers = 1}};
    Runs runs;
    auto work = [](std::string path, std::string text) {
        if (Runs::add(path) == 1) ::raise(SIGKILL);
        return text.size();
    };
    EXPECT_EQ(pool.run(idempotent(work), runs.path(), std::string(3'000'000, 'x')), 3'000'000U);
}

TEST(ProcessRetry, EndsWithACancel) {
    ProcessPool pool{{.workers = 1}};
    Runs runs;
    Messenger messenger;
    weft::run([&] {
        auto call = weft::create_task([&] {
            pool.run(idempotent([](std::string path, std::string where) {
                         if (Runs::add(path) == 1) ::raise(SIGKILL);
                         Messenger::tell(where, 1);
                         hang();
                     }),
                     runs.path(), messenger.path());
        });
        EXPECT_EQ(weft::to_thread([&] { return messenger.hear(); }), 1);
        call.cancel();
        EXPECT_THROW(weft::await(call), weft::CancelledError);
    });
    EXPECT_EQ(pool.run([] { return 1; }), 1);
    EXPECT_EQ(runs.count(), 2) << "a worker that is killed by a cancel is no reason to run again";
}

TEST(ProcessFigures, TellHowLongCallsHaveWaitedAndRun) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    Messenger orders;
    auto work = [](std::string path, std::string wait_for) {
        Messenger::tell(path, 1);
        Messenger::listen(wait_for);
    };
    std::thread first([&] { pool.run(work, messenger.path(), orders.path()); });
    ASSERT_EQ(messenger.hear(), 1);
    std::thread second([&] { pool.run([] {}); });
    while (pool.figures().queued == 0) std::this_thread::yield();
    auto begin = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(20)) {
        std::this_thread::yield();
    }
    Messenger::tell(orders.path(), 1);
    first.join();
    second.join();
    weft::ProcessPoolFigures figures = pool.figures();
    // The second has waited while the first ran.
    EXPECT_GE(figures.queue_time_max, std::chrono::milliseconds(20));
    EXPECT_GE(figures.run_time_max, std::chrono::milliseconds(20));
    EXPECT_GE(figures.queue_time, figures.queue_time_max);
    EXPECT_GT(figures.run_time, figures.run_time_max);
}

}  // namespace
