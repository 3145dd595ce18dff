#include "scheduler.hpp"

#include <algorithm>
#include <cstdio>
#include <mutex>

#include <pthread.h>

#include "arena.hpp"
#include "completion.hpp"
#include "graveyard.hpp"
#include "interrupt.hpp"
#include "overflow.hpp"
#include "stack.hpp"
#include "threads.hpp"

namespace weft::rt {

namespace {

/// The runtimes that live: a handle may be dropped, and its task's unread error found, after its runtime has gone.
struct LivingRuntimes {
    std::mutex mutex;
    std::vector<const Scheduler*> list;  // guarded by mutex
};

std::uint64_t next_serial() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1) + 1;
}

LivingRuntimes& living_runtimes() noexcept {
    static auto* runtimes = new LivingRuntimes;
    return *runtimes;
}

}  // namespace

bool begin_visit_if_alive(const Scheduler& scheduler) noexcept {
    LivingRuntimes& living = living_runtimes();
    std::lock_guard guard(living.mutex);
    if (std::find(living.list.begin(), living.list.end(), &scheduler) == living.list.end())
        return false;
    scheduler.begin_visit();
    return true;
}

bool report_to_sink(const Scheduler& scheduler, const std::string& context,
                    const std::exception_ptr& error, TaskCore* task) noexcept {
    if (!begin_visit_if_alive(scheduler)) return false;
    // Without the lock: it is the user's code.
    detail::ErrorSink sink = scheduler.options().error_sink;
    if (sink != nullptr) sink(scheduler.options().error_sink_argument, context, error, task);
    scheduler.end_visit();
    return sink != nullptr;
}

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options),
      serial_(next_serial()),
      simulation_(options.simulated ? std::make_unique<Simulation>(options.seed, options.network)
                                    : nullptr),
      driver_(simulation_ ? simulation_->make_driver() : make_driver(options.poller)),
      idle_(options.workers),
      arena_slots_(std::make_shared<ArenaSlots>(options.cores)) {
    install_overflow_handler();
    Rivals rivals = options.workers > 1 ? Rivals::thieves : Rivals::none;
    for (unsigned i = 0; i < options.workers; ++i)
        workers_.push_back(std::make_unique<Worker>(*this, i, rivals, options.seed * 1024 + i));
    if (simulation_) simulation_->prepare(*this);
    std::lock_guard guard(living_runtimes().mutex);
    living_runtimes().list.push_back(this);
}

Scheduler::~Scheduler() {
    stop();
    // Before anything goes that a call still running there could touch.
    join_threads();
    budget_keeper_.reset();
    arena_.reset();
    {
        std::lock_guard guard(living_runtimes().mutex);
        std::erase(living_runtimes().list, this);
    }
    while (visitors_.load() != 0) std::this_thread::yield();
    if (simulation_) simulation_->abandon(*this);
}

namespace {

/// How long the end waits in silence.
constexpr std::chrono::seconds kSilence{10};

/// Pools whose calls did not end with their runtime: their threads are still in there.
void leave_behind(std::unique_ptr<Threads> threads) noexcept {
    static std::mutex mutex;
    static auto& left = *new std::vector<std::unique_ptr<Threads>>;
    std::lock_guard guard(mutex);
    try {
        left.reserve(left.size() + 1);
        left.push_back(std::move(threads));
    } catch (const std::bad_alloc&) {
        static_cast<void>(threads.release());
    }
}

}  // namespace

// Only calls that abandon_on_cancel has left behind can be there, as the others' tasks have ended; and destructors of what
// functions have made thread_local.
void Scheduler::join_threads() noexcept {
    if (threads_ == nullptr) return;
    threads_->close(Shutdown::drain);
    const Duration limit = options_.abandoned_grace;
    const auto now = std::chrono::steady_clock::now();
    const bool for_ever = limit > std::chrono::hours(24 * 365);
    const auto deadline = for_ever ? OffloadCall::Clock::time_point::max() : now + limit;
    if (threads_->join(std::min(now + kSilence, deadline))) return threads_.reset();
    threads_->report_left();
    if (for_ever ? (threads_->join(), true) : threads_->join(deadline)) return threads_.reset();
    threads_->detach();
    leave_behind(std::move(threads_));
}

void Scheduler::start(unsigned first) {
    if (simulation_) return;
    first_thread_ = first;
    // Here, where somebody can be told: a thread could only end the process, as could who shuts the runtime down.
    for (auto& worker : workers_)
        if (!worker->reserve_to_run()) throw std::bad_alloc();
    try {
        for (unsigned i = first; i < workers_.size(); ++i) {
            worker_threads_.emplace_back([this, i] { workers_[i]->run_on_this_thread(); });
            char name[16];
            std::snprintf(name, sizeof name, "weft-%u", i);
            pthread_setname_np(worker_threads_.back().native_handle(), name);
        }
    } catch (...) {
        join_workers();
        throw;
    }
}

void Scheduler::run_until_done(TaskCore& task) {
    struct Leaver : detail::JoinNode {
        Worker* worker = nullptr;
    } leaver;
    leaver.worker = workers_[0].get();
    leaver.notify = [](detail::JoinNode& self, detail::Core&) noexcept {
        static_cast<Leaver&>(self).worker->leave();
    };
    if (!detail::add_joiner(task, leaver)) return;
    workers_[0]->run_on_this_thread();
    // notify ran under the task's lock: after this it has returned, and `leaver` may go.
    std::lock_guard guard(task.lock);
}

Sigint Scheduler::run_main(TaskCore& task) {
    struct Installed {
        Scheduler& scheduler;
        bool handler;
        explicit Installed(Scheduler& s, TaskCore& main) : scheduler(s) {
            s.sigint_ = Sigint::none;
            s.main_ = &main;
            handler = install_interrupt_handler(s);
        }
        ~Installed() {
            if (handler) remove_interrupt_handler();
            std::lock_guard guard(scheduler.main_lock_);
            scheduler.main_ = nullptr;
            // It came when main waited no more: as in asyncio, one that returns then ends cancelled all the same.
            if (scheduler.interrupt_pending_.exchange(false)) scheduler.sigint_ = Sigint::too_late;
        }
    };
    {
        Installed installed(*this, task);
        // Not before: with several workers it may begin at once.
        detail::launch_in(*this, task);
        run_until_done(task);
    }
    return sigint_;
}

void Scheduler::interrupt() noexcept {
    interrupt_pending_.store(true);
    driver_->wake();
}

void Scheduler::cancel_main() noexcept {
    std::lock_guard guard(main_lock_);
    if (!interrupt_pending_.exchange(false) || main_ == nullptr) return;
    sigint_ = detail::cancel_task(*main_, {}) ? Sigint::delivered : Sigint::too_late;
}

void Scheduler::join_workers() noexcept {
    for (std::size_t i = 0; i < worker_threads_.size(); ++i) workers_[first_thread_ + i]->leave();
    for (std::thread& thread : worker_threads_) thread.join();
    worker_threads_.clear();
}

void Scheduler::stop() noexcept {
    join_workers();
    // Nobody will run what comes from now on, or came too late to be seen.
    inject_.close();
    while (TaskCore* task = inject_.pop()) release_unrun(*task);
    for (auto& worker : workers_) {
        while (TaskCore* task = worker->mailbox().pop()) release_unrun(*task);
        while (TaskCore* task = worker->deque().pop_oldest(drop_later)) release_unrun(*task);
    }
    detail::discard_now();
}

Threads& Scheduler::threads() {
    std::lock_guard guard(offload_mutex_);
    if (threads_ == nullptr)
        threads_ = std::make_unique<Threads>(
            detail::ThreadsOptions{.most = detail::default_threads(options_.cores)});
    return *threads_;
}

Arena& Scheduler::arena() {
    std::lock_guard guard(offload_mutex_);
    if (arena_ == nullptr)
        arena_ = std::make_unique<Arena>(
            detail::ArenaOptions{.cores = options_.cores, .nice = options_.arena_nice},
            arena_slots_);
    // In a simulation the workers are fibers of one thread.
    if (arena_yields_cores() && simulation_ == nullptr && budget_keeper_ == nullptr) {
        std::vector<const AwakeTime*> awake;
        for (auto& worker : workers_) awake.push_back(&worker->awake_time());
        budget_keeper_ = std::make_unique<BudgetKeeper>(options_.cores, std::move(awake), *arena_);
    }
    return *arena_;
}

void Scheduler::inject(TaskCore& task) noexcept {
    Visit visit(*this);
    if (!try_inject(task)) release_unrun(task);
}

bool Scheduler::try_inject(TaskCore& task) noexcept {
    if (!inject_.push(task)) return false;
    wake_one();
    return true;
}

void Scheduler::wake_one() noexcept {
    int worker = idle_.notify();
    if (worker != Idle<detail::StdEnv>::kNobody) ring(static_cast<unsigned>(worker));
}

void Scheduler::wake(unsigned worker) noexcept {
    // See Idle::take: a publisher may have counted on the searcher that this one did not become.
    if (!idle_.take(worker)) wake_one();
    ring(worker);
}

void Scheduler::ring(unsigned worker) noexcept {
    if (simulation_)
        simulation_->wake(worker);
    else
        workers_[worker]->parker().give_token(driver_.get());
}

bool Scheduler::take_driver_to_wait() noexcept {
    for (int i = 1;; ++i) {
        DriverUse use = DriverUse::none;
        if (driver_use_.compare_exchange_strong(use, DriverUse::waits)) return true;
        if (use == DriverUse::waits) return false;
        if (i % 64 == 0)
            std::this_thread::yield();
        else
            detail::cpu_relax();
    }
}

bool Scheduler::any_work_for(Worker& worker) noexcept {
    if (!inject_.empty() || !worker.mailbox().empty()) return true;
    for (auto& other : workers_)
        if (other->deque().size() != 0) return true;
    return false;
}

}  // namespace weft::rt
