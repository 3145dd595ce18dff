// What does it cost to leave for a thread, or for the arena, and come back?
//
//   thread/futex        two threads that hand each other a turn, with nothing of weft's: what the
//                       kernel's two wake-ups cost
//   thread/to_thread    an empty function on a thread of the runtime's pool
//   thread/pool         the same in a ThreadPool
//   thread/to_arena     the same in the runtime's arena
//   thread/std_thread   the same in a std::thread of its own, made and joined
#include <thread>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "latencies.hpp"

namespace {

using micro::Clock;

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

void futex(benchmark::State& state) {
    Turn turn;
    std::atomic<bool> over{false};
    std::thread other([&] {
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

void to_thread(benchmark::State& state) {
    weft::run([&] { time_calls(state, [] { weft::to_thread([] {}); }); }, {.workers = 1});
}

void pool(benchmark::State& state) {
    weft::ThreadPool threads({.threads = 1});
    weft::run([&] { time_calls(state, [&] { threads.run([] {}); }); }, {.workers = 1});
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

BENCHMARK(futex)->Name("thread/futex")->Apply(in_microseconds);
BENCHMARK(to_thread)->Name("thread/to_thread")->Apply(in_microseconds);
BENCHMARK(pool)->Name("thread/pool")->Apply(in_microseconds);
BENCHMARK(to_arena)->Name("thread/to_arena")->Apply(in_microseconds);
BENCHMARK(std_thread)->Name("thread/std_thread")->Apply(in_microseconds);

}  // namespace
