// The list of models, in the order of the tables; see models.hpp.
#include "models.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "format.hpp"

namespace weft_compare {

std::string_view name_of(Family family) {
    switch (family) {
        case Family::weft:
            return "weft";
        case Family::classic:
            return "classic";
        case Family::python:
            return "python";
    }
    return {};
}

const std::vector<Model>& models() {
    static const std::vector<Model> all{
        {"sequential", "sequential", Family::classic, "one task after the other", &run_sequential,
         false},
        {"asyncio", "asyncio", Family::weft, "weft fibers on one worker", &run_asyncio, false},
        {"asyncio-all", "asyncio, all cores", Family::weft, "weft fibers on every worker",
         &run_asyncio_all, false},
        {"to_thread", "asyncio + to_thread", Family::weft,
         "one worker; blocking and CPU work in weft::to_thread", &run_to_thread, false},
        {"to_arena", "asyncio + to_arena", Family::weft,
         "one worker; blocking and CPU work in weft::to_arena (oneTBB)", &run_to_arena, false},
        {"to_process", "asyncio + to_process", Family::weft,
         "one worker; blocking and CPU work in a weft::ProcessPool", &run_to_process, true},
        {"to_process-copy", "asyncio + to_process, copied", Family::weft,
         "the same for buffer, with std::vector instead of weft::SharedBuffer",
         &run_to_process_copying, true},
        {"thread-per-task", "a thread per task", Family::classic, "std::thread for each task",
         &run_thread_per_task, false},
        {"thread-pool", "a thread pool", Family::classic, "a queue and a fixed number of threads",
         &run_thread_pool, false},
        {"processes", "processes", Family::classic, "a process per core, fed through pipes",
         &run_processes, true},
        {"py-asyncio", "CPython asyncio", Family::python, "python3's asyncio, one loop", nullptr,
         false},
        {"py-threading", "CPython threading", Family::python,
         "python3's ThreadPoolExecutor, as many threads as the pool", nullptr, false},
        {"py-multiprocessing", "CPython multiprocessing", Family::python,
         "python3's multiprocessing.Pool, a process per core", nullptr, true},
    };
    return all;
}

const Model* find_model(std::string_view key) {
    const auto found = std::find_if(models().begin(), models().end(),
                                    [&](const Model& model) { return model.key == key; });
    return found == models().end() ? nullptr : &*found;
}

bool applies(const Model& model, Workload workload) {
    return model.run != &run_to_process_copying || workload == Workload::buffer;
}

std::string unable(const Model& model, const Plan& plan) {
    if (plan.workload != Workload::runaway || model.has_children) return {};
    const std::string_view key = model.key;
    if (key == "sequential") return "the first task that does not end would be the last one";
    if (key == "asyncio" || key == "asyncio-all" || key == "py-asyncio") {
        return "a task that does not listen cannot be cancelled, and holds up its loop";
    }
    return "no thread can be killed alone: each runaway keeps one and its core for ever";
}

TaskResult give_up(const Plan& plan, std::size_t task) {
    if (plan.is_runaway(task)) return gave_up_result(task);
    throw CannotRun(fmt::format("on a machine this busy {} is too short a limit: task {} ends",
                                exact_duration_text(plan.task_limit_ms / 1e3), task));
}

std::optional<std::size_t> wait_limit(const Model& model, const Plan& plan) {
    const std::string_view key = model.key;
    const bool waits_in_loop = plan.workload == Workload::mixed;
    if (key == "sequential") return 1;
    if (key == "thread-pool" || key == "py-threading") return plan.pool;
    // asyncio's default executor, and weft's: its documented number of threads.
    if (key == "to_thread" && !waits_in_loop) return std::min(32u, plan.workers + 4);
    if (key == "processes" || key == "py-multiprocessing") return plan.workers;
    // In mixed, the offloading models wait in the event loop; in wait, what they offload is the
    // wait.
    if ((key == "to_arena" || key == "to_process") && !waits_in_loop) return plan.workers;
    return std::nullopt;
}

}  // namespace weft_compare
