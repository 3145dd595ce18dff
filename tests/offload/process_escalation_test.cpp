// How a call is made to end whose caller has gone: asked, terminated, killed.
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "offload/process_support.hpp"
#include "process/asking.hpp"

namespace {

using namespace std::chrono_literals;
using weft::ProcessPool;
using weft::test::hang;
using weft::test::Messenger;
using weft::test::Runs;
using weft::test::Watched;

// --- asked --------------------------------------------------------------------------------------

/// Starts a call of `work(path, args...)`, waits until it tells its pid, and cancels it.
template <class Work, class... Args>
pid_t cancel_in_the_middle(ProcessPool& pool, Work work, const Args&... args) {
    Messenger messenger;
    pid_t worker = 0;
    weft::run([&] {
        auto call = weft::create_task([&] { pool.run(work, messenger.path(), args...); });
        worker = weft::to_thread([&] { return messenger.hear(); });
        call.cancel();
        EXPECT_THROW(weft::await(call), weft::CancelledError);
    });
    return worker;
}

/// In a worker: computes until checkpoint() ends it.
void compute(std::string path) {
    Messenger::tell(path, ::getpid());
    for (;;) weft::checkpoint();
}

TEST(ProcessAsked, ByCheckpointGivesUpItsCallAndIsKept) {
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 1h}}};
    pid_t pid = cancel_in_the_middle(pool, [](std::string path) { compute(path); });
    EXPECT_EQ(pool.run([] { return ::getpid(); }), pid);
    EXPECT_EQ(pool.figures().kept, 1U);
    EXPECT_EQ(pool.figures().died, 0U);
}

TEST(ProcessAsked, ByStopTokenGivesUpItsCallAndIsKept) {
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 1h}}};
    Runs callbacks;
    pid_t pid = cancel_in_the_middle(
        pool,
        [](std::stop_token stop, std::string path, std::string heard) {
            std::stop_callback callback(stop, [&] { Runs::add(heard); });
            Messenger::tell(path, ::getpid());
            while (!stop.stop_requested()) {
            }
        },
        callbacks.path());
    EXPECT_EQ(pool.run([] { return ::getpid(); }), pid);
    EXPECT_EQ(callbacks.count(), 1);
}

TEST(ProcessAsked, WithoutAnAskStillGetsATokenThatItsFunctionWants) {
    ProcessPool pool{{.workers = 1}};
    EXPECT_EQ(pool.run([](std::stop_token stop, int x) { return stop.stop_possible() ? x : 0; }, 7),
              7);
}

TEST(ProcessAsked, KeepsItsPlaceUntilItHasGivenUp) {
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 1h}}};
    Messenger orders;
    pid_t pid = cancel_in_the_middle(
        pool,
        [](std::string path, std::string orders_path) {
            Messenger::tell(path, ::getpid());
            Messenger::listen(orders_path);
        },
        orders.path());
    weft::run([&] {
        auto next = weft::create_task([&] { return pool.run([] { return ::getpid(); }); });
        while (pool.figures().queued == 0) weft::yield();
        Messenger::tell(orders.path(), 1);
        EXPECT_EQ(weft::await(next), pid);
    });
    EXPECT_EQ(pool.figures().started, 1U);
}

TEST(ProcessAsked, AndNotListeningIsTerminated) {
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 5ms, .terminate = 1h}}};
    Runs tidied;
    pid_t pid = cancel_in_the_middle(
        pool,
        [](std::string path, std::string tidied_path) {
            sigset_t told;
            sigemptyset(&told);
            sigaddset(&told, SIGTERM);
            ::pthread_sigmask(SIG_BLOCK, &told, nullptr);
            Messenger::tell(path, ::getpid());
            int number = 0;
            ::sigwait(&told, &number);
            Runs::add(tidied_path);
            ::_exit(0);
        },
        tidied.path());
    EXPECT_NE(pool.run([] { return ::getpid(); }), pid);
    while (pool.figures().died == 0) std::this_thread::yield();
    EXPECT_EQ(tidied.count(), 1);
}

TEST(ProcessAsked, AndNotListeningIsKilledWhereThereIsNoStepBetween) {
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 5ms}}};
    pid_t pid = cancel_in_the_middle(pool, [](std::string path) {
        ::signal(SIGTERM, SIG_IGN);
        Messenger::tell(path, ::getpid());
        hang();
    });
    EXPECT_NE(pool.run([] { return ::getpid(); }), pid);
    EXPECT_EQ(pool.figures().kept, 0U);
}

TEST(ProcessAsked, AtAnyMomentHearsIt) {
    // Also before it has looked at its call. One that is not heard would take an hour.
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 1h}}};
    pool.run([] {});
    constexpr unsigned kCalls = 300;
    weft::run([&] {
        for (unsigned number = 0; number < kCalls; ++number) {
            auto call = weft::create_task([&] {
                pool.run([] {
                    for (;;) weft::checkpoint();
                });
            });
            for (unsigned turn = 0; turn < number % 7 + 1; ++turn) weft::yield();
            call.cancel();
            EXPECT_THROW(weft::await(call), weft::CancelledError);
        }
        pool.run([] {});
    });
    EXPECT_EQ(pool.figures().started, 1U);
    EXPECT_GT(pool.figures().kept, 0U);
}

/// In a worker: whether the signal waits for the process.
bool is_pending(int signal) {
    sigset_t pending;
    ::sigpending(&pending);
    return ::sigismember(&pending, signal) == 1;
}

TEST(ProcessAsked, ForAnotherCallGoesOn) {
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 1h}}};
    Messenger messenger;
    Messenger orders;
    weft::run([&] {
        auto call = weft::create_task([&] {
            return pool.run(
                [](std::string path, std::string orders_path) {
                    Messenger::tell(path, ::getpid());
                    Messenger::listen(orders_path);
                    // Asks are heard in order, by one thread, and this one sends no other's call to its end.
                    while (is_pending(weft::rt::process::ask_signal())) std::this_thread::yield();
                    for (int turn = 0; turn < 1000; ++turn) {
                        std::this_thread::yield();
                        weft::checkpoint();
                    }
                    return 7;
                },
                messenger.path(), orders.path());
        });
        pid_t pid = weft::to_thread([&] { return messenger.hear(); });
        weft::rt::process::Descriptor worker;
        ASSERT_EQ(weft::rt::process::open_pidfd(pid, worker), 0);
        constexpr std::uint64_t kOfNobody = UINT64_MAX;
        ASSERT_EQ(
            weft::rt::process::queue_signal(worker, weft::rt::process::ask_signal(), kOfNobody), 0);
        Messenger::tell(orders.path(), 1);
        EXPECT_EQ(weft::await(call), 7);
    });
}

TEST(ProcessAsked, HearsItAlsoAfterACallThatUnblockedAllSignals) {
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 1h}}};
    pid_t pid = pool.run([] {
        sigset_t none;
        sigemptyset(&none);
        ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
        return ::getpid();
    });
    EXPECT_EQ(cancel_in_the_middle(pool, [](std::string path) { compute(path); }), pid);
    EXPECT_EQ(pool.run([] { return ::getpid(); }), pid);
}

std::size_t open_sockets() {
    std::size_t count = 0;
    for (const auto& file : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        count += std::filesystem::read_symlink(file, gone).string().starts_with("socket:");
    }
    return count;
}

TEST(ProcessAsked, ThatIsDeadAlreadyIsNotHeldForAlive) {
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 1h}}};
    Messenger messenger;
    weft::run([&] {
        auto call = weft::create_task([&] {
            pool.run(
                [](std::string path) {
                    Messenger::tell(path, ::getppid());
                    Messenger::tell(path, ::getpid());
                    hang();
                },
                messenger.path());
        });
        // Stopped, its server does not tell of the death, which the pool sees by the socket alone.
        Watched server(weft::to_thread([&] { return messenger.hear(); }));
        Watched worker(weft::to_thread([&] { return messenger.hear(); }));
        server.kill(SIGSTOP);
        std::size_t before = open_sockets();
        worker.kill(SIGKILL);
        // That of the worker to come in its place.
        while (open_sockets() <= before) weft::yield();
        call.cancel();
        EXPECT_THROW(weft::await(call), weft::CancelledError);
        EXPECT_EQ(pool.figures().workers, 1U) << "a dead one holds no place";
        server.kill(SIGCONT);
        pool.run([] {});
    });
}

TEST(ProcessCall, ThatForksAnswersOnce) {
    ProcessPool pool{{.workers = 1}};
    for (int number = 0; number < 20; ++number) {
        EXPECT_EQ(pool.run(
                      [](int x) {
                          if (::fork() == 0) return -1;
                          return x;
                      },
                      number),
                  number);
    }
    EXPECT_EQ(pool.figures().started, 1U);
}

TEST(ProcessAsked, AndDyingOfItIsReplaced) {
    ProcessPool pool{{.workers = 1, .escalation = {.ask = 1h}}};
    pid_t pid = cancel_in_the_middle(pool, [](std::string path) {
        try {
            compute(path);
        } catch (...) {
            ::raise(SIGKILL);
        }
    });
    EXPECT_NE(pool.run([] { return ::getpid(); }), pid);
}

// --- terminated ---------------------------------------------------------------------------------

/// In a worker: tells its pid, and waits until it is asked to end.
void wait_to_be_asked(std::string path) {
    sigset_t asked;
    sigemptyset(&asked);
    sigaddset(&asked, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &asked, nullptr);
    Messenger::tell(path, ::getpid());
    int number = 0;
    ::sigwait(&asked, &number);
}

TEST(ProcessTerminated, LetsAWorkerTidyUpThatIsAskedToEnd) {
    ProcessPool pool{{.workers = 1, .escalation = {.terminate = 1h}}};
    Runs runs;
    Messenger messenger;
    weft::run([&] {
        auto call = weft::create_task([&] {
            pool.run(
                [](std::string path, std::string tidied) {
                    wait_to_be_asked(path);
                    Runs::add(tidied);
                    ::_exit(0);
                },
                messenger.path(), runs.path());
        });
        Watched worker(weft::to_thread([&] { return messenger.hear(); }));
        call.cancel();
        EXPECT_THROW(weft::await(call), weft::CancelledError);
        EXPECT_TRUE(weft::to_thread([&] { return worker.ends(); }));
    });
    EXPECT_EQ(runs.count(), 1);
}

void ignore_the_question(std::string path) {
    ::signal(SIGTERM, SIG_IGN);
    Messenger::tell(path, ::getpid());
    hang();
}

TEST(ProcessTerminated, IsNotWaitedForByTheCallerNorByTheNextCall) {
    ProcessPool pool{{.workers = 1, .escalation = {.terminate = 1h}}};
    pid_t pid = cancel_in_the_middle(pool, [](std::string path) { ignore_the_question(path); });
    Watched worker(pid);
    EXPECT_NE(pool.run([] { return ::getpid(); }), pid);
    EXPECT_TRUE(worker.lives());
    pool.shutdown(weft::Shutdown::kill);
    EXPECT_TRUE(worker.ends()) << "the end of the pool has no grace";
}

TEST(ProcessTerminated, EndsInSigkill) {
    ProcessPool pool{{.workers = 1, .escalation = {.terminate = 10ms}}};
    Messenger messenger;
    weft::run([&] {
        auto call = weft::create_task([&] { pool.run<&ignore_the_question>(messenger.path()); });
        Watched worker(weft::to_thread([&] { return messenger.hear(); }));
        call.cancel();
        EXPECT_THROW(weft::await(call), weft::CancelledError);
        EXPECT_TRUE(weft::to_thread([&] { return worker.ends(); }));
    });
}

TEST(ProcessTerminated, IsOverWhenTheCallReturns) {
    ProcessPool pool{{.workers = 1, .escalation = {.terminate = 1h}}};
    Messenger messenger;
    weft::run([&] {
        auto call = weft::create_task([&] { pool.run<&wait_to_be_asked>(messenger.path()); });
        Watched worker(weft::to_thread([&] { return messenger.hear(); }));
        call.cancel();
        EXPECT_THROW(weft::await(call), weft::CancelledError);
        EXPECT_TRUE(weft::to_thread([&] { return worker.ends(); }));
    });
    EXPECT_EQ(pool.run([] { return 1; }), 1);
}

TEST(ProcessTerminated, AreNoMoreThanThePoolHasWorkers) {
    ProcessPool pool{{.workers = 2, .escalation = {.terminate = 1h}}};
    auto ignore = [](std::string path) { ignore_the_question(path); };
    Watched first(cancel_in_the_middle(pool, ignore));
    Watched second(cancel_in_the_middle(pool, ignore));
    EXPECT_TRUE(first.lives());
    Watched third(cancel_in_the_middle(pool, ignore));
    EXPECT_TRUE(first.ends()) << "the oldest";
    EXPECT_TRUE(second.lives());
    EXPECT_TRUE(third.lives());
}

}  // namespace
