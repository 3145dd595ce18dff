// SIGINT, as asyncio.Runner has it: the first one cancels main, the second one ends the process.
#include <csignal>
#include <stdexcept>

#include "api/core_support.hpp"
#include "sanitizers.hpp"

namespace weft::test {

namespace {

class InterruptTest : public Everywhere {
protected:
    void SetUp() override {
        Everywhere::SetUp();
        // A shell starts what runs in the background with SIGINT ignored.
        std::signal(SIGINT, SIG_DFL);
    }
    void TearDown() override {
        Everywhere::TearDown();
        EXPECT_EQ(std::signal(SIGINT, SIG_DFL), SIG_DFL) << "SIGINT has not its default action";
    }
};
WEFT_TEST_ON_THREADS(InterruptTest);

/// ThreadSanitizer keeps a signal from a thread that sleeps in the kernel until the thread calls something that it
/// knows, which a worker's futex is not; one that a thread sends itself it delivers at once.
void send_sigint() {
#if WEFT_TSAN
    std::raise(SIGINT);
#else
    ::kill(::getpid(), SIGINT);
#endif
}

/// Sends SIGINT to the process when the main task waits.
template <class F>
void interrupt_when_it_waits(F&& wait) {
    auto sender = create_task([self = current_task()] {
        while (self.core()->word.parked() == false) weft::yield();
        send_sigint();
    });
    wait();
}

TEST_P(InterruptTest, TheFirstOneCancelsMainAndRunThrows) {
    bool cleaned_up = false;
    auto main = [&] {
        try {
            interrupt_when_it_waits([] { wait_for_ever(); });
        } catch (const CancelledError&) {
            weft::sleep(1ms);
            cleaned_up = true;
            throw;
        }
    };
    EXPECT_THROW(weft::run(main, options()), KeyboardInterrupt);
    EXPECT_TRUE(cleaned_up);
}

TEST_P(InterruptTest, ItReachesAMainThatTakesTurnsAndOneThatAwaits) {
    EXPECT_THROW(weft::run(
                     [] {
                         std::raise(SIGINT);
                         for (;;) weft::yield();
                     },
                     options()),
                 KeyboardInterrupt);
    EXPECT_THROW(
        weft::run([] { await(create_task([] { interrupt_when_it_waits(wait_for_ever); })); },
                  options()),
        KeyboardInterrupt);
}

TEST_P(InterruptTest, LeftoverTasksAreEnded) {
    bool ended = false;
    EXPECT_THROW(weft::run(
                     [&] {
                         auto leftover = create_task([&] {
                             try {
                                 wait_for_ever();
                             } catch (const CancelledError&) {
                                 ended = true;
                                 throw;
                             }
                         });
                         settle();
                         std::raise(SIGINT);
                         wait_for_ever();
                     },
                     options()),
                 KeyboardInterrupt);
    EXPECT_TRUE(ended);
}

TEST_P(InterruptTest, AMainThatEndsAllTheSameGivesItsValue) {
    int value = weft::run(
        [] {
            try {
                std::raise(SIGINT);
                wait_for_ever();
            } catch (const CancelledError&) {
            }
            return 42;
        },
        options());
    EXPECT_EQ(value, 42);
    EXPECT_EQ(what_of([&] {
                  weft::run(
                      [] {
                          try {
                              std::raise(SIGINT);
                              wait_for_ever();
                          } catch (const CancelledError&) {
                              throw std::runtime_error("instead");
                          }
                      },
                      options());
              }),
              "instead");
}

TEST_P(InterruptTest, ACancelOfAnotherKindStaysOne) {
    EXPECT_EQ(cancel_message_of([&] {
                  weft::run(
                      [] {
                          std::raise(SIGINT);
                          try {
                              wait_for_ever();
                          } catch (const CancelledError&) {
                          }
                          current_task().cancel("by hand");
                          weft::yield();
                      },
                      options());
              }),
              "by hand");
}

TEST_P(InterruptTest, ARunnerMeetsOneInEachRun) {
    Runner runner(options());
    for (int i = 0; i < 2; ++i)
        EXPECT_THROW(runner.run([] {
            std::raise(SIGINT);
            wait_for_ever();
        }),
                     KeyboardInterrupt);
    EXPECT_EQ(runner.run([] { return 1; }), 1);
    runner.close();
}

TEST_P(InterruptTest, AHandlerOfTheProgramIsLeftAlone) {
    static std::atomic<int> called;
    called = 0;
    std::signal(SIGINT, [](int) { ++called; });
    weft::run([] { std::raise(SIGINT); }, options());
    EXPECT_EQ(called, 1);
    std::signal(SIGINT, SIG_DFL);
}

// The kernel keeps the flags of a handler that it resets, SA_SIGINFO among them.
TEST_P(InterruptTest, AHandlerThatWasResetAsItFiredIsNone) {
    struct sigaction once{};
    once.sa_sigaction = [](int, siginfo_t*, void*) {};
    once.sa_flags = static_cast<int>(SA_RESETHAND) | SA_SIGINFO;
    ::sigaction(SIGINT, &once, nullptr);
    std::raise(SIGINT);
    EXPECT_THROW(weft::run(
                     [] {
                         std::raise(SIGINT);
                         wait_for_ever();
                     },
                     options()),
                 KeyboardInterrupt);
}

TEST_P(InterruptTest, OneThatIsInstalledMeanwhileStays) {
    auto ours = [](int) {};
    weft::run([&] { std::signal(SIGINT, ours); }, options());
    EXPECT_EQ(std::signal(SIGINT, SIG_DFL), static_cast<void (*)(int)>(ours));
}

TEST_P(InterruptTest, NothingIsInstalledOnAnotherThread) {
    std::thread([&] {
        weft::run(
            [] {
                struct sigaction now{};
                ::sigaction(SIGINT, nullptr, &now);
                EXPECT_EQ(now.sa_handler, SIG_DFL);
            },
            options());
    }).join();
}

#if !WEFT_TSAN  // which has no threads in a child that was forked beside others
TEST_P(InterruptTest, TheSecondOneEndsTheProcess) {
    auto twice = [&] {
        weft::run(
            [] {
                std::raise(SIGINT);
                std::raise(SIGINT);
            },
            options());
    };
    EXPECT_EXIT(twice(), ::testing::KilledBySignal(SIGINT), "");
}

TEST_P(InterruptTest, UncaughtItEndsTheProcessBySigint) {
    // From a thread, since GoogleTest catches what leaves this one.
    auto uncaught = [] { std::thread([] { detail::throw_keyboard_interrupt(); }).join(); };
    EXPECT_EXIT(uncaught(), ::testing::KilledBySignal(SIGINT), "");
}
#endif

TEST_P(InterruptTest, ATaskGroupThrowsItBare) {
    run([] {
        EXPECT_THROW(task_group([](TaskGroup& tg) {
                         tg.create_task([] { throw KeyboardInterrupt(); });
                         tg.create_task(wait_for_ever);
                     }),
                     KeyboardInterrupt);
        EXPECT_THROW(task_group([](TaskGroup& tg) {
                         tg.create_task(wait_for_ever);
                         throw KeyboardInterrupt();
                     }),
                     KeyboardInterrupt);
    });
}

TEST_P(InterruptTest, OneThatCameAsMainComputedIsNotLost) {
    EXPECT_THROW(weft::run(
                     [] {
                         std::raise(SIGINT);
                         return 42;
                     },
                     options()),
                 KeyboardInterrupt);
    EXPECT_EQ(what_of([&] {
                  weft::run(
                      [] {
                          std::raise(SIGINT);
                          throw std::runtime_error("main's own");
                      },
                      options());
              }),
              "main's own");
}

}  // namespace

}  // namespace weft::test
