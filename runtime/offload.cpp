#include "offload.hpp"

#include <weft/detail/basic_errors.hpp>
#include <weft/detail/context_map.hpp>

#include <mutex>

#include "arena.hpp"
#include "completion.hpp"
#include "scheduler.hpp"
#include "threads.hpp"

namespace weft::rt {

namespace {

lowlevel::Woken wait_until_done(OffloadCall& call, lowlevel::WaitReason reason,
                                lowlevel::Interrupt interrupt) {
    auto commit = [&](detail::Waiter self) noexcept {
        std::lock_guard guard(call.lock);
        if (call.done) return false;
        call.waiter = self;
        return true;
    };
    for (;;) {
        lowlevel::Woken woken = lowlevel::park(reason, commit, lowlevel::kNever, interrupt);
        std::lock_guard guard(call.lock);
        call.waiter = {};
        if (call.done) return lowlevel::Woken::by_unpark;
        if (woken == lowlevel::Woken::by_cancel) return woken;
    }
}

/// `start` publishes the call; it must not be touched from then on but under its lock. `take_back` says whether it
/// has not begun and never will.
template <class Start, class TakeBack>
void offload(OffloadCall& call, lowlevel::WaitReason reason, Start&& start, TakeBack&& take_back) {
    try {
        lowlevel::require_task(reason.what);
        lowlevel::checkpoint();
    } catch (...) {
        // It was not published: nobody else will give the other side's hold back.
        if (call.release != nullptr) call.release(call);
        throw;
    }
    Scheduler& scheduler = *detail::current_scheduler();
    call.scheduler = &scheduler;
    call.context = detail::context_snapshot(detail::current_context());
    if (scheduler.simulation() != nullptr) scheduler.simulation()->outside_begins();
    try {
        start();
    } catch (...) {
        fail_offload(call, std::current_exception());
    }
    if (wait_until_done(call, reason, lowlevel::Interrupt::by_cancel) == lowlevel::Woken::by_unpark)
        return;
    std::string message;
    lowlevel::take_cancel(&message);
    if (take_back()) {
        fail_offload(call, nullptr);
        throw CancelledError(message);
    }
    if (call.ask_to_stop != nullptr) call.ask_to_stop(call);
    if (call.release != nullptr)
        throw CancelledError(message);  // abandoned: it may run on, and owns what it needs
    wait_until_done(call, reason, lowlevel::Interrupt::never);
    // What it threw in answer goes on; a value that came too late does not.
    if (call.error == nullptr) throw CancelledError(message);
}

}  // namespace

void call_offloaded(OffloadCall& call) noexcept {
    void* before = detail::exchange_context(call.context);
    call.ran = true;
    call.run(call);
    call.context = detail::exchange_context(before);
}

void finish_offload(OffloadCall& call) noexcept {
    Scheduler::Visit visit(*call.scheduler);
    Simulation* simulation = call.scheduler->simulation();
    auto release = call.release;
    detail::context_release(call.context);
    call.context = nullptr;
    {
        // Unparked under the lock: the waiter takes it before it leaves, so that the call outlives this.
        std::lock_guard guard(call.lock);
        call.done = true;
        if (call.waiter.core != nullptr) lowlevel::unpark(call.waiter);
    }
    if (release != nullptr) release(call);
    if (simulation != nullptr) simulation->outside_ends();
}

void run_offloaded(OffloadCall& call) noexcept {
    call_offloaded(call);
    finish_offload(call);
}

void fail_offload(OffloadCall& call, std::exception_ptr error) noexcept {
    call.error = std::move(error);
    finish_offload(call);
}

}  // namespace weft::rt

namespace weft::detail {

void run_on_thread(OffloadCall& call) {
    rt::offload(
        call, {"to_thread", &call}, [&] { call.scheduler->threads().submit(call); },
        [&] { return call.scheduler->threads().take_back(call); });
}

void run_in_arena(OffloadCall& call) {
    rt::ArenaCall in_arena(call);
    rt::offload(
        call, {"to_arena", &call}, [&] { call.scheduler->arena().enqueue(in_arena); },
        [&] {
            in_arena.cancel();
            return false;
        });
    if (call.error == nullptr && !call.ran) throw CancelledError();
}

}  // namespace weft::detail
