// The engine as the interface's own sources see it: making, running and ending a runtime, and what tasks look like
// from outside. Not for users.
#pragma once

#include <weft/lowlevel.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

namespace weft::detail {

/// Where unread errors and the like go. `context` is a sentence; `task` may be null.
using ErrorSink = void (*)(void* argument, const std::string& context,
                           const std::exception_ptr& error, TaskCore* task);

struct EngineOptions {
    unsigned workers = 1;
    bool strict = false;
    bool debug = false;
    Duration slow_step = std::chrono::milliseconds(100);  // debug mode
    std::size_t stack_bytes = 256 * 1024;
    bool simulated = false;
    std::uint64_t seed = 0;
    unsigned cores = 1;              // for the arena and the pool of threads
    ErrorSink error_sink = nullptr;  // null: stderr
    void* error_sink_argument = nullptr;
    void* owner = nullptr;  // the weft::Runtime around it
};

struct SchedulerDeleter {
    /// Stops it first, if it has not been stopped.
    void operator()(rt::Scheduler* scheduler) const noexcept;
};
using SchedulerPtr = std::unique_ptr<rt::Scheduler, SchedulerDeleter>;

enum class FirstWorker : std::uint8_t { own_thread, callers_thread };

/// std::system_error where descriptors or threads cannot be had.
SchedulerPtr make_scheduler(const EngineOptions& options, FirstWorker first);
/// Runs the first worker on this thread until the task is done.
void run_until_done(rt::Scheduler& scheduler, TaskCore& task);
enum class Sigint : std::uint8_t { none, delivered, too_late };

/// Launches the task first. On the process's main thread, where SIGINT has its default action, the first SIGINT cancels
/// the task and a second one ends the process. Whether one came.
Sigint run_main(rt::Scheduler& scheduler, TaskCore& task);
/// Ends and joins the workers' threads.
void stop_scheduler(rt::Scheduler& scheduler) noexcept;
unsigned worker_count(const rt::Scheduler& scheduler) noexcept;
std::size_t swallowed_cancels(const rt::Scheduler& scheduler) noexcept;
const EngineOptions& options_of(const rt::Scheduler& scheduler) noexcept;

/// What a simulation has done so far.
struct SimulationState {
    std::uint64_t seed;
    Duration elapsed;
    std::uint64_t schedule_hash;
};
/// False: it is not simulated.
bool simulation_state(const rt::Scheduler& scheduler, SimulationState* state) noexcept;

enum class Callbacks : std::uint8_t { not_listed, too };
/// References to all tasks of this runtime that are not done. Each must be dropped.
std::vector<TaskCore*> all_tasks(const rt::Scheduler& scheduler, Callbacks callbacks);

/// "Task-7", or the name it was given.
std::string name_of(TaskCore& task);
/// To the current runtime's error sink, or one line on stderr. `context` is a sentence; `where` is where the task, or
/// what else it is about, was made.
void report_error(const std::string& context, std::exception_ptr error, TaskCore* task,
                  const std::source_location& where) noexcept;
/// Ends a task that was made and not launched; its callable is destroyed unrun. Drops the runtime's reference.
void close_unlaunched(TaskCore& task) noexcept;

/// Aborts with a message in a child that was forked while a runtime was running.
void check_not_forked(const char* what) noexcept;
/// The processors this process may use: the affinity mask and the cgroup's CPU quota count.
unsigned available_cores() noexcept;

}  // namespace weft::detail
