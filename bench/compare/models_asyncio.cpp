// asyncio as it is: weft tasks that wait in the event loop and compute in it, too.
#include "event_loop.hpp"

namespace weft_compare {
namespace {

TaskResult loop_task(const Plan& plan, std::size_t task) {
    if (plan.workload == Workload::cpu) return hash_file(plan, task);
    if (plan.workload == Workload::buffer) return recode_buffer(plan, task);
    if (plan.workload == Workload::mixed) {
        return wait_compute_wait(plan, [&] { return hash_file(plan, task); });
    }
    if (plan.workload == Workload::network) {
        auto server = weft::open_connection(weft::SocketAddress::ip("127.0.0.1", plan.port));
        server.write(request_line(task));
        return result_of_answer(server.read());
    }
    weft::sleep(wait_of(plan));
    return wait_result(task);
}

}  // namespace

// One worker promises that nothing else runs between two waits: the shared table needs no lock.
void run_asyncio(Run& run) {
    run_event_loop(run, 1, [&] {
        run_each(run, [&](std::size_t task) {
            if (run.plan.workload == Workload::shared) {
                return count_file(run.plan.path_of(task), run.words);
            }
            return loop_task(run.plan, task);
        });
    });
}

// The locks are std::mutex and not weft::Lock: what they protect is short and never waits, and a task that would park
// here would leave its worker to read more and more files meanwhile.
void run_asyncio_all(Run& run) {
    run_event_loop(run, run.plan.workers, [&] {
        run_each(run, [&](std::size_t task) {
            if (run.plan.workload != Workload::shared) return loop_task(run.plan, task);
            FileWords counted;
            const TaskResult result = count_file(run.plan.path_of(task), counted);
            run.words.merge(counted, run.words_locks, task);
            return result;
        });
    });
}

}  // namespace weft_compare
