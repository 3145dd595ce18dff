// The engine's face to the interface: weft/detail/engine.hpp.
#include <weft/detail/basic_errors.hpp>
#include <weft/detail/engine.hpp>

#include <algorithm>

#include "completion.hpp"
#include "reactor.hpp"
#include "scheduler.hpp"
#include "sys.hpp"

namespace weft::detail {

void SchedulerDeleter::operator()(rt::Scheduler* scheduler) const noexcept { delete scheduler; }

SchedulerPtr make_scheduler(const EngineOptions& options, FirstWorker first) {
    SchedulerPtr scheduler(new rt::Scheduler(options));
    scheduler->start(first == FirstWorker::own_thread ? 0 : 1);
    return scheduler;
}

void run_until_done(rt::Scheduler& scheduler, TaskCore& task) { scheduler.run_until_done(task); }
Sigint run_main(rt::Scheduler& scheduler, TaskCore& task) { return scheduler.run_main(task); }
void stop_scheduler(rt::Scheduler& scheduler) noexcept { scheduler.stop(); }

unsigned worker_count(const rt::Scheduler& scheduler) noexcept {
    return scheduler.options().workers;
}
std::size_t swallowed_cancels(const rt::Scheduler& scheduler) noexcept {
    return static_cast<std::size_t>(scheduler.swallowed_cancels());
}
const EngineOptions& options_of(const rt::Scheduler& scheduler) noexcept {
    return scheduler.options();
}

const char* poller_name(rt::Scheduler& scheduler) noexcept {
    return scheduler.driver().reactor().poller_name();
}

TimePoint deadline_of_task(const TaskCore& task) noexcept {
    TimePoint earliest = lowlevel::kNever;
    for (const ScopeNode* node = task.scopes; node != nullptr; node = node->outer)
        if (node->limit != nullptr) earliest = std::min(earliest, node->limit->deadline);
    return earliest;
}

bool simulation_state(const rt::Scheduler& scheduler, SimulationState* state) noexcept {
    const rt::Simulation* simulation = scheduler.simulation();
    if (simulation == nullptr) return false;
    *state = {simulation->seed(), simulation->now() - simulation->started(),
              simulation->schedule_hash()};
    return true;
}

void close_unlaunched(TaskCore& task) noexcept {
    task.ops->discard(task);
    task.outcome = Outcome::cancelled;
    task.error = std::make_exception_ptr(CancelledError());
    task.scope = nullptr;
    rt::finish_task(task);
}

unsigned available_cores() noexcept { return rt::sys::available_cores(); }

}  // namespace weft::detail
