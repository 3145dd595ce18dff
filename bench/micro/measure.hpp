// What the benchmarks here share: worker counts, the timed loop, and counts per operation.
//
// Each program is this header and one source file (it replaces operator new for the whole program).
// One Google Benchmark iteration is a round of many operations, all inside one weft::run; what is
// reported is `per_op`, the wall time of one operation, and beside it counts, which stay the same
// on a noisy machine where times do not:
//   allocs   calls of operator new per operation, by any thread
//   sleeps   voluntary context switches per operation: how often a thread went to sleep
// The first round of each run is a warm-up that nobody times.
#pragma once

#include <weft/weft.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>

#include <benchmark/benchmark.h>
#include <sys/resource.h>

namespace micro {

/// For Apply(): wall time, and beside it the CPU time of all threads.
template <class Benchmark>
void alone(Benchmark* benchmark) {
    benchmark->UseRealTime()->MeasureProcessCPUTime()->Unit(benchmark::kMicrosecond);
}
/// The same with 1, 2 and, where the machine has the cores, 4, 8 and 16 workers.
template <class Benchmark>
void on_workers(Benchmark* benchmark) {
    alone(benchmark);
    benchmark->ArgName("workers");
    const int most = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
    for (int workers : {1, 2, 4, 8, 16})
        if (workers <= most) benchmark->Arg(workers);
}

inline unsigned workers_of(const benchmark::State& state) {
    return static_cast<unsigned>(state.range(0));
}

inline void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "benchmark is wrong: %s\n", what);
    std::abort();
}

inline std::atomic<std::uint64_t> allocations{0};

struct Counts {
    std::uint64_t allocs = 0;
    std::uint64_t sleeps = 0;

    static Counts now() {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        return {allocations.load(), static_cast<std::uint64_t>(usage.ru_nvcsw)};
    }
};

inline void report(benchmark::State& state, double ops_per_round, const Counts& before) {
    using benchmark::Counter;
    const Counts after = Counts::now();
    const double ops = ops_per_round * static_cast<double>(state.iterations());
    state.counters["per_op"] = Counter(ops, Counter::kIsRate | Counter::kInvert);
    state.counters["allocs"] = static_cast<double>(after.allocs - before.allocs) / ops;
    state.counters["sleeps"] = static_cast<double>(after.sleeps - before.sleeps) / ops;
}

/// Times round(), which does so many operations, again and again: on this thread or in this task.
template <class Round>
void time_rounds(benchmark::State& state, double ops_per_round, Round&& round) {
    round();
    const Counts before = Counts::now();
    for (auto _ : state) round();
    report(state, ops_per_round, before);
}

/// The same in the main task of weft::run with state.range(0) workers.
template <class Round>
void time_in_weft(benchmark::State& state, double ops_per_round, Round&& round) {
    weft::run([&] { time_rounds(state, ops_per_round, round); }, {.workers = workers_of(state)});
}

}  // namespace micro

// Not inlined: g++ takes a visible free() of what new gave for a mistake.
[[gnu::noinline]] void* operator new(std::size_t size) {
    micro::allocations.fetch_add(1, std::memory_order_relaxed);
    if (void* block = std::malloc(size != 0 ? size : 1)) return block;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
    micro::allocations.fetch_add(1, std::memory_order_relaxed);
    const auto align = static_cast<std::size_t>(alignment);
    if (void* block = std::aligned_alloc(align, (size + align - 1) / align * align)) return block;
    throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
    std::free(block);
}
