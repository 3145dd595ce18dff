// What does a spawned task cost in fine-grained fork-join, where parents wait for their children?
//
// W2: fib(30), spawning fib(n-1), calling fib(n-2), then awaiting; an operation is one spawned task
// of 1,346,268. Beside it oneTBB's task_group, which keeps the child's frame in the parent's too.
#include <tbb/task_group.h>

#include "arena.hpp"

namespace {

constexpr int kN = 30;
constexpr long kValue = 832040;
constexpr double kSpawned = 1346268;

long fib_weft(int n) {
    if (n < 2) return n;
    auto first = weft::create_task([n] { return fib_weft(n - 1); });
    long second = fib_weft(n - 2);
    return weft::await(first) + second;
}

long fib_tbb(int n) {
    if (n < 2) return n;
    long first = 0;
    tbb::task_group group;
    group.run([&first, n] { first = fib_tbb(n - 1); });
    long second = fib_tbb(n - 2);
    group.wait();
    return first + second;
}

void create_task(benchmark::State& state) {
    micro::time_in_weft(state, kSpawned, [] { micro::require(fib_weft(kN) == kValue, "fib(30)"); });
}
BENCHMARK(create_task)->Name("fork_join/fib_create_task")->Apply(micro::on_workers);

void tbb_task_group(benchmark::State& state) {
    micro::time_in_tbb(state, kSpawned, [] { micro::require(fib_tbb(kN) == kValue, "fib(30)"); });
}
BENCHMARK(tbb_task_group)->Name("fork_join/fib_tbb")->Apply(micro::on_workers);

}  // namespace
