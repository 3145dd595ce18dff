// What the weft models have in common: a runtime, a heartbeat that is one of its tasks, and a task group.
#pragma once

#include <weft/weft.hpp>

#include <atomic>
#include <exception>

#include "models.hpp"

namespace weft_compare {

// Runs work() as the main function of weft::run, with the heartbeat beside it; the clock stops when work() is done.
template <typename Work>
void run_event_loop(Run& run, unsigned workers, Work work) {
    const auto main_task = [&] {
        std::atomic<bool> done{false};
        run.lag.start(Clock::now());
        // Eager: it waits for its first beat before the work begins, so that work which blocks the loop from
        // its first moment on makes the heart late instead of keeping it from ever beating.
        auto heartbeat = weft::create_task(
            [&] {
                while (!done) {
                    weft::sleep(run.lag.due() - Clock::now());
                    run.lag.beat(Clock::now());
                }
            },
            {.name = "heartbeat", .eager = true});
        work();
        run.stopwatch.stop();
        done = true;
        weft::await(heartbeat);
    };
    weft::run(main_task, {.workers = workers, .cores = run.plan.workers});
}

// One weft task for each task of the plan: task(i) gives its result. The first one's error is the model's.
template <typename Task>
void run_each(Run& run, Task task) {
    try {
        weft::task_group([&](weft::TaskGroup& group) {
            for (std::size_t i = 0; i < run.plan.tasks; ++i) {
                group.create_task([&run, &task, i] { run.results[i] = task(i); });
            }
        });
    } catch (const weft::ExceptionGroup& errors) {
        std::rethrow_exception(errors.exceptions().front());
    }
}

// The mixed workload's task; compute() is the part that is not waiting.
template <typename Compute>
TaskResult wait_compute_wait(const Plan& plan, Compute compute) {
    weft::sleep(wait_of(plan));
    const TaskResult result = compute();
    weft::sleep(wait_of(plan));
    return result;
}

}  // namespace weft_compare
