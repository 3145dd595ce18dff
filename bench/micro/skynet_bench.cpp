// What does a task cost in a wide tree: ten children a node, a million leaves?
//
// W3, "skynet": every node is a task, parents await and sum their children; an operation is one of
// the 1,111,110 spawned tasks, the time of an iteration is the whole tree. Beside it oneTBB.
#include <array>

#include <tbb/task_group.h>

#include "arena.hpp"

namespace {

constexpr long kLeaves = 1'000'000;
constexpr long kSum = kLeaves * (kLeaves - 1) / 2;
constexpr double kSpawned = 1111110;

long skynet_weft(long first, long leaves) {
    if (leaves == 1) return first;
    const long share = leaves / 10;
    std::array<weft::Task<long>, 10> children;
    for (auto& child : children) {
        child = weft::create_task([first, share] { return skynet_weft(first, share); });
        first += share;
    }
    long sum = 0;
    for (auto& child : children) sum += weft::await(child);
    return sum;
}

long skynet_tbb(long first, long leaves) {
    if (leaves == 1) return first;
    const long share = leaves / 10;
    std::array<long, 10> sums{};
    tbb::task_group group;
    for (auto& sum : sums) {
        group.run([&sum, first, share] { sum = skynet_tbb(first, share); });
        first += share;
    }
    group.wait();
    long all = 0;
    for (long sum : sums) all += sum;
    return all;
}

void create_task(benchmark::State& state) {
    micro::time_in_weft(state, kSpawned,
                        [] { micro::require(skynet_weft(0, kLeaves) == kSum, "skynet"); });
}
BENCHMARK(create_task)->Name("skynet/create_task")->Apply(micro::on_workers);

void tbb_task_group(benchmark::State& state) {
    micro::time_in_tbb(state, kSpawned,
                       [] { micro::require(skynet_tbb(0, kLeaves) == kSum, "skynet"); });
}
BENCHMARK(tbb_task_group)->Name("skynet/tbb")->Apply(micro::on_workers);

}  // namespace
