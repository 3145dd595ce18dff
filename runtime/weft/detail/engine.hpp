// The engine as the interface's own sources see it: making, running and ending a runtime, and what tasks look like
// from outside. Not for users.
#pragma once

#include <weft/detail/simulated_network.hpp>
#include <weft/lowlevel.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace weft::detail {

/// Where unread errors and the like go. `context` is a sentence; `task` may be null.
using ErrorSink = void (*)(void* argument, const std::string& context,
                           const std::exception_ptr& error, TaskCore* task);

/// What the kernel is asked by which descriptors are ready; epoll also where io_uring cannot be had.
enum class PollerKind : std::uint8_t { epoll, io_uring };

struct EngineOptions {
    unsigned workers = 1;
    bool strict = false;
    bool debug = false;
    Duration slow_step = std::chrono::milliseconds(100);  // debug mode
    std::size_t stack_bytes = 256 * 1024;
    bool simulated = false;
    std::uint64_t seed = 0;
    NetworkOptions network{};  // simulated
    PollerKind poller = PollerKind::epoll;
    unsigned cores = 1;  // for the arena and the pool of threads
    int arena_nice = 0;
    bool workers_yield_cores = true;                       // idle ones, to the arena
    bool arena_yields_cores = false;                       // to busy workers
    Duration abandoned_grace = std::chrono::seconds(300);  // for threads, at the end
    ErrorSink error_sink = nullptr;                        // null: stderr
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
/// The one that is in use: "epoll", "io_uring".
const char* poller_name(rt::Scheduler& scheduler) noexcept;
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
/// Whether a value of a task of this runtime, whose last reference has gone, is being destroyed there.
bool destroys_values(const rt::Scheduler& scheduler) noexcept;

/// One cancel on its way: all whom it is to reach, however they wait for each other. It needs no more stack for many.
class CancelWalk {
public:
    CancelWalk() noexcept : CancelWalk(kNoMessage) {}
    /// The message must outlive it.
    explicit CancelWalk(const std::string& message) noexcept : message_(message) {}
    ~CancelWalk();
    CancelWalk(const CancelWalk&) = delete;
    CancelWalk& operator=(const CancelWalk&) = delete;

    const std::string& message() const noexcept { return message_; }
    /// One more whom it is to reach, after those that were added before.
    void add(Core& core) noexcept;
    /// Cancels all that were added, and whom they pass it on to. Without a group's or task's lock.
    void run() noexcept;
    /// The same for this one first; false: it is done already.
    bool run(Core& first) noexcept;
    /// A task that others run inline on top of has been cancelled: they are, in its place.
    void run_above(TaskCore& task) noexcept;

private:
    bool cancel(Core& core) noexcept;
    bool cancel_in_order(TaskCore& first) noexcept;
    bool cancel_on_top(TaskCore& first) noexcept;
    bool follow(TaskCore& first, CancelRequest result) noexcept;
    bool ask_hook(TaskCore& task) noexcept;
    void arrange(std::size_t from) noexcept;
    void drain() noexcept;

    static const std::string kNoMessage;
    const std::string& message_;
    std::vector<Core*> due_;  // with a reference to each; the next one is the last
    std::unordered_set<const TaskCore*> hooks_met_;
};

/// Those who end only after a task has: who awaits it, directly or through others. Found out for one that has passed a
/// cancel on: what it waits for may wait for it, and then the cancel would go round for ever.
class TasksInWait {
public:
    /// Looks at so many at most; at fewer where memory runs out.
    TasksInWait(TaskCore& task, std::size_t most) noexcept;
    bool contains(const Core& core) const noexcept { return places_.contains(&core); }
    /// Adds those on the way from there to the task, if no cancel has come to them yet: once the task goes on, they may
    /// end before it does.
    void add_way_from(const Core& core, CancelWalk& walk) const noexcept;

private:
    TaskRefs found_;
    std::vector<std::size_t> waits_for_;  // of each: the place of the one it was found at, plus one
    std::unordered_map<const Core*, std::size_t> places_;
};

/// How many tasks to look at when one wait has passed on so many cancels: none before the first; then few, so that a
/// cancel that goes down a long chain a second time costs not much more than the first; then more and more.
std::size_t tasks_to_look_at(int cancels) noexcept;
/// Whether it, or what runs on top of it, waits on though a cancel has come to it: for a group's children.
bool keeps_waiting(Core& core) noexcept;

/// "Task-7", or the name it was given.
std::string name_of(TaskCore& task);
/// The earliest of the timeouts around what this task runs; kNever. By the task itself.
TimePoint deadline_of_task(const TaskCore& task) noexcept;
/// To the current runtime's error sink, or one line on stderr. `context` is a sentence; `where` is where the task, or
/// what else it is about, was made.
void report_error(const std::string& context, std::exception_ptr error, TaskCore* task,
                  const std::source_location& where) noexcept;
/// Ends a task that was made and not launched; its callable is destroyed unrun. Drops the runtime's reference.
void close_unlaunched(TaskCore& task) noexcept;

/// Destroys a callback that was made and not launched; both its references are the caller's. Not under a lock.
void discard_unlaunched(TaskCore& callback) noexcept;
/// The same, a little later, where no lock is held: it may be called under any.
void discard_later(TaskCore& callback) noexcept;
/// Ends a call from outside that may have led to discard_later(). Not under a lock.
void discard_now() noexcept;

/// Aborts with a message in a child that was forked while a runtime was running.
void check_not_forked(const char* what) noexcept;
/// The processors this process may use: the affinity mask and the cgroup's CPU quota count.
unsigned available_cores() noexcept;

}  // namespace weft::detail
