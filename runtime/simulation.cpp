#include "simulation.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "check.hpp"
#include "dump.hpp"
#include "network.hpp"
#include "scheduler.hpp"
#include "stack.hpp"

namespace weft::rt {

namespace {

// Real time that a stalled simulation waits for a thread outside before it says that there is none.
constexpr Duration kStall = std::chrono::seconds(2);

// Real time that a descriptor is given before virtual time goes on without it.
constexpr Duration kPatience = std::chrono::milliseconds(1);

class SimulatedDriver final : public Driver {
public:
    explicit SimulatedDriver(Simulation& simulation)
        : simulation_(simulation), bell_(rt::make_driver(detail::PollerKind::epoll)) {}
    TimePoint now() noexcept override { return simulation_.now(); }
    void wait(TimePoint deadline) noexcept override { bell_->wait(deadline); }
    bool deliver() noexcept override { return bell_->deliver(); }
    void wake() noexcept override { bell_->wake(); }
    bool watches() const noexcept override { return bell_->watches(); }
    Reactor& reactor() noexcept override { return bell_->reactor(); }

private:
    Simulation& simulation_;
    std::unique_ptr<Driver> bell_;
};

}  // namespace

Simulation::Simulation(std::uint64_t seed, const detail::NetworkOptions& network)
    : seed_(seed),
      random_(seed),
      // A clock that has run for a while: code that subtracts from now() must not fall below zero.
      now_(std::chrono::duration_cast<Duration>(std::chrono::hours(24)).count()),
      started_(now()),
      network_(network.in_memory ? std::make_shared<Network>(seed, network, started_) : nullptr) {}

Simulation::~Simulation() {
    if (network_ != nullptr) network_->end();
}

std::unique_ptr<Driver> Simulation::make_driver() {
    auto driver = std::make_unique<SimulatedDriver>(*this);
    bell_ = driver.get();
    return driver;
}

void Simulation::prepare(Scheduler& scheduler) {
    awake_ = std::make_unique<std::atomic<bool>[]>(scheduler.workers().size());
    awake_[0].store(true);
    for (std::size_t i = 0; i < scheduler.workers().size(); ++i) {
        Worker& worker = *scheduler.workers()[i];
        if (!worker.reserve_to_run()) {
            abandon(scheduler);
            throw std::bad_alloc();
        }
        if (i == 0) continue;
        worker.exceptions = exception_state_of_this_thread();
        worker.stack = &worker.take_spare();
        awake_[i].store(true);
    }
}

void Simulation::abandon(Scheduler& scheduler) noexcept {
    for (std::size_t i = 1; i < scheduler.workers().size(); ++i) {
        Worker& worker = *scheduler.workers()[i];
        if (worker.stack != nullptr) StackPool::instance().give(worker.stack);
        worker.stack = nullptr;
    }
}

void Simulation::go_to(Worker& from, unsigned to) noexcept {
    Worker& next = *from.scheduler.workers()[to];
    if (&next == &from) return;
    next.exceptions = from.exceptions;
    set_current_worker(&next);
    switch_worker(from, next);
    set_current_worker(&from);
}

void Simulation::turn(Worker& worker) noexcept {
    auto n = static_cast<unsigned>(worker.scheduler.workers().size());
    if (n == 1) return;
    unsigned choice = random_.below(n);
    hash_ = (hash_ ^ choice) * 0x100000001B3ULL;
    if (awake_[choice].load()) go_to(worker, choice);
}

void Simulation::wake(unsigned worker) noexcept {
    awake_[worker].store(true);
    if (current_worker() == nullptr) bell_->wake();
}

void Simulation::outside_ends() noexcept {
    outside_.fetch_sub(1);
    bell_->wake();
}

Simulation::IoWait::IoWait(const Scheduler* scheduler) noexcept
    : simulation_(scheduler != nullptr ? scheduler->simulation() : nullptr) {
    if (simulation_ != nullptr) simulation_->io_waits_.fetch_add(1);
}

Simulation::IoWait::~IoWait() {
    if (simulation_ != nullptr) simulation_->io_waits_.fetch_sub(1);
}

void Simulation::sleep(Worker& worker) noexcept {
    Scheduler& scheduler = worker.scheduler;
    awake_[worker.id].store(false);
    while (!awake_[worker.id].load()) {
        auto n = static_cast<unsigned>(scheduler.workers().size());
        unsigned start = random_.below(n);
        unsigned i = 0;
        while (i < n && !awake_[(start + i) % n].load()) ++i;
        if (i < n) {
            hash_ = (hash_ ^ (start + i)) * 0x100000001B3ULL;
            go_to(worker, (start + i) % n);
        } else if (advance(scheduler) || wait_outside(scheduler)) {
            awake_[worker.id].store(true);
        }
    }
}

bool Simulation::advance(Scheduler& scheduler) noexcept {
    if (outside_.load() != 0 || !scheduler.injected().empty()) return false;
    if (io_waits_.load() != 0) {
        bell_->wait(std::chrono::steady_clock::now() + kPatience);
        if (bell_->deliver()) return true;
    }
    TimePoint next = network_ != nullptr ? network_->next_due() : lowlevel::kNever;
    for (auto& worker : scheduler.workers())
        next = std::min(next, worker->timers().next_deadline());
    if (next == lowlevel::kNever) return false;
    now_.store(std::max(now_.load(), next.time_since_epoch().count()));
    if (network_ != nullptr) {
        network_->set_now(now());
        network_->deliver();
    }
    return true;
}

/// Really waits for a thread outside. True: something may have come.
bool Simulation::wait_outside(Scheduler& scheduler) noexcept {
    if (!scheduler.injected().empty()) return true;
    bool expected = outside_.load() != 0 || io_waits_.load() != 0;
    auto until = std::chrono::steady_clock::now() + kStall;
    bell_->wait(expected ? lowlevel::kNever : TimePoint(until));
    bell_->deliver();
    if (!expected && scheduler.injected().empty() && outside_.load() == 0 &&
        std::chrono::steady_clock::now() >= until)
        report_deadlock(scheduler);
    return true;
}

void Simulation::report_deadlock(Scheduler& scheduler) noexcept {
    std::fprintf(
        stderr,
        "weft: deadlock: every task waits, nothing is due and nothing is under way outside "
        "(simulation, seed %llu)\n",
        static_cast<unsigned long long>(seed_));
    dump_tasks(scheduler, stderr);
    std::abort();
}

std::shared_ptr<Network> simulated_network() noexcept {
    Worker* worker = current_worker();
    Simulation* simulation = worker != nullptr ? worker->scheduler.simulation() : nullptr;
    return simulation != nullptr ? simulation->network() : nullptr;
}

}  // namespace weft::rt
