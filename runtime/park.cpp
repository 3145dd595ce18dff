// The one way to wait and the one way to wake: lowlevel.hpp tells the contract, task_word.hpp the protocol.
#include <weft/detail/basic_errors.hpp>

#include <mutex>

#include "check.hpp"
#include "completion.hpp"
#include "fork_guard.hpp"
#include "offload.hpp"
#include "scheduler.hpp"
#include "stack.hpp"
#include "switch.hpp"

namespace weft::rt {

using detail::Core;
using detail::CoreKind;
using detail::TimerNode;
using detail::Waiter;
using lowlevel::Interrupt;
using lowlevel::WaitReason;
using lowlevel::Woken;

namespace {

/// Lives on the parked stack.
struct Parking : TimerNode {
    TaskCore* self;
    std::uint32_t epoch;
    lowlevel::CommitFunction commit;
    void* argument;
    bool shielded;
    bool went_on = false;  // commit said that there is nothing to wait for
};

/// A cancel that is due at one of them goes to the top of the tasks that run inline on it: to the one that parks.
void bury_tasks_below(TaskCore& top) noexcept {
    // Those below one that is buried are buried already.
    // order [below]: relaxed - this thread's own; others read it only to print who waits.
    auto below = [](TaskCore& t) { return t.below.load(std::memory_order_relaxed); };
    for (TaskCore* t = below(top); t != nullptr && !t->word.buried(); t = below(*t)) {
        if (!t->word.bury()) continue;
        std::string message;
        if (take_cancel_of(*t, &message)) detail::CancelWalk(message).run_above(*t);
    }
}

/// On the next stack: publishes the one that has left its own.
void after_park(Worker& worker, Stack& left, void* argument) noexcept {
    check_canary(left);
    auto& parking = *static_cast<Parking*>(argument);
    TaskCore& self = *parking.self;
    bury_tasks_below(self);
    if (!parking.commit(parking.argument, Waiter{&self, parking.epoch})) {
        parking.went_on = true;
        worker.push_woken(self);
        return;
    }
    if (parking.deadline != lowlevel::kNever) {
        worker.start_timer(parking);
    }
    // From here on, if it parks, the task may be running elsewhere: `parking` is gone.
    if (self.word.park(parking.epoch, parking.shielded) == detail::Parked::already_woken)
        worker.push_woken(self);
}

void fire_deadline(TimerNode& node) noexcept {
    auto& parking = static_cast<Parking&>(node);
    detail::unpark_by_deadline(Waiter{parking.self, parking.epoch});
}

Woken park_task(Worker& worker, Parking& parking, WaitReason reason, Interrupt interrupt) noexcept {
    TaskCore& self = *worker.current;
    parking.shielded =
        interrupt == Interrupt::never || self.shield_depth != 0 || worker.exceptions->uncaught != 0;
    if (!parking.shielded && self.word.cancel_pending()) return Woken::by_cancel;
    parking.self = &self;
    parking.epoch = self.word.epoch();
    // order [waits_for]: relaxed - for who prints it, and for strict mode's one worker.
    self.waits_for.store(reason.what, std::memory_order_relaxed);
    self.waits_on = reason.object;
    self.stack = worker.stack;
    Worker& now = worker.switch_to_next(after_park, &parking);
    now.current = &self;
    if (parking.deadline != lowlevel::kNever) Timers::stop(parking);
    self.waits_for.store(nullptr, std::memory_order_relaxed);
    return parking.went_on ? Woken::by_unpark : self.word.reason();
}

void requeue(Worker& worker, Stack&, void* argument) noexcept {
    worker.push_woken(*static_cast<TaskCore*>(argument));
}

// --- plain threads ----------------------------------------------------------------------------------------------

struct ThreadCore : Core {
    Parker parker;
    ThreadCore() noexcept : Core(CoreKind::thread) {}
};

[[gnu::noinline]] ThreadCore& this_threads_core() noexcept {
    thread_local ThreadCore core;
    asm volatile("" ::: "memory");
    return core;
}

Woken park_thread(Parking& parking, Interrupt interrupt) noexcept {
    detail::check_not_forked("waiting");
    WaitInCall wait(interrupt);
    if (wait.is_asked_to_stop()) return Woken::by_cancel;
    ThreadCore& self = this_threads_core();
    parking.epoch = self.word.epoch();
    Waiter waiter{&self, parking.epoch};
    if (!parking.commit(parking.argument, waiter)) return Woken::by_unpark;
    wait.listen(waiter);
    if (self.word.park(parking.epoch, true) == detail::Parked::already_woken)
        return self.word.reason();
    // Whoever else ends the wait gives a token, and until it has come that one is not done with this thread's Parker:
    // so the token is what is waited for, not the end of the wait.
    while (!self.parker.sleep(parking.deadline)) {
        if (self.word.claim(parking.epoch, Woken::by_deadline) != detail::Claim::lost) break;
        parking.deadline = lowlevel::kNever;
    }
    return self.word.reason();
}

bool wake(Waiter waiter, Woken reason) noexcept {
    switch (waiter.core->word.claim(waiter.epoch, reason)) {
        case detail::Claim::lost:
            return false;
        case detail::Claim::won_running:
            return true;
        case detail::Claim::won_parked:
            break;
    }
    if (waiter.core->kind == CoreKind::thread)
        static_cast<ThreadCore*>(waiter.core)->parker.give_token(nullptr);
    else
        make_runnable(static_cast<TaskCore&>(*waiter.core));
    return true;
}

}  // namespace

bool unpark_by_cancel(Waiter waiter) noexcept { return wake(waiter, Woken::by_cancel); }

void make_runnable(TaskCore& task) noexcept {
    Worker* worker = current_worker();
    if (worker != nullptr && &worker->scheduler == task.scheduler)
        worker->push_woken(task);
    else
        task.scheduler.load()->inject(task);
}

}  // namespace weft::rt

namespace weft::lowlevel {

using detail::TaskCore;
using rt::current_worker;

Woken park_with(WaitReason reason, CommitFunction commit, void* argument, TimePoint deadline,
                Interrupt interrupt) noexcept {
    rt::Parking parking{};
    parking.deadline = deadline;
    parking.fire = rt::fire_deadline;
    parking.commit = commit;
    parking.argument = argument;
    rt::Worker* worker = current_worker();
    if (worker == nullptr || worker->current == nullptr) return rt::park_thread(parking, interrupt);
    return rt::park_task(*worker, parking, reason, interrupt);
}

bool unpark(Waiter waiter) noexcept { return rt::wake(waiter, Woken::by_unpark); }

void yield() {
    rt::Worker* worker = current_worker();
    if (worker == nullptr || worker->current == nullptr) return require_task("yield");
    TaskCore& self = *worker->current;
    TaskCore* next = worker->next_local();
    bool by_loop = worker->graveyard != nullptr;  // see switch_to_next()
    if (next != nullptr || by_loop) {
        self.stack = worker->stack;
        worker->current = nullptr;
        rt::Stack& to = !by_loop && next->started.load(std::memory_order_relaxed)
                            ? *next->stack
                            : worker->spare_for(next);
        rt::switch_stack(*worker, *worker->stack, to, rt::requeue, &self).current = &self;
    }
    if (self.word.cancel_pending()) checkpoint();
}

bool in_task() noexcept { return detail::current_task() != nullptr; }

void require_task(const char* what) {
    if (in_task()) [[likely]]
        return;
    detail::check_not_forked(what);
    throw UsageError(std::string(what) +
                     ": must be called in a task: inside weft::run, weft::Runner or weft::Runtime");
}

bool take_cancel(std::string* message) noexcept {
    TaskCore* self = detail::current_task();
    return self != nullptr && rt::meet_cancel_of(*self, message);
}

void throw_cancelled() {
    std::string message;
    take_cancel(&message);
    throw CancelledError(message);
}

void checkpoint() {
    rt::Worker* worker = current_worker();
    if (worker == nullptr || worker->current == nullptr) return rt::checkpoint_of_offload();
    TaskCore& self = *worker->current;
    if (!self.word.cancel_pending() || self.shield_depth != 0 || worker->exceptions->uncaught != 0)
        return;
    throw_cancelled();
}

TimePoint now() noexcept {
    rt::Worker* worker = current_worker();
    return worker != nullptr ? worker->scheduler.now()
                             : TimePoint(std::chrono::steady_clock::now());
}

}  // namespace weft::lowlevel

namespace weft::detail {

bool unpark_by_deadline(Waiter waiter) noexcept {
    return rt::wake(waiter, lowlevel::Woken::by_deadline);
}

void start_timer(TimerNode& node) noexcept {
    rt::Worker* worker = rt::current_worker();
    rt::check(worker != nullptr, "a timer was started outside of a task");
    worker->start_timer(node);
}

void stop_timer(TimerNode& node) noexcept { rt::Timers::stop(node); }

}  // namespace weft::detail
