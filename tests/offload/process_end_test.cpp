// How a pool is ended with consideration: it lets its calls finish.
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "offload/process_support.hpp"

namespace {

using namespace std::chrono_literals;
using weft::ProcessPool;
using weft::Shutdown;
using weft::test::hang;
using weft::test::Messenger;
using weft::test::Runs;
using weft::test::Watched;

// --- draining -----------------------------------------------------------------------------------

/// With one worker, what has been made ready runs before this returns.
void let_it_begin() {
    for (int turn = 0; turn < 10; ++turn) weft::yield();
}

int answer_when_told(std::string path, std::string orders) {
    Messenger::tell(path, ::getpid());
    return Messenger::listen(orders);
}

TEST(ProcessDrain, LetsWhatRunsAndWhatWaitsFinishAndRefusesMore) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    Messenger orders;
    weft::run(
        [&] {
            auto running = weft::create_task(
                [&] { return pool.run<&answer_when_told>(messenger.path(), orders.path()); });
            weft::to_thread([&] { return messenger.hear(); });
            auto queued = weft::create_task([&] { return pool.run([] { return 2; }); });
            while (pool.figures().queued == 0) weft::yield();
            auto end = weft::create_task([&] { return pool.shutdown(Shutdown::drain); });
            let_it_begin();
            EXPECT_FALSE(end.done());
            EXPECT_THROW(pool.run([] { return 3; }), weft::Error);
            Messenger::tell(orders.path(), 1);
            EXPECT_EQ(weft::await(running), 1);
            EXPECT_EQ(weft::await(queued), 2);
            EXPECT_TRUE(weft::await(end));
        },
        {.workers = 1});
    EXPECT_EQ(pool.figures().workers, 0U);
}

TEST(ProcessDrain, OfAThreadBlocksIt) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    Messenger orders;
    std::atomic<int> answer{0};
    std::thread caller(
        [&] { answer = pool.run<&answer_when_told>(messenger.path(), orders.path()); });
    EXPECT_GT(messenger.hear(), 0);
    std::thread ends([&] {
        EXPECT_TRUE(pool.shutdown(Shutdown::drain));
        EXPECT_EQ(pool.figures().workers, 0U);
    });
    Messenger::tell(orders.path(), 5);
    ends.join();
    caller.join();
    EXPECT_EQ(answer, 5);
}

TEST(ProcessDrain, BeyondItsPatienceKills) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    weft::run(
        [&] {
            auto running = weft::create_task([&] {
                pool.run(
                    [](std::string path) {
                        Messenger::tell(path, 1);
                        hang();
                    },
                    messenger.path());
            });
            weft::to_thread([&] { return messenger.hear(); });
            EXPECT_FALSE(pool.shutdown(Shutdown::drain, 10ms));
            EXPECT_THROW(weft::await(running), weft::Error);
        },
        {.workers = 1});
}

TEST(ProcessDrain, ThatIsCancelledLeavesTheCallsAndGoesOnRefusing) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    Messenger orders;
    weft::run(
        [&] {
            auto running = weft::create_task(
                [&] { return pool.run<&answer_when_told>(messenger.path(), orders.path()); });
            weft::to_thread([&] { return messenger.hear(); });
            auto end = weft::create_task([&] { return pool.shutdown(Shutdown::drain); });
            auto other = weft::create_task([&] { return pool.shutdown(Shutdown::drain); });
            let_it_begin();
            end.cancel();
            EXPECT_THROW(weft::await(end), weft::CancelledError);
            EXPECT_THROW(pool.run([] { return 3; }), weft::Error);
            Messenger::tell(orders.path(), 1);
            EXPECT_EQ(weft::await(running), 1);
            EXPECT_TRUE(weft::await(other));
        },
        {.workers = 1});
}

TEST(ProcessDrain, ThatAShutdownCutsShortSaysThatNotAllHaveEnded) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    weft::run(
        [&] {
            auto call = weft::create_task([&] {
                EXPECT_THROW(pool.run(
                                 [](std::string path) {
                                     Messenger::tell(path, ::getpid());
                                     hang();
                                 },
                                 messenger.path()),
                             weft::Error);
            });
            weft::to_thread([&] { return messenger.hear(); });
            auto drain = weft::create_task([&] { return pool.shutdown(Shutdown::drain); });
            weft::yield();  // on the one worker: it waits now
            pool.shutdown(Shutdown::kill);
            EXPECT_FALSE(weft::await(drain));
            weft::await(call);
        },
        {.workers = 1});
}

TEST(ProcessDrain, EndsWhenTheLastCallIsCancelled) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    weft::run(
        [&] {
            auto running = weft::create_task([&] {
                pool.run(
                    [](std::string path) {
                        Messenger::tell(path, 1);
                        hang();
                    },
                    messenger.path());
            });
            weft::to_thread([&] { return messenger.hear(); });
            auto end = weft::create_task([&] { return pool.shutdown(Shutdown::drain); });
            let_it_begin();
            running.cancel();
            EXPECT_TRUE(weft::await(end));
        },
        {.workers = 1});
}

TEST(ProcessDrain, StillMakesTheWorkerThatARetryNeeds) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    Messenger orders;
    Runs runs;
    weft::run(
        [&] {
            auto running = weft::create_task([&] {
                return pool.run(
                    weft::idempotent([](std::string path, std::string wait_for, std::string count) {
                        if (Runs::add(count) > 1) return 7;
                        answer_when_told(path, wait_for);
                        ::raise(SIGKILL);
                        return 0;
                    }),
                    messenger.path(), orders.path(), runs.path());
            });
            weft::to_thread([&] { return messenger.hear(); });
            auto end = weft::create_task([&] { return pool.shutdown(Shutdown::drain); });
            let_it_begin();
            Messenger::tell(orders.path(), 1);
            EXPECT_EQ(weft::await(running), 7);
            EXPECT_TRUE(weft::await(end));
        },
        {.workers = 1});
}

TEST(ProcessDrain, OfAPoolWithoutCallsEndsItAtOnce) {
    ProcessPool fresh{{.workers = 1}};
    EXPECT_TRUE(fresh.shutdown(Shutdown::drain));
    EXPECT_THROW(fresh.run([] { return 1; }), weft::Error);
    ProcessPool used{{.workers = 1}};
    EXPECT_EQ(used.run([] { return 1; }), 1);
    EXPECT_TRUE(used.shutdown(Shutdown::drain));
    EXPECT_THROW(used.run([] { return 1; }), weft::Error);
    EXPECT_TRUE(used.shutdown(Shutdown::drain)) << "twice is no more than once";
}

}  // namespace
