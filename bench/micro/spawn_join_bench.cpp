// What does it cost to spawn and join a task that does nothing?
//
// W1: 1,000 tasks are created, then all are awaited; an operation is one task. Beside it the same
// through a weft::task_group, and through oneTBB's task_group.
#include <vector>

#include <tbb/task_group.h>

#include "arena.hpp"

namespace {

constexpr int kBatch = 1000;

void create_task(benchmark::State& state) {
    std::vector<weft::Task<void>> tasks;
    tasks.reserve(kBatch);
    micro::time_in_weft(state, kBatch, [&] {
        for (int i = 0; i < kBatch; ++i) tasks.push_back(weft::create_task([] {}));
        for (auto& task : tasks) weft::await(task);
        tasks.clear();
    });
}
BENCHMARK(create_task)->Name("spawn_join/create_task")->Apply(micro::on_workers);

void tbb_task_group(benchmark::State& state) {
    micro::time_in_tbb(state, kBatch, [] {
        tbb::task_group group;
        for (int i = 0; i < kBatch; ++i) group.run([] {});
        group.wait();
    });
}
BENCHMARK(tbb_task_group)->Name("spawn_join/tbb")->Apply(micro::on_workers);

void task_group(benchmark::State& state) {
    micro::time_in_weft(state, kBatch, [] {
        weft::task_group([](weft::TaskGroup& group) {
            for (int i = 0; i < kBatch; ++i) group.create_task([] {});
        });
    });
}
BENCHMARK(task_group)->Name("spawn_join/task_group")->Apply(micro::on_workers);

}  // namespace
