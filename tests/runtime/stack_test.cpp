// Stacks: reused, guarded in each of the three ways, and found again by an address.
#include "stack.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <set>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "sanitizers.hpp"
#include "support/deny_call.hpp"
#include "sys.hpp"

namespace weft::rt {
namespace {

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kPage = 4 * kKiB;

/// Without a handler of AddressSanitizer's, and without a core file for a fault that is wanted.
void fault_plainly() {
    std::signal(SIGSEGV, SIG_DFL);
    std::signal(SIGBUS, SIG_DFL);
    rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
}

std::size_t resident_pages(const Stack& stack) {
    std::vector<unsigned char> pages((stack.size() + kPage - 1) / kPage);
    EXPECT_EQ(mincore(stack.limit, stack.size(), pages.data()), 0);
    std::size_t n = 0;
    for (unsigned char page : pages) n += page & 1u;
    return n;
}

TEST(Stack, HasTheBytesThatWereAskedForAndAllOfThemCanBeUsed) {
    StackPool& pool = StackPool::instance();
    std::size_t before = pool.live();
    for (std::size_t bytes : {std::size_t{1}, 16 * kKiB, 256 * kKiB, 300 * kKiB + 1}) {
        Stack* stack = pool.take(bytes);
        // Less some lines that keep stacks out of each other's way in the cache.
        EXPECT_GE(stack->size() + kPage, bytes);
        EXPECT_LT(stack->size(), bytes + kPage);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(stack->limit) % kPage, 0u);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(stack->top) % 64, 0u);
        std::memset(stack->limit, 0x5a, stack->size());
        EXPECT_EQ(pool.live(), before + 1);
        pool.give(stack);
    }
    EXPECT_EQ(pool.live(), before);
}

TEST(Stack, TheHottestOfTheSameSizeIsReused) {
    StackPool& pool = StackPool::instance();
    Stack* first = pool.take(64 * kKiB);
    Stack* second = pool.take(64 * kKiB);
    Stack* other = pool.take(32 * kKiB);
    pool.give(first);
    pool.give(other);
    EXPECT_EQ(pool.take(64 * kKiB), first);
    pool.give(first);
    pool.give(second);
    EXPECT_EQ(pool.take(64 * kKiB), second);
    pool.give(second);
}

TEST(Stack, IsFoundByItsOwnAddressesAndThoseOfItsGuard) {
    StackPool& pool = StackPool::instance();
    Stack* stack = pool.take(64 * kKiB);
    EXPECT_EQ(pool.find(stack->limit), stack);
    EXPECT_EQ(pool.find(stack->top - 1), stack);
    EXPECT_EQ(pool.find(stack->limit - 1), stack) << "the guard belongs to the stack above it";
    EXPECT_EQ(pool.find(stack->limit - stack->guard_bytes), stack);
    EXPECT_NE(pool.find(stack->limit - stack->guard_bytes - 1), stack);
    int local = 0;
    EXPECT_EQ(pool.find(&local), nullptr);
    EXPECT_EQ(pool.find(nullptr), nullptr);
    pool.give(stack);
}

TEST(Stack, TrimGivesThePagesOfUnusedSlabsBack) {
    constexpr std::size_t kBytes = 48 * kKiB;  // a size that nobody else uses
    StackPool& pool = StackPool::instance();
    std::vector<Stack*> stacks;
    for (int i = 0; i < 64; ++i) {
        stacks.push_back(pool.take(kBytes));
        std::memset(stacks.back()->limit, 1, kBytes);
        stacks.back()->touched = true;
    }
    for (Stack* stack : stacks) pool.give(stack);
    EXPECT_EQ(resident_pages(*stacks[0]), kBytes / kPage) << "a hot stack keeps its pages";
    pool.trim();
    std::size_t left = 0;
    for (Stack* stack : stacks) left += resident_pages(*stack);
    EXPECT_LE(left, 64u) << "at most a canary's page each";
}

TEST(Stack, ManyMoreThanHalfTheMapLimitCanBeHad) {
    std::size_t n = WEFT_ASAN || WEFT_TSAN ? 2'000 : 100'000;
    StackPool& pool = StackPool::instance();
    std::vector<Stack*> stacks;
    for (std::size_t i = 0; i < n; ++i) stacks.push_back(pool.take(16 * kKiB));
    std::set<Stack*> distinct(stacks.begin(), stacks.end());
    EXPECT_EQ(distinct.size(), n);
    for (Stack* stack : stacks) pool.give(stack);
}

class StackDeathTest : public testing::Test {
protected:
    // Each in a program of its own: the pool looks once, for the whole process, what the kernel can do.
    StackDeathTest() { testing::FLAGS_gtest_death_test_style = "threadsafe"; }

    static void write_below(std::size_t distance) {
        fault_plainly();
        Stack* stack = StackPool::instance().take(64 * kKiB);
        *static_cast<volatile char*>(reinterpret_cast<char*>(stack->limit) - distance) = 1;
        std::puts("survived");
    }
    static void without_light_guards() { test_support::deny_call(SYS_madvise, 102, EINVAL); }
    static void without_mprotect_guards() {
        test_support::deny_call(SYS_mprotect, PROT_NONE, ENOMEM);
    }
};

TEST_F(StackDeathTest, AWriteIntoTheGuardFaults) {
    if (StackPool::instance().guard_kind() == GuardKind::canary)
        GTEST_SKIP() << "no guard pages here";
    EXPECT_EXIT(write_below(1), testing::KilledBySignal(SIGSEGV), "");
    EXPECT_EXIT(write_below(16 * kPage), testing::KilledBySignal(SIGSEGV), "");
}

TEST_F(StackDeathTest, AnOlderKernelGetsMprotectGuardsAndOneLineThatSaysSo) {
    EXPECT_EXIT(
        {
            without_light_guards();
            EXPECT_EQ(StackPool::instance().guard_kind(), GuardKind::mprotect);
            write_below(1);
        },
        testing::KilledBySignal(SIGSEGV), "no light-weight guard pages");
}

// AddressSanitizer needs mprotect itself.
TEST_F(StackDeathTest, AnOverwrittenCanaryIsFoundWhenTheStackIsGivenBack) {
    if (WEFT_ASAN) GTEST_SKIP();
    EXPECT_DEATH(
        {
            without_light_guards();
            without_mprotect_guards();
            Stack* stack = StackPool::instance().take(64 * kKiB);
            if (!stack->has_canary) std::_Exit(0);
            *reinterpret_cast<volatile char*>(stack->limit) = 1;
            StackPool::instance().give(stack);
        },
        "further stacks have canaries[^!]*canary below a task's stack was overwritten");
}

TEST_F(StackDeathTest, ACanaryThatIsWholeIsNoReport) {
    if (WEFT_ASAN) GTEST_SKIP();
    EXPECT_EXIT(
        {
            without_light_guards();
            without_mprotect_guards();
            StackPool& pool = StackPool::instance();
            for (int i = 0; i < 200; ++i) {
                Stack* stack = pool.take(64 * kKiB);
                std::memset(stack->limit + 64, 1, stack->size() - 64);
                pool.give(stack);
            }
            pool.trim();
            pool.give(pool.take(64 * kKiB));
            std::_Exit(0);
        },
        testing::ExitedWithCode(0), "");
}

TEST_F(StackDeathTest, MprotectGuardsEndAtAQuarterOfTheMapLimit) {
    EXPECT_EXIT(
        {
            without_light_guards();
            StackPool& pool = StackPool::instance();
            std::size_t n = sys::max_map_count() / 4;
            if (WEFT_ASAN || WEFT_TSAN || n > 100'000) std::_Exit(0);
            std::size_t canaries = 0;
            for (std::size_t i = 0; i < n; ++i) canaries += pool.take(16 * kKiB)->has_canary;
            // Half of them, since each guard splits a mapping in two; and the process can still map memory.
            bool right = canaries > n / 3 && canaries < n * 2 / 3;
            std::_Exit(right && sys::map_stack_memory(kPage) != nullptr ? 0 : 1);
        },
        testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace weft::rt
