// What weft itself keeps per thread is right after every wait, on whatever thread a task goes on: also where the
// compiler has kept the address of a thread_local over the switch. Built at several levels of optimisation.
//
// A program's own thread_local variables and errno are not promised: their addresses may be those of the thread before
// (measured: g++ -O2 in 2 of 3 switches, errno always). weft's calls therefore never report by errno.
#include <weft/weft.hpp>

#include <cerrno>
#include <string>

#include <gtest/gtest.h>

#include "support/migrate.hpp"
#include "sys.hpp"

#ifndef WEFT_SUITE
#define WEFT_SUITE ThreadLocal
#endif

namespace {

using weft::test_support::migrate;

constexpr int kMoves = 20;

[[gnu::always_inline]] inline std::string name_here() { return weft::current_task().get_name(); }

TEST(WEFT_SUITE, TheCurrentTaskStaysTheSame) {
    weft::run(
        [] {
            weft::task_group([](weft::TaskGroup& group) {
                for (std::string name : {"a", "b", "c"})
                    group.create_task(
                        [name] {
                            for (int i = 0; i < kMoves; ++i) {
                                EXPECT_EQ(name_here(), name);
                                migrate();
                                EXPECT_EQ(name_here(), name);
                            }
                        },
                        {.name = name});
            });
        },
        {.workers = 2});
    EXPECT_FALSE(weft::lowlevel::in_task());
}

TEST(WEFT_SUITE, ContextVariablesMoveWithTheTask) {
    static weft::ContextVar<int> variable{"variable", -1};
    weft::run(
        [] {
            weft::task_group([](weft::TaskGroup& group) {
                for (int number = 0; number < 3; ++number)
                    group.create_task([number] {
                        EXPECT_EQ(variable.get(), -1);
                        variable.set(number);
                        for (int i = 0; i < kMoves; ++i) {
                            migrate();
                            EXPECT_EQ(variable.get(), number);
                            variable.set(number);
                        }
                    });
            });
        },
        {.workers = 2});
}

TEST(WEFT_SUITE, ErrorsOfSystemCallsAreThoseOfTheCall) {
    weft::run(
        [] {
            for (int i = 0; i < kMoves; ++i) {
                errno = ENOTTY;  // the address of errno is known before the move
                migrate();
                EXPECT_EQ(weft::rt::sys::epoll_add(-1, -1, 0, 0), -EBADF);
            }
        },
        {.workers = 2});
}

TEST(WEFT_SUITE, TheWorkerIsTheOneThatRunsTheTask) {
    weft::run(
        [] {
            for (int i = 0; i < kMoves; ++i) {
                unsigned before = weft::test_support::worker_id();
                migrate();
                EXPECT_NE(weft::test_support::worker_id(), before);
                // What it starts goes to the queue that is its own now.
                auto task = weft::create_task([] { return weft::test_support::worker_id(); });
                EXPECT_LT(weft::await(task), 2u);
            }
        },
        {.workers = 2});
}

}  // namespace
