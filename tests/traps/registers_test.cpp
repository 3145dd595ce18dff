// What the processor keeps for a task: rounding mode and other control bits, alignment of the stack, the end of a
// backtrace.
#include <cfenv>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <execinfo.h>
#include <gtest/gtest.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <weft/weft.hpp>

#include "support/migrate.hpp"

namespace {

using weft::test_support::migrate;

TEST(Registers, TheRoundingModeIsTheTasksOwn) {
    std::fesetround(FE_TONEAREST);
    weft::run(
        [] {
            weft::task_group([](weft::TaskGroup& group) {
                for (int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO})
                    group.create_task([mode] {
                        std::fesetround(mode);
                        for (int i = 0; i < 10; ++i) {
                            migrate();
                            EXPECT_EQ(std::fegetround(), mode);
                        }
                        std::fesetround(FE_TONEAREST);
                    });
                group.create_task([] {
                    for (int i = 0; i < 10; ++i) {
                        EXPECT_EQ(std::fegetround(), FE_TONEAREST);
                        migrate();
                    }
                });
            });
        },
        {.workers = 2});
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
}

#if defined(__x86_64__)
TEST(Registers, FlushToZeroIsTheTasksOwn) {
    weft::run(
        [] {
            weft::task_group([](weft::TaskGroup& group) {
                for (unsigned mode : {_MM_FLUSH_ZERO_ON, _MM_FLUSH_ZERO_OFF})
                    group.create_task([mode] {
                        unsigned before = _MM_GET_FLUSH_ZERO_MODE();
                        _MM_SET_FLUSH_ZERO_MODE(mode);
                        for (int i = 0; i < 10; ++i) {
                            migrate();
                            EXPECT_EQ(_MM_GET_FLUSH_ZERO_MODE(), mode);
                        }
                        _MM_SET_FLUSH_ZERO_MODE(before);
                    });
            });
        },
        {.workers = 2});
}

__attribute__((target("avx2"), noinline)) int sum_of_eight() {
    alignas(32) int numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    __m256i loaded = _mm256_load_si256(reinterpret_cast<const __m256i*>(numbers));
    _mm256_store_si256(reinterpret_cast<__m256i*>(numbers), _mm256_add_epi32(loaded, loaded));
    int sum = 0;
    for (int n : numbers) sum += n;
    return sum;
}
#endif

struct alignas(64) Line {
    char bytes[64] = {};
};

[[gnu::noinline]] void expect_aligned(int depth) {
    Line line;
    asm volatile("" : : "r"(&line) : "memory");
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&line) % 64, 0u);
    char text[64];
    std::snprintf(text, sizeof text, "%.2Lf", 2.5L);
    EXPECT_STREQ(text, "2.50");
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        EXPECT_EQ(sum_of_eight(), 72);
    }
#endif
    if (depth > 0) expect_aligned(depth - 1);
}

TEST(Registers, LocalsAreAlignedOnEveryKindOfStack) {
    weft::run(
        [] {
            expect_aligned(3);
            for (std::size_t stack_size :
                 {std::size_t{0}, std::size_t{64 * 1024}, std::size_t{100'001}}) {
                auto task = weft::create_task(
                    [] {
                        expect_aligned(3);
                        migrate();
                        expect_aligned(3);
                        weft::await(weft::create_task([] { expect_aligned(3); }));
                    },
                    {.stack_size = stack_size});
                weft::await(task);
            }
        },
        {.workers = 2});
}

[[gnu::noinline]] int frames_below(int depth) {
    if (depth > 0) return frames_below(depth - 1) + (depth & 1 ? 0 : 0);
    std::vector<void*> frames(500);
    return ::backtrace(frames.data(), static_cast<int>(frames.size()));
}

TEST(Registers, ABacktraceEndsInTheTask) {
    weft::run(
        [] {
            for (int i = 0; i < 3; ++i) {
                weft::await(weft::create_task([] {
                    EXPECT_GT(frames_below(10), 2);
                    EXPECT_LT(frames_below(10), 100);
                    migrate();
                    EXPECT_LT(frames_below(10), 100);
                    // Also where the stack is a recycled one with other frames left on it.
                    weft::yield();
                    EXPECT_LT(frames_below(30), 120);
                }));
            }
        },
        {.workers = 2});
}

}  // namespace
