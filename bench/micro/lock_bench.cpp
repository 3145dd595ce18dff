// What does a Lock cost that a hundred tasks want?
//
// W6: 100 tasks lock, count and unlock 10,000 times each: with one worker nobody ever waits, with
// more the lock goes from core to core. W6y: with a yield inside of the lock (x 1,000), so that the
// other 99 tasks stand in line all the time. An operation is one lock and unlock.
#include <mutex>
#include <vector>

#include "measure.hpp"

namespace {

constexpr int kTasks = 100;

template <class Inside>
void count_under_lock(benchmark::State& state, int rounds, Inside inside) {
    std::vector<weft::Task<void>> tasks;
    tasks.reserve(kTasks);
    micro::time_in_weft(state, double(kTasks) * rounds, [&] {
        weft::Lock lock;
        long count = 0;
        for (int i = 0; i < kTasks; ++i)
            tasks.push_back(weft::create_task([&lock, &count, rounds, inside] {
                for (int k = 0; k < rounds; ++k) {
                    std::lock_guard guard(lock);
                    long before = count;
                    inside();
                    count = before + 1;
                }
            }));
        for (auto& task : tasks) weft::await(task);
        tasks.clear();
        micro::require(count == long{kTasks} * rounds, "the lock");
    });
}

void short_section(benchmark::State& state) {
    count_under_lock(state, 10'000, [] { benchmark::ClobberMemory(); });
}
BENCHMARK(short_section)->Name("lock/100_tasks")->Apply(micro::on_workers);

void yield_inside(benchmark::State& state) {
    count_under_lock(state, 1'000, [] { weft::yield(); });
}
BENCHMARK(yield_inside)->Name("lock/100_tasks_yield_inside")->Apply(micro::on_workers);

}  // namespace
