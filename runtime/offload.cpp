#include "offload.hpp"

#include <weft/detail/basic_errors.hpp>
#include <weft/detail/context_map.hpp>
#include <weft/detail/engine.hpp>

#include <climits>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "arena.hpp"
#include "completion.hpp"
#include "scheduler.hpp"
#include "threads.hpp"

namespace weft::rt {

namespace {

thread_local OffloadCall* running_call = nullptr;

// Not inlined: what runs on a worker may go on on another thread.
[[gnu::noinline]] OffloadCall*& this_threads_call() noexcept {
    asm volatile("" ::: "memory");
    return running_call;
}

/// From here on the call needs nothing of its runtime, which may end before it does: its pool may be another's. The end of
/// the pool names who has left it.
void leave_behind(OffloadCall& call, Scheduler& scheduler, TaskCore& task) {
    std::string name;
    try {
        name = detail::name_of(task);
    } catch (const std::bad_alloc&) {
        // Without a name, then.
    }
    {
        std::lock_guard guard(call.lock);
        call.abandoned_by = std::move(name);
        if (call.scheduler == nullptr) return;  // it is finishing, and sees to all of it
        call.scheduler = nullptr;
    }
    if (scheduler.simulation() != nullptr) scheduler.simulation()->outside_ends();
}

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
    call.deadline = detail::deadline_of_task(*detail::current_task());
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
    // Before it is asked: where it answers at once, it has gone.
    if (call.release != nullptr) leave_behind(call, scheduler, *detail::current_task());
    ask_to_stop(call);
    if (call.release != nullptr)
        throw CancelledError(message);  // it may run on, and owns what it needs
    wait_until_done(call, reason, lowlevel::Interrupt::never);
    // What it threw in answer goes on; a value that came too late does not.
    if (call.error == nullptr) throw CancelledError(message);
}

}  // namespace

void call_offloaded(OffloadCall& call) noexcept {
    void* before = detail::exchange_context(call.context);
    // Those of an arena's threads nest: while one waits for its algorithm, the thread may take another.
    OffloadCall* outer = std::exchange(this_threads_call(), &call);
    call.ran = true;
    call.run(call);
    this_threads_call() = outer;
    // Here, with all else of the user's: what the function has set may be destroyed with it.
    detail::context_release(detail::exchange_context(before));
    call.context = nullptr;
}

namespace {

/// Its runtime, which does not end before the visit does; null: the call was left behind.
Scheduler* begin_visit_of(OffloadCall& call) noexcept {
    std::lock_guard guard(call.lock);
    if (call.scheduler != nullptr) call.scheduler->begin_visit();
    return std::exchange(call.scheduler, nullptr);
}

}  // namespace

void finish_offload(OffloadCall& call) noexcept {
    Scheduler* scheduler = begin_visit_of(call);
    auto release = call.release;
    if (!call.ran) detail::context_release(std::exchange(call.context, nullptr));
    {
        // Unparked under the lock: the waiter takes it before it leaves, so that the call outlives this.
        std::lock_guard guard(call.lock);
        call.done = true;
        if (call.waiter.core != nullptr) lowlevel::unpark(call.waiter);
    }
    if (release != nullptr) release(call);
    if (scheduler == nullptr) return;
    if (scheduler->simulation() != nullptr) scheduler->simulation()->outside_ends();
    scheduler->end_visit();
}

bool mark_to_stop(OffloadCall& call) noexcept {
    if (call.stop_asked.exchange(true)) return false;
    std::lock_guard guard(call.lock);
    if (call.blocked.core != nullptr) unpark_by_cancel(call.blocked);
    return true;
}

void ask_to_stop(OffloadCall& call) noexcept {
    if (mark_to_stop(call)) call.stop.request_stop();
}

WaitInCall::WaitInCall(lowlevel::Interrupt interrupt) noexcept : call_(this_threads_call()) {
    // As in a task: not in a destructor during unwinding. In an algorithm's body what this thread runs below may be
    // another call; see checkpoint_of_offload().
    bool is_cancel_point = interrupt == lowlevel::Interrupt::by_cancel &&
                           std::uncaught_exceptions() == 0 && call_ != nullptr &&
                           call_->group == current_group();
    if (!is_cancel_point) call_ = nullptr;
}

WaitInCall::~WaitInCall() {
    if (call_ == nullptr) return;
    std::lock_guard guard(call_->lock);
    call_->blocked = {};
}

bool WaitInCall::is_asked_to_stop() const noexcept {
    return call_ != nullptr && call_->stop_asked.load();
}

void WaitInCall::listen(detail::Waiter waiter) noexcept {
    if (call_ == nullptr) return;
    // Under the lock that mark_to_stop() takes after the mark: one of the two sees the other.
    std::lock_guard guard(call_->lock);
    if (call_->stop_asked.load()) {
        unpark_by_cancel(waiter);
    } else {
        call_->blocked = waiter;
    }
}

void checkpoint_of_offload() {
    // As in a task: not from a destructor during unwinding.
    if (std::uncaught_exceptions() != 0) return;
    // A thread of an arena may run a body of one call while another call's function, below it on the stack, waits.
    const InArena place = in_arena();
    OffloadCall* call = place == InArena::no ? this_threads_call() : nullptr;
    if (place == InArena::cancelled || (call != nullptr && call->stop_asked.load()))
        throw CancelledError();
}

bool is_cancel(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const CancelledError&) {
        return true;
    } catch (...) {
        return false;
    }
}

std::exception_ptr shut_down_error(const std::string& name, const char* when) noexcept {
    try {
        return std::make_exception_ptr(Error("'" + name + "' was shut down " + when));
    } catch (const std::bad_alloc&) {
        return std::current_exception();
    }
}

void fail_offload(OffloadCall& call, std::exception_ptr error) noexcept {
    call.error = std::move(error);
    finish_offload(call);
}

}  // namespace weft::rt

namespace weft::detail {

namespace {

/// The call whose function runs here; null in an algorithm's body, where what this thread runs below may be another's (see
/// checkpoint_of_offload()).
OffloadCall* call_of_running_function() noexcept {
    OffloadCall* call = rt::this_threads_call();
    return call != nullptr && call->group == rt::current_group() ? call : nullptr;
}

}  // namespace

TimePoint deadline_of_running_call() noexcept {
    OffloadCall* call = call_of_running_function();
    return call != nullptr ? call->deadline : lowlevel::kNever;
}

std::stop_token stop_token_of_running_call() noexcept {
    OffloadCall* call = rt::this_threads_call();
    return call != nullptr ? call->stop.get_token() : std::stop_token();
}

// --- threads ------------------------------------------------------------------------------------------------------

namespace {

/// What this task's runtime has of its own. Where there is none, nobody else will give the other side's hold back.
template <class Get>
decltype(auto) of_this_runtime(const char* what, OffloadCall& call, Get get) {
    try {
        lowlevel::require_task(what);
        return get(*current_scheduler());
    } catch (...) {
        if (call.release != nullptr) call.release(call);
        throw;
    }
}

}  // namespace

void run_on_thread(OffloadCall& call, rt::Threads& threads) {
    rt::offload(
        call, {"to_thread", &call}, [&] { threads.submit(call); },
        [&] { return threads.take_back(call); });
}

void run_on_thread(OffloadCall& call) {
    auto get = [](rt::Scheduler& scheduler) -> rt::Threads& { return scheduler.threads(); };
    run_on_thread(call, of_this_runtime("to_thread", call, get));
}

void ThreadsDeleter::operator()(rt::Threads* threads) const noexcept {
    rt::Threads::destroy(threads);
}

std::unique_ptr<rt::Threads, ThreadsDeleter> make_threads(const ThreadsOptions& options) {
    return std::unique_ptr<rt::Threads, ThreadsDeleter>(new rt::Threads(options));
}

void close_threads(rt::Threads& threads, Shutdown how) noexcept { threads.close(how); }

void join_threads(rt::Threads& threads) noexcept { threads.join(); }

ExecutorFigures figures_of(const rt::Threads& threads) noexcept { return threads.figures(); }

ExecutorFigures thread_figures_of(rt::Scheduler& scheduler) {
    return scheduler.threads().figures();
}

// --- arena --------------------------------------------------------------------------------------------------------

namespace {

bool is_nested() noexcept { return !lowlevel::in_task() && rt::in_arena() != rt::InArena::no; }

/// Its algorithms are bound to what runs here, and are cancelled with it; its function hears of that by the token of the call
/// that it is nested in.
void run_nested(OffloadCall& call) noexcept {
    OffloadCall* outer = call_of_running_function();
    call.stop = outer != nullptr ? outer->stop : std::stop_source(std::nostopstate);
    call.ran = true;
    call.run(call);
}

}  // namespace

void run_in_arena(OffloadCall& call, rt::Arena& arena, std::size_t threads_most) {
    if (is_nested()) return run_nested(call);
    // Now, as who asks it to stop may not meet who makes it: for functions of calls nested in this one.
    if (!call.stop.stop_possible()) call.stop = std::stop_source();
    rt::ArenaCall in_arena(call, threads_most);
    rt::offload(
        call, {"to_arena", &call}, [&] { arena.enqueue(in_arena); },
        [&] {
            if (arena.take_back(in_arena)) return true;
            in_arena.cancel();
            return false;
        });
    if (call.error == nullptr && !call.ran) throw CancelledError();
}

void run_in_arena(OffloadCall& call, std::size_t threads_most) {
    if (is_nested()) return run_nested(call);
    auto get = [](rt::Scheduler& scheduler) -> rt::Arena& { return scheduler.arena(); };
    run_in_arena(call, of_this_runtime("to_arena", call, get), threads_most);
}

void check_cores(const char* options, unsigned cores) {
    if (cores > unsigned{INT_MAX})
        throw std::invalid_argument(std::string(options) + ": cores = " + std::to_string(cores) +
                                    " is more than " + std::to_string(INT_MAX));
}

void ArenaDeleter::operator()(rt::Arena* arena) const noexcept { delete arena; }

std::unique_ptr<rt::Arena, ArenaDeleter> make_arena(const ArenaOptions& options) {
    return std::unique_ptr<rt::Arena, ArenaDeleter>(new rt::Arena(options));
}

void close_arena(rt::Arena& arena, Shutdown how) noexcept { arena.close(how); }

void join_arena(rt::Arena& arena) noexcept { arena.join(); }

ExecutorFigures figures_of(const rt::Arena& arena) noexcept { return arena.figures(); }

ExecutorFigures arena_figures_of(rt::Scheduler& scheduler) { return scheduler.arena().figures(); }

}  // namespace weft::detail
