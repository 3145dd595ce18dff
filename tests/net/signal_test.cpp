// Signals as a queue and as handlers: who gets them, what they replace, and that all is as before when nobody wants them.
#include <atomic>
#include <climits>
#include <csignal>
#include <fstream>
#include <random>
#include <stdexcept>

#include "net_support.hpp"

namespace weft::test {

namespace {

void (*action_of(int signal))(int) {
    struct sigaction now{};
    ::sigaction(signal, nullptr, &now);
    return now.sa_handler;
}

class SignalTest : public OnSockets {
protected:
    void SetUp() override {
        OnSockets::SetUp();
        // A shell starts what runs in the background with SIGINT ignored.
        std::signal(SIGINT, SIG_DFL);
    }
    void TearDown() override {
        OnSockets::TearDown();
        for (int signal : {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGINT})
            EXPECT_EQ(action_of(signal), SIG_DFL) << "signal " << signal;
    }
};
WEFT_TEST_ON_THREADS(SignalTest);

// --- the queue ----------------------------------------------------------------------------------------------------

TEST_P(SignalTest, GetGivesASignalThatCameBefore) {
    run([] {
        SignalQueue queue = signals({SIGUSR1, SIGUSR2});
        std::raise(SIGUSR2);
        EXPECT_EQ(queue.get(), SIGUSR2);
        std::raise(SIGUSR1);
        EXPECT_EQ(queue.get(), SIGUSR1);
    });
}

/// Whether each thread of the process but the caller sleeps in the kernel.
bool all_others_sleep() {
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        if (thread.path().filename() == std::to_string(::gettid())) continue;
        std::string stat;
        std::getline(std::ifstream(thread.path() / "stat"), stat);
        std::size_t name_ends = stat.rfind(") ");
        if (name_ends != std::string::npos && stat[name_ends + 2] != 'S') return false;
    }
    return true;
}

TEST_P(SignalTest, OneFromOutsideIsHeardByAnIdleRuntime) {
    run([] {
        SignalQueue queue = signals({SIGUSR1});
        for (int i = 0; i < 10; ++i) {
            std::jthread outside([] {
                sigset_t one;
                sigemptyset(&one);
                sigaddset(&one, SIGUSR1);
                pthread_sigmask(SIG_BLOCK, &one, nullptr);
                while (!all_others_sleep()) std::this_thread::yield();
                ::kill(::getpid(), SIGUSR1);
            });
            EXPECT_EQ(timeout(20s, [&] { return queue.get(); }), SIGUSR1);
        }
    });
}

TEST_P(SignalTest, OnesThatComeAtAnyMomentAreEachHeard) {
    // Each is sent when the one before has been heard, a different while after that: also as the reader is about to wait.
    constexpr int kSignals = 1500;
    std::atomic<int> heard{0};
    std::jthread outside;
    run([&] {
        SignalQueue queue = signals({SIGUSR1});
        outside = std::jthread([&] {
            sigset_t one;
            sigemptyset(&one);
            sigaddset(&one, SIGUSR1);
            pthread_sigmask(SIG_BLOCK, &one, nullptr);
            std::minstd_rand random(7);
            for (int sent = 0; sent < kSignals; ++sent) {
                while (heard.load() < sent) std::this_thread::yield();
                for (unsigned turns = random() % 20'000; turns > 0; --turns) asm volatile("");
                if (heard.load() == INT_MAX) return;
                ::kill(::getpid(), SIGUSR1);
            }
        });
        for (int number = 0; number < kSignals; ++number) {
            try {
                timeout(20s, [&] { queue.get(); });
            } catch (const TimeoutError&) {
                ADD_FAILURE() << "signal " << number << " was not heard";
                heard = INT_MAX;
                return;
            }
            heard = number + 1;
        }
    });
}

TEST_P(SignalTest, GetWaitsForOneThatComes) {
    run([] {
        SignalQueue queue = signals({SIGUSR1});
        for (int i = 0; i < 3; ++i) {
            auto waiter = create_task([&] { return queue.get(); });
            settle();
            EXPECT_FALSE(waiter.done());
            std::raise(SIGUSR1);
            EXPECT_EQ(await(waiter), SIGUSR1);
        }
    });
}

TEST_P(SignalTest, EachSubscriberGetsItAndNoOther) {
    run([] {
        SignalQueue first = signals({SIGUSR1, SIGUSR2});
        SignalQueue second = signals({SIGUSR1});
        SignalQueue third = signals({SIGUSR2});
        std::raise(SIGUSR1);
        EXPECT_EQ(first.get(), SIGUSR1);
        EXPECT_EQ(second.get(), SIGUSR1);
        auto waiter = create_task([&] { return third.get(); });
        settle();
        EXPECT_FALSE(waiter.done());
        second.close();  // in the middle of the list
        std::raise(SIGUSR2);
        EXPECT_EQ(await(waiter), SIGUSR2);
        EXPECT_EQ(first.get(), SIGUSR2);
    });
}

TEST_P(SignalTest, SeveralOfOneNumberAreMergedAndTheLowestComesFirst) {
    run([] {
        SignalQueue queue = signals({SIGUSR1, SIGUSR2});
        for (int signal : {SIGUSR2, SIGUSR1, SIGUSR2, SIGUSR1}) std::raise(signal);
        EXPECT_EQ(queue.get(), SIGUSR1);
        EXPECT_EQ(queue.get(), SIGUSR2);
        auto waiter = create_task([&] { return queue.get(); });
        settle();
        EXPECT_FALSE(waiter.done());
        waiter.cancel();
    });
}

TEST_P(SignalTest, ACancelledGetLosesNone) {
    run([this] {
        SignalQueue queue = signals({SIGUSR1});
        int got = 0;
        auto waiter = create_task([&] { got = queue.get(); });
        settle();
        std::raise(SIGUSR1);
        waiter.cancel();
        try {
            await(waiter);
            EXPECT_FALSE(alone());
        } catch (const CancelledError&) {
            // On another worker get() may have been faster, and the cancel may have met the task on its way out (cancel-7).
            if (got == 0) got = queue.get();
        }
        EXPECT_EQ(got, SIGUSR1);
    });
}

TEST_P(SignalTest, ALoopOverAQueueEndsWhenItIsClosed) {
    run([] {
        SignalQueue queue = signals({SIGUSR1});
        int n = 0;
        std::raise(SIGUSR1);
        for (int signal : queue) {
            EXPECT_EQ(signal, SIGUSR1);
            if (++n == 3)
                queue.close();
            else
                std::raise(SIGUSR1);
        }
        EXPECT_EQ(n, 3);
        EXPECT_THROW(queue.get(), QueueShutDown);
        EXPECT_THROW(SignalQueue().get(), QueueShutDown);
    });
}

TEST_P(SignalTest, ClosingEndsAWait) {
    run([] {
        SignalQueue queue = signals({SIGUSR1});
        auto waiter = create_task([&] { queue.get(); });
        settle();
        queue.close();
        EXPECT_THROW(await(waiter), QueueShutDown);
    });
}

TEST_P(SignalTest, AQueueCanBeMoved) {
    run([] {
        SignalQueue queue = signals({SIGUSR1});
        SignalQueue other = signals({SIGUSR2});
        other = std::move(queue);
        EXPECT_EQ(action_of(SIGUSR2), SIG_DFL);
        std::raise(SIGUSR1);
        EXPECT_EQ(other.get(), SIGUSR1);
    });
}

TEST_P(SignalTest, WhatNobodyCanWaitForIsRefused) {
    run([] {
        for (int signal : {SIGKILL, SIGSTOP, SIGSEGV, 0, -1, 65, 1000, 32}) {
            EXPECT_THROW(signals({signal}), std::invalid_argument);
            EXPECT_THROW(signals({SIGUSR1, signal}), std::invalid_argument);
            EXPECT_THROW(on_signal(signal, [] {}), std::invalid_argument);
        }
        EXPECT_THROW(signals({}), std::invalid_argument);
        signals({SIGRTMIN, SIGRTMAX});
    });
    EXPECT_THROW(signals({SIGUSR1}), UsageError);
    EXPECT_THROW(on_signal(SIGUSR1, [] {}), UsageError);
}

// --- what was there before ----------------------------------------------------------------------------------------

std::atomic<int> caught{0};

TEST_P(SignalTest, TheProgramsOwnHandlerIsBackAfterTheLastSubscriber) {
    caught = 0;
    std::signal(SIGUSR1, [](int) { ++caught; });
    auto own = action_of(SIGUSR1);
    run([&] {
        SignalQueue first = signals({SIGUSR1});
        SignalQueue second = signals({SIGUSR1});
        std::raise(SIGUSR1);
        first.close();
        std::raise(SIGUSR1);
        EXPECT_EQ(caught.load(), 0);
        second.close();
        EXPECT_EQ(action_of(SIGUSR1), own);
        std::raise(SIGUSR1);
        EXPECT_EQ(caught.load(), 1);
        // One that came meanwhile stays.
        SignalQueue third = signals({SIGUSR1});
        std::signal(SIGUSR1, SIG_IGN);
        third.close();
        EXPECT_EQ(action_of(SIGUSR1), SIG_IGN);
    });
    std::signal(SIGUSR1, SIG_DFL);
}

TEST_P(SignalTest, OfSigintRunsOwnHandlerIsBackAfterTheLastSubscriber) {
    bool got = false;
    auto main = [&] {
        {
            SignalQueue queue = signals({SIGINT});
            std::raise(SIGINT);
            EXPECT_EQ(queue.get(), SIGINT);
            weft::yield();
            got = true;
        }
        std::raise(SIGINT);
        for (;;) weft::yield();
    };
    EXPECT_THROW(weft::run(main, options()), KeyboardInterrupt);
    EXPECT_TRUE(got);
}

TEST_P(SignalTest, ASubscriberOfSigintMayOutliveARunAndPrecedeAnother) {
    Runtime runtime({.workers = 1});
    SignalQueue queue;
    auto subscribe = [&] { queue = signals({SIGINT}); };
    // The run has put its handler there before.
    run([&] { runtime.submit(subscribe).result(); });
    runtime.submit([&] { queue.close(); }).result();
    EXPECT_EQ(action_of(SIGINT), SIG_DFL);
    // And here after.
    runtime.submit(subscribe).result();
    auto main = [&] {
        std::raise(SIGINT);
        EXPECT_EQ(runtime.submit([&] { return queue.get(); }).result(), SIGINT);
        runtime.submit([&] { queue.close(); }).result();
        std::raise(SIGINT);
        for (;;) weft::yield();
    };
    EXPECT_THROW(weft::run(main, options()), KeyboardInterrupt);
    runtime.shutdown(5s);
}

// --- handlers -----------------------------------------------------------------------------------------------------

TEST_P(SignalTest, AHandlerIsCalledEachTime) {
    run([] {
        Queue<int> calls;
        on_signal(SIGUSR1, [&] { calls.put(1); });
        on_signal(SIGUSR2, [&](int signal) { calls.put(signal); });
        for (int i = 0; i < 3; ++i) {
            std::raise(SIGUSR1);
            EXPECT_EQ(calls.get(), 1);
        }
        std::raise(SIGUSR2);
        EXPECT_EQ(calls.get(), SIGUSR2);
        EXPECT_TRUE(remove_signal_handler(SIGUSR1));
        EXPECT_EQ(action_of(SIGUSR1), SIG_DFL);
        EXPECT_FALSE(remove_signal_handler(SIGUSR1));
        EXPECT_FALSE(remove_signal_handler(SIGHUP));
        EXPECT_FALSE(remove_signal_handler(-1));
        // The other one goes with the run.
    });
}

TEST_P(SignalTest, ASecondHandlerReplacesTheFirst) {
    run([] {
        Queue<std::string> calls;
        on_signal(SIGUSR1, [&] { calls.put("first"); });
        on_signal(SIGUSR1, [&] { calls.put("second"); });
        std::raise(SIGUSR1);
        EXPECT_EQ(calls.get(), "second");
        settle();
        EXPECT_TRUE(calls.empty());
        EXPECT_TRUE(remove_signal_handler(SIGUSR1));
        EXPECT_FALSE(remove_signal_handler(SIGUSR1));
    });
}

TEST_P(SignalTest, AHandlerThatFailsIsReportedAndCalledAgain) {
    Reports reports;
    RunOptions with = options();
    with.exception_handler = reports.handler();
    weft::run(
        [] {
            Queue<int> calls;
            on_signal(SIGUSR1, [&, n = 0]() mutable {
                calls.put(++n);
                if (n == 1) throw std::runtime_error("oh");
            });
            std::raise(SIGUSR1);
            EXPECT_EQ(calls.get(), 1);
            std::raise(SIGUSR1);
            EXPECT_EQ(calls.get(), 2);
            remove_signal_handler(SIGUSR1);
        },
        with);
    auto texts = reports.take();
    ASSERT_EQ(texts.size(), 1U);
    EXPECT_EQ(texts[0], "the handler of signal 10 failed | oh");
}

TEST_P(SignalTest, AHandlerMayRemoveItself) {
    run([] {
        Event removed;
        on_signal(SIGUSR1, [&] {
            EXPECT_TRUE(remove_signal_handler(SIGUSR1));
            weft::yield();
            removed.set();
        });
        std::raise(SIGUSR1);
        removed.wait();
    });
}

TEST_P(SignalTest, EachRuntimeHasItsHandlers) {
    Runtime runtime({.workers = 1});
    std::atomic<int> there{0};
    runtime.submit([&] { on_signal(SIGUSR1, [&] { ++there; }); }).result();
    run([&] {
        Event here;
        on_signal(SIGUSR1, [&] { here.set(); });
        std::raise(SIGUSR1);
        here.wait();
        while (there.load() == 0) weft::yield();
        EXPECT_TRUE(remove_signal_handler(SIGUSR1));
        EXPECT_FALSE(remove_signal_handler(SIGUSR1));
    });
    EXPECT_NE(action_of(SIGUSR1), SIG_DFL);
    EXPECT_TRUE(runtime.submit([] { return remove_signal_handler(SIGUSR1); }).result());
    runtime.shutdown(5s);
}

// --- while signals come -------------------------------------------------------------------------------------------

// The handler is in progress on other threads as subscriptions come and go.
TEST_P(SignalTest, SubscribersMayComeAndGoInAFloodOfSignals) {
    std::signal(SIGUSR1, SIG_IGN);
    run([] {
        std::atomic<bool> stop{false};
        std::vector<std::thread> threads;
        for (int i = 0; i < 2; ++i)
            threads.emplace_back([&] {
                while (!stop.load()) std::raise(SIGUSR1);
            });
        auto come_and_go = [] {
            for (int i = 0; i < 50; ++i) {
                SignalQueue first = signals({SIGUSR1});
                SignalQueue second = signals({SIGUSR1, SIGUSR2});
                EXPECT_EQ(first.get(), SIGUSR1);
                first.close();
                EXPECT_EQ(second.get(), SIGUSR1);
            }
        };
        auto other = create_task(come_and_go);
        come_and_go();
        await(other);
        stop = true;
        for (std::thread& thread : threads) thread.join();
    });
    EXPECT_EQ(std::signal(SIGUSR1, SIG_DFL), SIG_IGN);
}

}  // namespace

}  // namespace weft::test
