// Who of a runtime has the cores: its workers first, and its arena what they leave.
//
// Nobody can take a core from a thread that runs user code, so each side gives way where it holds none:
//   - a worker with nothing to do looks around once instead of for as long as a wake costs, while the arena's threads and the
//     workers that are awake are more than there are cores (Scheduler::cores_taken);
//   - under weft::CoreBudget::strict a thread of the arena that the workers leave no core to is parked: it takes a task that blocks it.
//     It comes to that task when it has done what it has stolen, and wakes when the budget grows or a thread leaves the arena.
// At least one of the arena's threads is never parked, so that its calls go on whatever the workers do.
//
// oneTBB's own limit (global_control) is the process's: lowering it would starve arenas that are no part of the budget. Sizing
// each call as it begins would keep a long one at what was free then.
//
// Lock order: Arena's before ArenaSlots'. Nothing is called with ArenaSlots' held.
#pragma once

#include <weft/lowlevel.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace weft::rt {

class Arena;

/// How long a worker has been awake, waiting for a core included. Its own thread tells; any thread asks.
class AwakeTime {
public:
    void woke(TimePoint now) noexcept;
    void fell_asleep(TimePoint now) noexcept;
    Duration so_far(TimePoint now) const noexcept;

private:
    // One word with one writer, so that a reader never sees half of a change: twice the time up to now of one that sleeps; for
    // one that is awake less the moment since which it is, and odd. Relaxed: nothing else is read because of it.
    std::atomic<std::int64_t> word_{0};
};

/// Of so many cores, those that the workers leave, one at least: so many have been awake on average. A core of which they leave
/// less than a quarter is theirs.
unsigned cores_left(unsigned cores, double workers_awake) noexcept;

/// The threads that are in one arena, and how many of them may work. Any thread; outlives the arena's last thread.
class ArenaSlots {
public:
    explicit ArenaSlots(unsigned slots) noexcept : allowed_(slots) {}

    void entered() noexcept;
    void left() noexcept;
    /// Those that are in the arena and not parked. Relaxed: it decides only how long somebody looks around.
    unsigned at_work() const noexcept { return at_work_.load(std::memory_order_relaxed); }

    /// From here on so many, one at least. Returns how many threads must be sent to park().
    unsigned allow(unsigned threads) noexcept;
    /// As many of those cannot be sent.
    void not_sent(unsigned threads) noexcept;
    /// On a thread of the arena that was sent and holds nothing: returns when it may work. At once, if it may now.
    void park() noexcept;
    unsigned parked() const noexcept;

    /// Waits for a thread to enter where none is in the arena. False: close() has been called.
    bool wait_for_work() noexcept;
    /// The same, for at most so long and not for work.
    bool wait(Duration time) noexcept;
    void close() noexcept;

private:
    // Under the lock.
    void publish() noexcept { at_work_.store(present_ - parked_, std::memory_order_relaxed); }

    mutable std::mutex mutex_;
    std::condition_variable room_;   // at_work_ < allowed_
    std::condition_variable watch_;  // somebody is in the arena, or closed_
    unsigned present_ = 0;
    unsigned parked_ = 0;
    unsigned sent_ = 0;  // and not arrived
    unsigned allowed_;
    bool watcher_waits_ = false;
    bool closed_ = false;
    alignas(64) std::atomic<unsigned> at_work_{0};
};

/// Adjusts what the arena may have to what the workers leave, a hundred times a second while it is at work, on a thread of its
/// own: workers that compute on, and an arena in one long call, come by nothing that could.
class BudgetKeeper {
public:
    /// std::system_error where no thread can be had.
    BudgetKeeper(unsigned cores, std::vector<const AwakeTime*> workers, Arena& arena);
    /// The arena may have all.
    ~BudgetKeeper();
    BudgetKeeper(const BudgetKeeper&) = delete;
    BudgetKeeper& operator=(const BudgetKeeper&) = delete;

private:
    void run() noexcept;
    Duration awake_so_far(TimePoint now) const noexcept;

    const unsigned cores_;
    const std::vector<const AwakeTime*> workers_;
    Arena& arena_;
    std::thread thread_;
};

}  // namespace weft::rt
