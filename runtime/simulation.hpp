// Virtual time and one seed: N virtual workers on one thread.
//
// In a simulation every worker is a Worker like any other, but they share one thread and take turns: at each look for
// work and each wake-up the seed decides who goes on. Sleeping costs no time: when all workers sleep, the clock jumps
// to the next deadline. It does not jump while real work is under way outside (an offload): then the thread really
// waits for it. TCP is a network of its own in the same time (network.hpp). Where tasks wait for the kernel's
// descriptors, it waits a millisecond for them before the clock jumps, and what comes from them is not repeatable. When
// all sleep, nothing is due and nothing is outside, the program is
// deadlocked, and says so.
//
// What makes a run repeatable: one thread, one seed for every choice, and no clock but this one. What user code does
// with other threads, other clocks or the order of addresses is outside of it.
#pragma once

#include <weft/detail/simulated_network.hpp>

#include <atomic>
#include <cstdint>
#include <memory>

#include "driver.hpp"
#include "random.hpp"

namespace weft::rt {

class Network;
class Scheduler;
class Worker;

class Simulation {
public:
    Simulation(std::uint64_t seed, const detail::NetworkOptions& network);
    ~Simulation();

    /// The driver that the scheduler uses: virtual clock, real bell.
    std::unique_ptr<Driver> make_driver();
    /// Gives every worker but the first a stack to begin on.
    void prepare(Scheduler& scheduler);
    void abandon(Scheduler& scheduler) noexcept;

    /// A point where the schedule may turn: perhaps another virtual worker goes on first.
    void turn(Worker& worker) noexcept;
    /// The worker has found nothing: others go on; when nobody can, time jumps. Returns when there may be work.
    void sleep(Worker& worker) noexcept;
    /// Any thread.
    void wake(unsigned worker) noexcept;

    /// Any thread: real work outside has begun or ended; time stands still meanwhile.
    void outside_begins() noexcept { outside_.fetch_add(1); }
    void outside_ends() noexcept;

    /// A wait for a real descriptor. Whether its peer is about to answer nobody knows: time goes on, a little later.
    class IoWait {
    public:
        explicit IoWait(const Scheduler* scheduler) noexcept;
        ~IoWait();
        IoWait(const IoWait&) = delete;
        IoWait& operator=(const IoWait&) = delete;

    private:
        Simulation* simulation_;
    };

    /// Null: its sockets are the kernel's.
    const std::shared_ptr<Network>& network() const noexcept { return network_; }

    TimePoint now() const noexcept { return TimePoint(Duration(now_.load())); }
    std::uint64_t seed() const noexcept { return seed_; }
    /// A digest of all choices made so far: equal seeds give equal hashes.
    std::uint64_t schedule_hash() const noexcept { return hash_; }
    TimePoint started() const noexcept { return started_; }

private:
    void go_to(Worker& from, unsigned to) noexcept;
    bool advance(Scheduler& scheduler) noexcept;
    bool wait_outside(Scheduler& scheduler) noexcept;
    [[noreturn]] void report_deadlock(Scheduler& scheduler) noexcept;

    const std::uint64_t seed_;
    Random random_;
    std::uint64_t hash_ = 0;
    std::atomic<std::int64_t> now_;
    TimePoint started_;
    std::shared_ptr<Network> network_;
    std::atomic<unsigned> outside_{0};
    std::atomic<unsigned> io_waits_{0};
    std::unique_ptr<std::atomic<bool>[]> awake_;  // by worker
    Driver* bell_ = nullptr;
};

/// Of the simulation that runs on this thread; null: none, or it has none of its own.
std::shared_ptr<Network> simulated_network() noexcept;

}  // namespace weft::rt
