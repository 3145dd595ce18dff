// A worker: the loop that finds something runnable and runs it. One for each thread of a runtime (in a simulation,
// several on one thread).
//
// The loop stands at the bottom of every stack. A new task is called in place, as a function, on the stack the loop
// itself stands on. If it waits, it keeps that stack and the worker goes on with the loop of a spare one; when it
// ends, the loop below it goes on, on whatever worker that is by then. A parked fiber is resumed by one switch,
// straight from the stack that gives up; the loop that was left behind becomes a spare.
//
// Invariant [spare]: while a task runs, its worker has at least one spare stack, so that parking cannot fail. A new
// task is started only when that holds (else it fails with std::bad_alloc); resuming from the loop leaves the loop's
// stack behind as a spare; switching from fiber to fiber changes nothing.
//
// Order: own queue oldest first; every kPollTicks entries a look at timers and the inject queue, so that they are not
// starved by a queue that never empties (61, a prime, as in Go: only fairness). In strict mode a batch, as asyncio's
// loop: what is ready now runs, then timers and the outside are looked at, and so on.
//
// Thread rules: everything here is for the worker's own thread but what says otherwise.
#pragma once

#include <weft/lowlevel.hpp>

#include <atomic>
#include <cstdint>

#include "context.hpp"
#include "core_budget.hpp"
#include "deque.hpp"
#include "inject.hpp"
#include "parker.hpp"
#include "random.hpp"
#include "task_pool.hpp"
#include "timers.hpp"

namespace weft::rt {

class Scheduler;

class Worker {
public:
    Worker(Scheduler& scheduler, unsigned id, Rivals rivals, std::uint64_t seed);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Runs the loop on this thread until leave() is called.
    void run_on_this_thread();
    /// Any thread: makes run_on_this_thread() return, when the task in hand has parked or ended.
    void leave() noexcept;

    /// A task of this runtime has become runnable: to the end of the own queue.
    void push_new(TaskCore& task) noexcept;
    void push_woken(TaskCore& task) noexcept;
    /// The next entry of the own queue (or of what a due look around adds to it); null if there is none.
    TaskCore* next_local() noexcept;

    /// Where the loop of a spare stack shall go on with `task` (null: with whatever it finds).
    Stack& spare_for(TaskCore* task) noexcept {
        handoff_ = task;
        return take_spare();
    }
    /// A system call that a task makes and that will not wait. After many in one step the others are looked after first:
    /// timers, descriptors and mailbox; true: the task is then to give up its turn.
    bool count_io_call() noexcept;
    /// Brings what the next switches will touch nearer.
    void prefetch_next() noexcept;
    /// Leaves the current stack, on which `current` has parked, for whatever is next. Returns when it is resumed.
    Worker& switch_to_next(AfterSwitch after, void* argument) noexcept;
    /// If the task is one of the own queue that has not started, and it may run here and now: runs it on top of the
    /// current one, which awaits it. Whether it is done.
    bool try_run_inline(TaskCore& task) noexcept;
    /// Runs a new task, on another stack, until it first waits or ends; then the current task goes on.
    void run_eagerly(TaskCore& task) noexcept;

    /// Makes sure of invariant [spare]; false: no memory.
    bool reserve_spare() noexcept { return spares_ != nullptr || add_spare(); }
    /// The stack that the loop begins on, which stays from one run_on_this_thread() to the next, and one apart for what
    /// shuts the runtime down. False: no memory.
    bool reserve_to_run() noexcept;
    void give_spares_back(std::size_t keep) noexcept;

    // Read by other workers.
    Deque<detail::StdEnv, TaskCore>& deque() noexcept { return deque_; }
    Timers& timers() noexcept { return timers_; }
    Inject& mailbox() noexcept { return mailbox_; }
    Parker& parker() noexcept { return parker_; }
    const AwakeTime& awake_time() const noexcept { return awake_time_; }
    /// How often it has looked through all queues so far.
    std::uint64_t looks() const noexcept { return looks_.load(std::memory_order_relaxed); }
    void start_timer(detail::TimerNode& node) noexcept;
    bool strict() const noexcept { return strict_; }

    // Debug mode (debug_mode.cpp). A step is what a task runs between two switches.
    void end_step(TaskCore& task) noexcept;
    /// `task` runs next; null: what was below the one that has ended, or nothing.
    void begin_step(TaskCore* task) noexcept;
    /// Aborts if this thread holds a mutex that the task that is about to wait has locked.
    void check_no_mutex_held(TaskCore& task, const char* waits_for) noexcept;

    Scheduler& scheduler;
    const unsigned id;
    Stack* stack = nullptr;                // the one this worker's code runs on
    ExceptionState* exceptions = nullptr;  // this thread's: see context.hpp
    TaskCore* current = nullptr;           // the task that runs; null in the loop
    TaskCore* graveyard = nullptr;         // see graveyard.hpp; linked by next
    TaskPool::Cache cache;

private:
    friend class Simulation;
    static constexpr unsigned kPollTicks = 61;
    static constexpr unsigned kIoCallsInAStep = 64;

    [[noreturn]] static void loop_on_fresh_stack(Worker& worker);
    [[noreturn]] static void loop(Worker* worker);
    static void keep_as_spare(Worker& worker, Stack& left, void*) noexcept;
    static void free_custom_stack(Worker& worker, Stack& left, void*) noexcept;
    static void call(TaskCore& task) noexcept;
    /// A task may have gone on on another one, or in a child process, which has none.
    static Worker& worker_after_task() noexcept;
    bool may_run_inline(const TaskCore& task) const noexcept;
    void run_inline(TaskCore& task) noexcept;
    void run_inline_in_handler(TaskCore& task) noexcept;
    static Worker& run_in_place(Worker& worker, TaskCore& task) noexcept;
    static void run_without_spare(TaskCore& callback) noexcept;
    static Worker& start_on_custom_stack(Worker& worker, TaskCore& task) noexcept;
    bool add_spare() noexcept;
    bool spend_last() noexcept;
    Stack& take_spare() noexcept;

    // next.cpp
    TaskCore* next() noexcept;
    TaskCore* next_local_unusual() noexcept;
    void between_steps(const char* waits_for) noexcept;
    TaskCore* pop_own() noexcept;
    void look_around() noexcept;
    TaskCore* look_everywhere() noexcept;
    TaskCore* search() noexcept;
    TaskCore* steal_from(Worker& victim) noexcept;
    TaskCore* found(TaskCore* task) noexcept;
    TaskCore* found_by_search(TaskCore* task) noexcept;
    void sleep() noexcept;
    bool sleep_on_parker() noexcept;
    void deliver_events() noexcept;
    void poll_driver() noexcept;
    void enqueue(TaskCore& task) noexcept;

    const bool strict_;
    const bool unusual_;  // strict, simulated, or in debug mode
    const bool solo_;
    Deque<detail::StdEnv, TaskCore> deque_;
    Inject mailbox_;  // tasks for this worker alone (forced migration)
    Timers timers_;
    Parker parker_;
    Stack native_;
    Stack* spares_ = nullptr;
    std::size_t spare_count_ = 0;
    Stack* last_ = nullptr;        // out of the tasks' reach, for what ends the runtime
    TaskCore* handoff_ = nullptr;  // what the loop that is switched to shall run first
    TaskCore* front_ =
        nullptr;  // tasks that started one eagerly: they go on before the queue; linked by next
    std::size_t batch_ = 0;        // strict mode: entries left of this turn
    TimePoint step_began_{};       // debug mode
    int mutexes_held_before_ = 0;  // by this thread, when it became a worker
    unsigned ticks_ = 0;
    unsigned io_step_ = 0;  // the tick in which io_calls_ were made
    unsigned io_calls_ = 0;
    bool searching_ = false;
    bool slept_ = false;  // since it last had work
    std::atomic<bool> leave_{false};
    std::atomic<std::uint64_t> looks_{0};
    AwakeTime awake_time_;
    Random random_;
};

/// This thread's worker, or null. Not inlined, and its result must not be kept across a switch.
Worker* current_worker() noexcept;
void set_current_worker(Worker* worker) noexcept;

/// Any thread: a task of any runtime has become runnable.
void make_runnable(TaskCore& task) noexcept;

}  // namespace weft::rt
