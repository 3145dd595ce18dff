// asyncio that keeps its loop free: what blocks or computes leaves the fibers, one call for each of the three ways.
//
// The loop has one worker, as asyncio has; waiting stays in it where the workload mixes both. In Workload::wait and
// Workload::network the wait itself is what is offloaded, standing for a blocking call that has no asynchronous form.
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <tbb/parallel_for.h>

#include "event_loop.hpp"

namespace weft_compare {
namespace {

using PackedWords = std::vector<std::pair<std::string, std::uint64_t>>;

// The functions below run in another process: they take and give values.

TaskResult wait_there(std::int64_t wait_ns, std::uint64_t task) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(wait_ns));
    return wait_result(task);
}

TaskResult request_there(std::uint16_t port, std::uint64_t task) { return request(port, task); }

std::optional<PackedWords> count_there(const std::string& path) {
    FileWords counted;
    if (!count_file(path, counted).readable) return std::nullopt;
    PackedWords packed;
    packed.reserve(counted.entries().size());
    for (const auto& [word, count] : counted.entries()) packed.emplace_back(word.text, count);
    return packed;
}

TaskResult hash_there(const std::string& path, std::uint64_t hash_bytes) {
    return hash_file(path, hash_bytes);
}

TaskResult run_away_there() { run_away(); }

weft::SharedBuffer recode_shared_there(const weft::SharedBuffer& from) {
    weft::SharedBuffer to(from.size());
    recode(from.bytes(), to.writable());
    return to;
}

std::vector<std::byte> recode_copy_there(std::vector<std::byte> buffer) {
    recode(buffer, buffer);
    return buffer;
}

// Here again: what calls them there.

TaskResult count_in_process(Run& run, weft::ProcessPool& pool, std::size_t task) {
    const auto words = pool.run<&count_there>(run.plan.path_of(task));
    if (!words) return {0, false};
    // No lock: one worker, and no wait in this loop.
    for (const auto& [word, count] : *words) run.words.add(Word(word), count);
    return {};
}

TaskResult hash_in_process(const Plan& plan, weft::ProcessPool& pool, std::size_t task) {
    return pool.run<&hash_there>(plan.path_of(task), plan.hash_bytes);
}

// The limit is on running, not on standing in the pool's queue: hence the slots, as many as workers.
TaskResult limited_in_process(const Plan& plan, weft::ProcessPool& pool, weft::Semaphore& slots,
                              std::size_t task) {
    const std::lock_guard slot(slots);
    try {
        return weft::timeout(task_limit_of(plan), [&] {
            return plan.is_runaway(task) ? pool.run<&run_away_there>()
                                         : hash_in_process(plan, pool, task);
        });
    } catch (const weft::TimeoutError&) {
        return give_up(plan, task);
    }
}

TaskResult process_task(Run& run, weft::ProcessPool& pool, weft::Semaphore& slots,
                        std::size_t task) {
    const Plan& plan = run.plan;
    switch (plan.workload) {
        case Workload::wait:
            return pool.run<&wait_there>(std::int64_t{wait_of(plan).count()}, std::uint64_t{task});
        case Workload::network:
            return pool.run<&request_there>(plan.port, std::uint64_t{task});
        case Workload::shared:
            return count_in_process(run, pool, task);
        case Workload::cpu:
            return hash_in_process(plan, pool, task);
        case Workload::mixed:
            return wait_compute_wait(plan, [&] { return hash_in_process(plan, pool, task); });
        case Workload::runaway:
            return limited_in_process(plan, pool, slots, task);
        case Workload::buffer:
            break;  // recode_in_processes()
    }
    return {};
}

std::span<std::byte> writable(weft::SharedBuffer& buffer) { return buffer.writable(); }
std::span<std::byte> writable(std::vector<std::byte>& buffer) { return buffer; }
std::span<const std::byte> bytes_of(const weft::SharedBuffer& buffer) { return buffer.bytes(); }
std::span<const std::byte> bytes_of(const std::vector<std::byte>& buffer) { return buffer; }

// A few buffers ahead of the workers, not all of them: a task each would have filled its own before
// the first of them was recoded.
template <class Buffer, auto There>
void recode_in_processes(Run& run, weft::ProcessPool& pool) {
    const auto filled = [&](std::size_t task) {
        Buffer buffer(run.plan.buffer_bytes);
        run.results[task].readable = fill_buffer(run.plan, task, writable(buffer));
        return buffer;
    };
    std::size_t task = 0;
    for (const Buffer& recoded :
         pool.map(weft::process_function<There>, std::views::iota(std::size_t{0}, run.plan.tasks) |
                                                     std::views::transform(filled))) {
        TaskResult& result = run.results[task++];
        if (result.readable) result = result_of_buffer(bytes_of(recoded));
    }
}

}  // namespace

void run_to_thread(Run& run) {
    const auto in_thread = [&](std::size_t task) {
        if (run.plan.workload == Workload::mixed) {
            return wait_compute_wait(run.plan, [&] {
                return weft::to_thread([&] { return hash_file(run.plan, task); });
            });
        }
        return weft::to_thread(
            [&] { return blocking_task(run.plan, task, run.words, run.words_locks); });
    };
    run_event_loop(run, 1, [&] { run_each(run, in_thread); });
}

// The arena is for data-parallel work: one call for all tasks, where they are there together.
void run_to_arena(Run& run) {
    const auto all_at_once = [&] {
        weft::to_arena([&] {
            tbb::parallel_for(std::size_t{0}, run.plan.tasks, [&](std::size_t task) {
                run.results[task] = blocking_task(run.plan, task, run.words, run.words_locks);
            });
        });
    };
    const auto one_request = [&](std::size_t task) {
        return wait_compute_wait(
            run.plan, [&] { return weft::to_arena([&] { return hash_file(run.plan, task); }); });
    };
    run_event_loop(run, 1, [&] {
        if (run.plan.workload == Workload::mixed) {
            run_each(run, one_request);
        } else {
            all_at_once();
        }
    });
}

void run_to_process(Run& run) {
    run_event_loop(run, 1, [&] {
        weft::ProcessPool pool{{.workers = run.plan.workers}};
        if (run.plan.workload == Workload::buffer) {
            recode_in_processes<weft::SharedBuffer, &recode_shared_there>(run, pool);
            run.stopwatch.stop();
            return;
        }
        weft::Semaphore slots{static_cast<std::ptrdiff_t>(run.plan.workers)};
        run_each(run, [&](std::size_t task) { return process_task(run, pool, slots, task); });
        run.stopwatch.stop();
    });
}

void run_to_process_copying(Run& run) {
    run_event_loop(run, 1, [&] {
        constexpr std::size_t kHead = 64 * 1024;
        weft::ProcessPool pool{
            {.workers = run.plan.workers, .message_bytes_max = run.plan.buffer_bytes + kHead}};
        recode_in_processes<std::vector<std::byte>, &recode_copy_there>(run, pool);
        run.stopwatch.stop();
    });
}

}  // namespace weft_compare
