// What does it cost to leave for a thread, or for the arena, and come back?
//
//   thread/futex        two threads that hand each other a turn, with nothing of weft's: what the
//                       kernel's two wake-ups cost
//   thread/to_thread    an empty function on a thread of the runtime's pool
//   thread/to_arena     the same in the runtime's arena
//   thread/std_thread   the same in a std::thread of its own, made and joined
//
// Where the kernel puts the two threads decides most of it, so the first two are measured left alone (above), and pinned:
//   thread/futex_same_core, ...        both on one core
//   thread/futex_other_core, ...       on two
#include <thread>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "latencies.hpp"
#include "pinning.hpp"

namespace {

using micro::Clock;
using micro::Cores;
using micro::Pinning;

/// A turn that is one of two threads', each of which sleeps until it has it.
class Turn {
public:
    void give(std::uint32_t whose) {
        whose_.store(whose);
        ::syscall(SYS_futex, &whose_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
    void wait_for(std::uint32_t whose) {
        for (std::uint32_t seen = whose_.load(); seen != whose; seen = whose_.load())
            ::syscall(SYS_futex, &whose_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    }

private:
    std::atomic<std::uint32_t> whose_{0};
};

template <class Call>
void time_calls(benchmark::State& state, Call call) {
    for (int i = 0; i < 100; ++i) call();
    micro::Latencies latencies(state);
    for (auto _ : state) {
        const Clock::time_point begin = Clock::now();
        call();
        latencies.add(Clock::now() - begin);
    }
}

void futex(benchmark::State& state, Cores cores) {
    if (!Pinning::possible(cores)) return state.SkipWithError("needs two cores");
    Pinning pinning(cores);
    Turn turn;
    std::atomic<bool> over{false};
    std::thread other([&] {
        pinning.pin_other();
        for (;;) {
            turn.wait_for(1);
            if (over.load()) return;
            turn.give(0);
        }
    });
    time_calls(state, [&] {
        turn.give(1);
        turn.wait_for(0);
    });
    over.store(true);
    turn.give(1);
    other.join();
}

void to_thread(benchmark::State& state, Cores cores) {
    if (!Pinning::possible(cores)) return state.SkipWithError("needs two cores");
    Pinning pinning(cores);
    weft::run(
        [&] {
            // One call after the other: the pool has one thread.
            weft::to_thread([&] { pinning.pin_other(); });
            time_calls(state, [] { weft::to_thread([] {}); });
        },
        {.workers = 1});
}

void to_arena(benchmark::State& state) {
    weft::run([&] { time_calls(state, [] { weft::to_arena([] {}); }); }, {.workers = 1});
}

void std_thread(benchmark::State& state) {
    time_calls(state, [] { std::thread([] {}).join(); });
}

template <class Benchmark>
void in_microseconds(Benchmark* benchmark) {
    benchmark->UseManualTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(futex, any, Cores::any)->Name("thread/futex")->Apply(in_microseconds);
BENCHMARK_CAPTURE(to_thread, any, Cores::any)->Name("thread/to_thread")->Apply(in_microseconds);
BENCHMARK_CAPTURE(futex, same, Cores::same)->Name("thread/futex_same_core")->Apply(in_microseconds);
BENCHMARK_CAPTURE(to_thread, same, Cores::same)
    ->Name("thread/to_thread_same_core")
    ->Apply(in_microseconds);
BENCHMARK_CAPTURE(futex, other, Cores::other)
    ->Name("thread/futex_other_core")
    ->Apply(in_microseconds);
BENCHMARK_CAPTURE(to_thread, other, Cores::other)
    ->Name("thread/to_thread_other_core")
    ->Apply(in_microseconds);
BENCHMARK(to_arena)->Name("thread/to_arena")->Apply(in_microseconds);
BENCHMARK(std_thread)->Name("thread/std_thread")->Apply(in_microseconds);

}  // namespace
