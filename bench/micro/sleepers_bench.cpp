// What does it cost to have very many tasks asleep?
//
// W7: a million tasks (and a hundred thousand, for quick looks) sleep until one deadline. Reported:
//   bytes      resident memory a task, when all are parked: the growth of the process since it began
//   create     time to create a task and let it run until it is parked
//   late       time from the deadline until the last has been joined; the time of the iteration
// Each case runs once, in a process of its own, or stacks and blocks that an earlier one left behind
// would be found warm.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "measure.hpp"

namespace {

using Seconds = std::chrono::duration<double>;

struct Figures {
    bool in_time = false;  // all were asleep before the deadline
    double bytes_per_task = 0;
    double seconds_to_create_one = 0;
    double cpu_seconds_to_create_one = 0;
    double seconds_late = 0;
    double cpu_seconds_late = 0;
};

double cpu_seconds() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double resident_bytes() {
    long pages = 0;
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    micro::require(file != nullptr && std::fscanf(file, "%*s %ld", &pages) == 1, "statm");
    std::fclose(file);
    return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

Figures sleep_all(std::size_t count, Seconds patience) {
    Figures figures;
    const double bytes_before = resident_bytes();
    const double cpu_before = cpu_seconds();
    const weft::TimePoint start = weft::now();
    const weft::TimePoint deadline = start + std::chrono::duration_cast<weft::Duration>(patience);
    std::atomic<std::size_t> begun{0};
    std::vector<weft::Task<void>> tasks;
    tasks.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
        tasks.push_back(weft::create_task([&begun, deadline] {
            begun.fetch_add(1);
            weft::sleep_until(deadline);
        }));
    while (begun.load() < count) weft::yield();
    for (int i = 0; i < 100; ++i) weft::yield();  // the last ones may be about to park
    const weft::TimePoint all_asleep = weft::now();
    const double cpu_asleep = cpu_seconds();
    figures.in_time = all_asleep < deadline;
    figures.bytes_per_task = (resident_bytes() - bytes_before) / static_cast<double>(count);
    figures.seconds_to_create_one = Seconds(all_asleep - start).count() / double(count);
    figures.cpu_seconds_to_create_one = (cpu_asleep - cpu_before) / double(count);
    for (auto& task : tasks) weft::await(task);
    figures.seconds_late = Seconds(weft::now() - deadline).count();
    figures.cpu_seconds_late = cpu_seconds() - cpu_asleep;
    return figures;
}

Figures measure_in_child(std::size_t count, unsigned workers, Seconds patience) {
    int pipe_ends[2];
    micro::require(pipe(pipe_ends) == 0, "pipe");
    std::fflush(nullptr);
    const pid_t child = fork();
    micro::require(child >= 0, "fork");
    if (child == 0) {
        Figures figures =
            weft::run([&] { return sleep_all(count, patience); }, {.workers = workers});
        micro::require(write(pipe_ends[1], &figures, sizeof figures) == sizeof figures, "write");
        _exit(0);
    }
    close(pipe_ends[1]);
    Figures figures;
    micro::require(read(pipe_ends[0], &figures, sizeof figures) == sizeof figures, "the child");
    close(pipe_ends[0]);
    waitpid(child, nullptr, 0);
    return figures;
}

Figures measure(std::size_t count, unsigned workers) {
    // How long it takes to create them is known afterwards only.
    Seconds patience(4e-6 * static_cast<double>(count));
    for (int attempt = 0; attempt < 5; ++attempt, patience *= 2) {
        Figures figures = measure_in_child(count, workers, patience);
        if (figures.in_time) return figures;
    }
    micro::require(false, "this machine creates sleepers too slowly");
    return {};
}

void sleepers(benchmark::State& state, std::size_t count) {
    for (auto _ : state) {
        Figures figures = measure(count, micro::workers_of(state));
        state.SetIterationTime(figures.seconds_late);
        state.counters["bytes"] = figures.bytes_per_task;
        state.counters["create"] = figures.seconds_to_create_one;
        state.counters["create_cpu"] = figures.cpu_seconds_to_create_one;
        state.counters["late"] = figures.seconds_late;
        state.counters["late_cpu"] = figures.cpu_seconds_late;
    }
}

template <class Benchmark>
void once(Benchmark* benchmark) {
    benchmark->ArgName("workers")->UseManualTime()->Iterations(1)->Unit(benchmark::kMillisecond);
    benchmark->Arg(1)->Arg(2);
}

BENCHMARK_CAPTURE(sleepers, 100k, 100'000)->Name("sleepers/100k")->Apply(once);
BENCHMARK_CAPTURE(sleepers, 1M, 1'000'000)->Name("sleepers/1M")->Apply(once);

}  // namespace
