// How many processors there are for us.
#include "sys.hpp"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>
#include <sched.h>

namespace weft::rt::sys {
namespace {

TEST(Sys, AvailableCoresRespectsTheAffinityMask) {
    unsigned all = available_cores();
    EXPECT_GE(all, 1u);
    unsigned on_one = 0;
    // The mask is a thread's: this test's own thread keeps its own.
    std::thread pinned([&] {
        cpu_set_t mine;
        sched_getaffinity(0, sizeof mine, &mine);
        int first = 0;
        while (!CPU_ISSET(first, &mine)) ++first;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(first, &one);
        ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
        on_one = available_cores();
    });
    pinned.join();
    EXPECT_EQ(on_one, 1u);
    EXPECT_EQ(available_cores(), all);
}

TEST(Sys, AFutexWaitEndsAtItsDeadline) {
    std::atomic<std::uint32_t> word{1};
    auto soon = TimePoint(std::chrono::steady_clock::now()) + std::chrono::milliseconds(2);
    while (futex_wait_until(word, 1, soon)) {
    }
    EXPECT_GE(TimePoint(std::chrono::steady_clock::now()), soon);
    EXPECT_TRUE(futex_wait_until(word, 0, lowlevel::kNever)) << "another value: it does not wait";
}

}  // namespace
}  // namespace weft::rt::sys
