// A runtime: its workers, its inject queue, who sleeps, its driver; start, submit, stop.
//
// Worker 0 belongs to the thread that calls run() (or, in a weft::Runtime, to a thread like the others); workers 1..
// have threads of their own from start() to stop(). Shutdown in steps: cancel_leftovers() has ended every task
// (api/run.cpp waits for them in a task of its own); stop() tells each worker to leave its loop and joins; the
// destructor gives stacks back. What a stray thread submits too late to be run ends as cancelled, in stop() or at once.
#pragma once

#include <weft/detail/engine.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core_budget.hpp"
#include "driver.hpp"
#include "fork_guard.hpp"
#include "idle.hpp"
#include "inject.hpp"
#include "simulation.hpp"
#include "worker.hpp"

namespace weft::rt {

using SchedulerOptions = detail::EngineOptions;
using detail::Sigint;

class Arena;
class Threads;

class Scheduler {
public:
    explicit Scheduler(const SchedulerOptions& options);
    ~Scheduler();
    Scheduler(const Scheduler&) = delete;
    Scheduler& operator=(const Scheduler&) = delete;

    /// Starts the threads of workers first.. (0 or 1). std::system_error: none is left running.
    void start(unsigned first);
    /// Runs worker 0 on this thread until the task is done.
    void run_until_done(TaskCore& task);
    /// Launches a main task, which the first SIGINT cancels, and runs worker 0 until it is done. Whether one came.
    Sigint run_main(TaskCore& task);
    /// From a signal handler: run_main's task is to be cancelled.
    void interrupt() noexcept;
    bool interrupt_pending() const noexcept { return interrupt_pending_.load(); }
    void cancel_main() noexcept;
    /// Ends and joins all threads. No task of this runtime may be running on the caller's thread.
    void stop() noexcept;

    /// Any thread: a task that no worker of this runtime made runnable.
    void inject(TaskCore& task) noexcept;
    /// The same; false: it has been stopped, and the task is the caller's still.
    bool try_inject(TaskCore& task) noexcept;

    /// A thread from outside that is about to let a task of this runtime go on, and has more to do here after that.
    /// The task may end, and with it the runtime, at once: so the destructor waits for those visitors. To be made
    /// while something keeps the runtime alive.
    void begin_visit() const noexcept { visitors_.fetch_add(1); }
    void end_visit() const noexcept { visitors_.fetch_sub(1); }
    class Visit {
    public:
        explicit Visit(Scheduler& scheduler) noexcept : scheduler_(scheduler) {
            scheduler_.visitors_.fetch_add(1);
        }
        ~Visit() { scheduler_.visitors_.fetch_sub(1); }
        Visit(const Visit&) = delete;
        Visit& operator=(const Visit&) = delete;

    private:
        Scheduler& scheduler_;
    };
    /// Any thread, after publishing work in a worker's queue.
    void work_published() noexcept { wake_one(); }
    void wake_one() noexcept;
    void wake(unsigned worker) noexcept;
    /// A worker's last look before it sleeps.
    bool any_work_for(Worker& worker) noexcept;

    std::vector<std::unique_ptr<Worker>>& workers() noexcept { return workers_; }
    Inject& injected() noexcept { return inject_; }
    Idle<detail::StdEnv>& idle() noexcept { return idle_; }
    Driver& driver() noexcept { return *driver_; }
    Simulation* simulation() const noexcept { return simulation_.get(); }
    TimePoint now() noexcept { return driver_->now(); }

    /// No other of this process has had it, or will have.
    std::uint64_t serial() const noexcept { return serial_; }
    bool strict() const noexcept { return options_.strict; }
    bool debug() const noexcept { return options_.debug; }
    bool solo() const noexcept { return workers_.size() == 1; }
    /// Whether there are more workers awake and threads at work in the arena than cores. One relaxed read while it is idle.
    bool cores_taken() const noexcept {
        const unsigned in_arena = arena_slots_->at_work();
        if (in_arena == 0 || !options_.workers_yield_cores) return false;
        return in_arena + workers_.size() - idle_.sleeping() > options_.cores;
    }
    ArenaSlots& arena_slots() noexcept { return *arena_slots_; }
    bool arena_yields_cores() const noexcept { return options_.arena_yields_cores; }
    std::size_t stack_bytes() const noexcept { return options_.stack_bytes; }
    const SchedulerOptions& options() const noexcept { return options_; }

    /// Tasks that ended with a value though they were cancelled and nobody took that back.
    std::int64_t swallowed_cancels() const noexcept { return swallowed_cancels_.load(); }
    void note_swallowed_cancels(int more) noexcept { swallowed_cancels_.fetch_add(more); }

    /// The ways out, made when they are first used. std::bad_alloc.
    Threads& threads();
    Arena& arena();

    // One worker at a time has the driver. `poll_until` tells the others when one that waits will look up by itself.
    /// False: another one waits already. One that only polls is waited for: it may go on to compute for long, and then
    /// nobody would wait.
    bool take_driver_to_wait() noexcept;
    bool try_take_driver_to_poll() noexcept {
        DriverUse free = DriverUse::none;
        return driver_use_.compare_exchange_strong(free, DriverUse::polls);
    }
    void release_driver() noexcept { driver_use_.store(DriverUse::none); }
    std::atomic<std::int64_t>& poll_until() noexcept { return poll_until_; }
    /// Whether the one who polls looks up by itself soon, for the tasks of a worker that computes on.
    std::atomic<bool>& watched() noexcept { return watched_; }

private:
    enum class DriverUse : std::uint8_t { none, polls, waits };

    void ring(unsigned worker) noexcept;
    void join_workers() noexcept;
    void join_threads() noexcept;

    ForkForbidden fork_forbidden_;
    SchedulerOptions options_;
    const std::uint64_t serial_;
    std::unique_ptr<Simulation> simulation_;
    std::unique_ptr<Driver> driver_;
    Inject inject_;
    mutable std::atomic<unsigned> visitors_{0};
    Idle<detail::StdEnv> idle_;
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<std::thread> worker_threads_;  // of the workers from first_thread_ on
    unsigned first_thread_ = 0;
    std::atomic<bool> interrupt_pending_{false};
    Sigint sigint_ = Sigint::none;  // guarded by main_lock_
    TaskCore* main_ = nullptr;      // guarded by main_lock_
    detail::SpinLock main_lock_;
    std::mutex offload_mutex_;
    std::unique_ptr<Threads> threads_;
    std::shared_ptr<ArenaSlots> arena_slots_;
    std::unique_ptr<Arena> arena_;
    std::unique_ptr<BudgetKeeper> budget_keeper_;
    std::atomic<std::int64_t> swallowed_cancels_{0};
    std::atomic<DriverUse> driver_use_{DriverUse::none};
    std::atomic<std::int64_t> poll_until_{INT64_MIN};
    std::atomic<bool> watched_{false};
};

/// begin_visit() of a runtime that may have gone; false: it has.
bool begin_visit_if_alive(const Scheduler& scheduler) noexcept;

/// Tells the runtime's error sink, if the runtime still lives and has one.
bool report_to_sink(const Scheduler& scheduler, const std::string& context,
                    const std::exception_ptr& error, TaskCore* task) noexcept;

}  // namespace weft::rt
