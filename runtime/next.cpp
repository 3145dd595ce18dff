// What a worker runs next: its own queue, a look around, a search among the others, sleep.
#include <algorithm>
#include <utility>

#include "graveyard.hpp"
#include "scheduler.hpp"
#include "stack.hpp"
#include "sys.hpp"
#include "worker.hpp"

#ifndef WEFT_FORCE_MIGRATE
#define WEFT_FORCE_MIGRATE 0
#endif

namespace weft::rt {

namespace {

// Rounds over all victims before a searcher sleeps. A wake costs 20 us until it runs, so looking for about as long
// is what a sleep that ends at once would have cost (Karlin et al., competitive spinning).
constexpr int kSearchRounds = 64;
constexpr int kRelaxPerRound = 16;
// A thief brings some of the victim's queue home at once, but no more than this: the victim may be about to run it.
constexpr std::size_t kMostStolen = 32;
// While others are busy, one sleeper looks up this often: for a task that was woken onto the queue of a worker which
// then computes for long (waking a worker for each such task would cost a wake per hand-over), and for its timers.
constexpr Duration kSentinel = std::chrono::milliseconds(10);

}  // namespace

// --- publishing ---------------------------------------------------------------------------------------------------

void Worker::enqueue(TaskCore& task) noexcept {
    try {
        deque_.push(&task);
    } catch (const std::bad_alloc&) {
        scheduler.injected().push(task);
    }
}

void Worker::push_new(TaskCore& task) noexcept {
    enqueue(task);
    if (!solo_) scheduler.work_published();
}

void Worker::push_woken(TaskCore& task) noexcept {
    if (WEFT_FORCE_MIGRATE != 0 && !solo_ && scheduler.simulation() == nullptr) {
        // So that what must not cross a switch is found at once, a fiber never goes on where it was woken.
        auto& next = *scheduler.workers()[(id + 1) % scheduler.workers().size()];
        next.mailbox_.push(task);
        scheduler.wake(next.id);
        return;
    }
    bool alone = deque_.size() == 0;
    enqueue(task);
    // The first one is this worker's own next: waking another for it would tear a pair of tasks apart.
    if (!alone && !solo_) scheduler.work_published();
}

// --- the own queue ------------------------------------------------------------------------------------------------

// A thousand tasks that take turns do not fit the first-level cache: their words, stacks and frames would each miss in
// turn. Six steps ahead the task, four ahead its stack's record, two ahead the frames it left (measured: 56 ns a yield
// without, 24 with; nearer or farther is slower).
void Worker::prefetch_next() noexcept {
#if !WEFT_TSAN  // other threads may be changing what these hints look at
    TaskCore* far = deque_.peek(6);
    if (far == nullptr) return;
    __builtin_prefetch(far, 1);
    // Thieves may have emptied the queue since: each look stands for itself.
    TaskCore* nearer = deque_.peek(4);
    if (nearer != nullptr && nearer->stack != nullptr) __builtin_prefetch(nearer->stack, 1);
    TaskCore* nearest = deque_.peek(2);
    Stack* record = nearest != nullptr ? nearest->stack : nullptr;
    if (record == nullptr) return;
    auto* frames = static_cast<std::byte*>(record->context);
    __builtin_prefetch(frames, 1);
    __builtin_prefetch(frames + 64, 1);
    __builtin_prefetch(frames + 128, 1);
#endif
}

TaskCore* Worker::pop_own() noexcept {
    if (front_ != nullptr) {
        TaskCore* task = front_;
        front_ = task->next;
        return task;
    }
    prefetch_next();
    return deque_.pop_oldest(drop_later);
}

TaskCore* Worker::next_local() noexcept {
    if (unusual_) [[unlikely]]
        return next_local_unusual();
    if (++ticks_ % kPollTicks == 0) look_around();
    return pop_own();
}

TaskCore* Worker::next_local_unusual() noexcept {
    // order [waits_for]: relaxed - this thread's own.
    between_steps(current != nullptr ? current->waits_for.load(std::memory_order_relaxed)
                                     : nullptr);
    ++ticks_;
    if (strict_) {
        if (front_ == nullptr && batch_ == 0) {
            look_around();
            batch_ = deque_.size();
        }
        if (front_ == nullptr && batch_ > 0) --batch_;
    } else if (ticks_ % kPollTicks == 0) {
        look_around();
    }
    TaskCore* task = pop_own();
    begin_step(task);
    return task;
}

void Worker::between_steps(const char* waits_for) noexcept {
    if (current != nullptr) {
        end_step(*current);
        check_no_mutex_held(*current, waits_for != nullptr ? waits_for : "yield");
    }
    if (Simulation* simulation = scheduler.simulation()) simulation->turn(*this);
}

void Worker::start_timer(detail::TimerNode& node) noexcept {
    timers_.start(node);
    if (solo_) return;
    // It may be due before the one who polls looks up by itself, while this worker goes on with something else.
    if (timers_.next_deadline().time_since_epoch().count() < scheduler.poll_until().load())
        scheduler.driver().wake();
}

bool Worker::count_io_call() noexcept {
    if (io_step_ != ticks_) {
        io_step_ = ticks_;
        io_calls_ = 0;
    }
    if (++io_calls_ <= kIoCallsInAStep) return false;
    io_calls_ = 0;
    look_around();
    return true;
}

void Worker::look_around() noexcept {
    // First: who rings the bell has said before what is to be looked at.
    if (scheduler.driver().watches()) poll_driver();
    if (scheduler.interrupt_pending()) [[unlikely]]
        scheduler.cancel_main();
    if (timers_.next_deadline() != lowlevel::kNever) timers_.expire(scheduler.now());
    while (TaskCore* task = mailbox_.pop()) enqueue(*task);
    if (scheduler.injected().empty()) return;
    // A fair share, so that others get some too.
    std::size_t share = scheduler.injected().size() / scheduler.workers().size() + 1;
    for (; share > 0; --share) {
        TaskCore* task = scheduler.injected().pop();
        if (task == nullptr) return;
        enqueue(*task);
    }
    if (!scheduler.injected().empty() && !solo_) scheduler.work_published();
}

// --- the others ---------------------------------------------------------------------------------------------------

TaskCore* Worker::steal_from(Worker& victim) noexcept {
    TaskCore* first = victim.deque_.steal(drop_later);
    if (first == nullptr) return nullptr;
    for (std::size_t more = std::min(victim.deque_.size() / 2, kMostStolen); more > 0; --more) {
        TaskCore* task = victim.deque_.steal(drop_later);
        if (task == nullptr) break;
        enqueue(*task);
    }
    return first;
}

TaskCore* Worker::found_by_search(TaskCore* task) noexcept {
    searching_ = false;
    slept_ = false;
    if (unusual_) [[unlikely]]
        begin_step(task);
    if (scheduler.idle().found()) scheduler.work_published();
    return task;
}

// Who comes from its sleep to work may be the first that is busy, and then nobody looks up for a task that waits for
// it (see kSentinel): as a last searcher does, it wakes another, which will.
TaskCore* Worker::found(TaskCore* task) noexcept {
    if (searching_) return found_by_search(task);
    bool slept = std::exchange(slept_, false);
    if (slept && !solo_) scheduler.work_published();
    return task;
}

TaskCore* Worker::look_everywhere() noexcept {
    looks_.store(looks_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    look_around();
    if (TaskCore* task = pop_own()) return task;
    auto& workers = scheduler.workers();
    auto n = static_cast<unsigned>(workers.size());
    unsigned start = random_.below(n);
    for (unsigned i = 0; i < n; ++i) {
        Worker& victim = *workers[(start + i) % n];
        if (&victim == this) continue;
        if (TaskCore* task = steal_from(victim)) return task;
        if (victim.timers_.next_deadline() != lowlevel::kNever &&
            victim.timers_.expire(scheduler.now()) > 0)
            if (TaskCore* task = pop_own()) return task;
    }
    return nullptr;
}

TaskCore* Worker::search() noexcept {
    if (solo_) return nullptr;
    if (!searching_ && !(searching_ = scheduler.idle().start_search())) return nullptr;
    int rounds = scheduler.simulation() != nullptr ? 1 : kSearchRounds;
    for (int round = 0; round < rounds; ++round) {
        if (TaskCore* task = look_everywhere()) return found_by_search(task);
        // The arena's threads compute meanwhile if it sleeps; where a core is free it may as well look on.
        if (leave_.load() || scheduler.cores_taken()) break;
        for (int i = 0; i < kRelaxPerRound; ++i) detail::cpu_relax();
    }
    return nullptr;
}

TaskCore* Worker::next() noexcept {
    if (graveyard != nullptr) [[unlikely]]
        empty_graveyard();
    if (handoff_ != nullptr) {
        TaskCore* task = handoff_;
        handoff_ = nullptr;
        return task;
    }
    for (;;) {
        if (graveyard != nullptr) [[unlikely]]
            empty_graveyard();
        if (leave_.load()) {
            if (searching_) found_by_search(nullptr);
            return nullptr;
        }
        TaskCore* task = next_local();
        if (task == nullptr) {
            look_around();
            task = pop_own();
            if (unusual_) [[unlikely]]
                begin_step(task);
        }
        if (task != nullptr) return found(task);
        if ((task = search()) != nullptr) return task;
        sleep();
    }
}

// --- sleep --------------------------------------------------------------------------------------------------------

void Worker::sleep() noexcept {
    // A destructor may be what others wait for.
    if (graveyard != nullptr) return;
    Idle<detail::StdEnv>& idle = scheduler.idle();
    // Before anything else: from here on others count it among the sleepers.
    slept_ = true;
    idle.announce_sleep(id, searching_);
    searching_ = false;
    if (leave_.load() || scheduler.any_work_for(*this)) {
        searching_ = !idle.cancel_sleep(id);
        return;
    }
    bool has_driver = false;
    const bool timed = scheduler.arena_yields_cores();
    if (timed) awake_time_.fell_asleep(scheduler.now());
    if (Simulation* simulation = scheduler.simulation())
        simulation->sleep(*this);
    else
        has_driver = sleep_on_parker();
    if (timed) awake_time_.woke(scheduler.now());
    searching_ = !idle.cancel_sleep(id);
    // Not before: what it makes runnable might wake it by a token of its own.
    if (has_driver) deliver_events();
}

void Worker::deliver_events() noexcept {
    scheduler.driver().deliver();
    scheduler.release_driver();
}

void Worker::poll_driver() noexcept {
    if (!scheduler.try_take_driver_to_poll()) return;
    scheduler.driver().wait(sys::kAtOnce);
    deliver_events();
}

/// Whether it has the driver, with what has come.
bool Worker::sleep_on_parker() noexcept {
    bool others_busy = scheduler.idle().sleeping() < scheduler.workers().size();
    if (!scheduler.take_driver_to_wait()) {
        // Who polls went to sleep when all did.
        if (others_busy && !scheduler.watched().load()) scheduler.driver().wake();
        parker_.sleep(timers_.next_deadline());
        return false;
    }
    others_busy = scheduler.idle().sleeping() < scheduler.workers().size();
    scheduler.watched().store(others_busy);
    TimePoint deadline = others_busy ? scheduler.now() + kSentinel : lowlevel::kNever;
    auto earliest = [&] {
        for (auto& worker : scheduler.workers())
            deadline = std::min(deadline, worker->timers_.next_deadline());
    };
    earliest();
    scheduler.poll_until().store(deadline.time_since_epoch().count());
    // Again: a timer started between the look and the store has not seen the store (both sides seq_cst).
    earliest();
    parker_.sleep_in(scheduler.driver(), deadline);
    scheduler.poll_until().store(INT64_MIN);
    scheduler.watched().store(false);
    return true;
}

}  // namespace weft::rt
