#include <weft/detail/engine.hpp>
#include <weft/detail/offload_call.hpp>
#include <weft/run.hpp>
#include <weft/testing.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <thread>

#include "detail/simulation_request.hpp"

namespace weft {

namespace {

// --- options ------------------------------------------------------------------------------------------------------

bool flag_in_environment(const char* name) noexcept {
    const char* value = std::getenv(name);
    return value != nullptr && *value != 0 && std::strcmp(value, "0") != 0;
}

unsigned long number_in_environment(const char* name, unsigned long most) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == 0) return 0;
    char* end = nullptr;
    unsigned long number = std::strtoul(value, &end, 10);
    if (*end != 0 || *value == '-' || number > most)
        throw std::invalid_argument(std::string(name) + "=" + value + ": a number up to " +
                                    std::to_string(most) + " is needed");
    return number;
}

constexpr unsigned long kMostWorkers = 4096;

detail::PollerKind poller_in_environment() {
    const char* value = std::getenv("WEFT_POLLER");
    std::string_view name = value != nullptr ? value : "";
    if (name.empty() || name == "epoll") return detail::PollerKind::epoll;
    if (name == "io_uring") return detail::PollerKind::io_uring;
    throw std::invalid_argument("WEFT_POLLER=" + std::string(name) +
                                ": epoll or io_uring is needed");
}

detail::EngineOptions to_engine_options(const RunOptions& options, Runtime* runtime,
                                        detail::ErrorSink sink, detail::FirstWorker first) {
    detail::EngineOptions result;
    result.strict = options.strict;
    result.workers = options.workers;
    // WEFT_STRICT is a default: a program that asks for more workers by itself does not get it.
    if (options.workers > 1 && !options.strict.said_by_program()) result.strict = false;
    if (result.strict && options.workers > 1)
        throw std::invalid_argument("RunOptions: strict needs workers = 1, not " +
                                    std::to_string(options.workers));
    if (options.workers > kMostWorkers)
        throw std::invalid_argument("RunOptions: workers = " + std::to_string(options.workers) +
                                    " is more than " + std::to_string(kMostWorkers));
    if (result.strict) result.workers = 1;
    if (result.workers == 0)
        result.workers = static_cast<unsigned>(number_in_environment("WEFT_WORKERS", kMostWorkers));
    detail::check_cores("RunOptions", options.cores);
    result.cores = options.cores != 0 ? options.cores : detail::available_cores();
    if (result.workers == 0) result.workers = result.cores;
    if (options.arena_nice < 0 || options.arena_nice > 19)
        throw std::invalid_argument(
            "RunOptions: arena_nice = " + std::to_string(options.arena_nice) + " is not 0 to 19");
    result.arena_nice = options.arena_nice;
    result.workers_yield_cores = options.core_budget != CoreBudget::off;
    result.arena_yields_cores = options.core_budget == CoreBudget::strict;
    result.abandoned_grace = options.abandoned_grace;
    detail::check_stack_size(options.stack_size);
    detail::check_stack_size(options.main_stack_size);
    result.debug = options.debug;
    result.poller = poller_in_environment();
    result.slow_step = options.slow_step;
    result.stack_bytes = options.stack_size;
    if (const char* seed = std::getenv("WEFT_SEED"); seed != nullptr && *seed != 0) {
        result.simulated = true;
        result.seed = number_in_environment("WEFT_SEED", UINT32_MAX);
        result.network.in_memory = false;  // the whole program: its peers are other programs
    }
    if (const detail::SimulationRequest* request = detail::requested_simulation()) {
        result.simulated = true;
        result.seed = request->seed;
        result.network = request->network;
    }
    // A simulation steps all workers on the thread that runs it; a Runtime in threads of its own has no such thread.
    if (first == detail::FirstWorker::own_thread) result.simulated = false;
    if (options.exception_handler) {
        result.error_sink = sink;
        result.error_sink_argument = runtime;
    }
    result.owner = runtime;
    return result;
}

// --- leftovers ----------------------------------------------------------------------------------------------------

std::vector<AnyTask> others_than(detail::TaskCore* self, rt::Scheduler& scheduler,
                                 detail::Callbacks callbacks) {
    std::vector<AnyTask> tasks;
    for (detail::TaskCore* task : detail::all_tasks(scheduler, callbacks)) {
        AnyTask handle(detail::CoreRef::adopt(*task));
        if (task != self) tasks.push_back(std::move(handle));
    }
    return tasks;
}

void name_survivors(const std::vector<AnyTask>& tasks, const char* what) {
    for (const AnyTask& task : tasks)
        if (!task.done())
            std::fprintf(stderr, "weft: task '%s' %s\n", task.get_name().c_str(), what);
}

void report_leftover_error(const AnyTask& task) {
    if (!task.done() || task.cancelled()) return;
    auto* core = static_cast<detail::TaskCore*>(task.core());
    if (std::exception_ptr error = task.exception())
        detail::report_error(
            "task '" + task.get_name() + "' failed while it was cancelled at the end of run", error,
            core, core->where);
}

/// What was scheduled before the end is still called; only one that waits by now is cancelled.
bool is_due_callback(const AnyTask& task) noexcept {
    auto* core = static_cast<detail::TaskCore*>(task.core());
    return core->is_callback && !core->started.load();
}

/// Waits until no value of a task that has ended is being destroyed: a destructor may wait, in the name of the task that was
/// the last to hold the value, which is done and not in any list. False: the deadline came first. Whether there was one at all
/// is in `any`: it may have started tasks.
bool wait_for_destructors(rt::Scheduler& scheduler, Duration grace, TimePoint deadline, bool* any) {
    Duration pause = std::chrono::microseconds(20);
    TimePoint patience = detail::deadline_after(grace);
    for (*any = false; detail::destroys_values(scheduler); *any = true) {
        TimePoint now = weft::now();
        if (now >= deadline) return false;
        if (now >= patience) {
            std::fprintf(stderr, "weft: the destructor of a task's result does not return\n");
            patience = detail::deadline_after(grace);
        }
        // Nobody tells when it is over: that would cost each task.
        auto nobody = [](detail::Waiter) noexcept { return true; };
        lowlevel::park({"the end of a destructor", nullptr}, nobody,
                       std::min(deadline, now + pause), lowlevel::Interrupt::never);
        pause = std::min<Duration>(2 * pause, std::chrono::milliseconds(5));
    }
    return true;
}

/// In a task of the runtime: cancels every other one and waits for it, again and again until none is left, since a
/// task may start others while it ends. False: the deadline came first.
bool cancel_all_and_wait(rt::Scheduler& scheduler, Duration grace, TimePoint deadline) {
    detail::TaskCore* self = detail::current_task();
    bool is_quiet = false;
    for (;;) {
        std::vector<AnyTask> tasks = others_than(self, scheduler, detail::Callbacks::too);
        if (tasks.empty()) {
            bool any = false;
            if (!wait_for_destructors(scheduler, grace, deadline, &any)) return false;
            // One that was on its way at the first look may have started a task and be over.
            if (!any && is_quiet) return true;
            is_quiet = true;
            continue;
        }
        is_quiet = false;
        for (const AnyTask& task : tasks)
            if (!is_due_callback(task)) task.cancel();
        TimePoint patience = std::min(deadline, detail::deadline_after(grace));
        for (const AnyTask& task : tasks) {
            while (!task.done()) {
                auto woken = detail::join_core(*task.core(), patience, lowlevel::Interrupt::never,
                                               {"the end of a task", task.core()});
                if (woken != lowlevel::Woken::by_deadline) continue;
                if (weft::now() >= deadline) {
                    name_survivors(tasks, "did not end before the deadline of shutdown");
                    return false;
                }
                name_survivors(tasks,
                               "does not end though it was cancelled; it is cancelled again");
                for (const AnyTask& again : tasks) again.cancel();
                patience = std::min(deadline, detail::deadline_after(grace));
            }
            report_leftover_error(task);
        }
    }
}

}  // namespace

namespace detail {

void require_no_task(const char* what) {
    detail::check_not_forked(what);
    if (current_scheduler() != nullptr)
        throw UsageError(std::string(what) +
                         ": cannot be called from a running runtime (await what you would run)");
}

namespace {

std::terminate_handler terminate_before = nullptr;

// The stack has been unwound as far as it will be, and run() has ended its tasks: what is left is to die of the signal.
[[noreturn]] void terminate_by_interrupt() {
    if (std::current_exception() != nullptr) {
        try {
            throw;
        } catch (const KeyboardInterrupt&) {
            std::signal(SIGINT, SIG_DFL);
            std::raise(SIGINT);
        } catch (...) {
        }
    }
    terminate_before();
    std::abort();
}

}  // namespace

void throw_keyboard_interrupt() {
    static const bool installed = [] {
        terminate_before = std::set_terminate(terminate_by_interrupt);
        return true;
    }();
    (void)installed;
    throw KeyboardInterrupt();
}

void wait_for_core(Core& core, TimePoint deadline) {
    while (!core.word.done()) {
        auto woken = join_core(core, deadline, lowlevel::Interrupt::by_cancel,
                               {"ConcurrentFuture.result", &core});
        if (woken == lowlevel::Woken::by_cancel) lowlevel::throw_cancelled();
        if (woken == lowlevel::Woken::by_deadline && !core.word.done()) throw TimeoutError();
    }
}

}  // namespace detail

Switch Switch::from_environment(const char* name) noexcept {
    Switch result(flag_in_environment(name));
    result.from_environment_ = true;
    return result;
}

// --- Runtime ------------------------------------------------------------------------------------------------------

Runtime::Runtime(const RunOptions& options) : Runtime(options, Entry::own_threads) {}

Runtime::Runtime(const RunOptions& options, Entry entry) : options_(options) {
    auto sink = [](void* argument, const std::string& message, const std::exception_ptr& error,
                   detail::TaskCore* task) {
        ExceptionContext context{{}, error, {}};
        try {
            context.message = message;
        } catch (const std::bad_alloc&) {
            // The error is told without it.
        }
        if (task != nullptr && !task->word.done())
            context.task = AnyTask(detail::CoreRef::share(*task));
        static_cast<Runtime*>(argument)->options_.exception_handler(context);
    };
    auto first = entry == Entry::own_threads ? detail::FirstWorker::own_thread
                                             : detail::FirstWorker::callers_thread;
    scheduler_ = detail::make_scheduler(to_engine_options(options, this, sink, first), first);
}

Runtime::~Runtime() {
    if (open_.load()) shutdown();
    if (has_survivors_) (void)scheduler_.release();
}

Runtime::Submission::Submission(Runtime& runtime, const char* what) : runtime_(runtime) {
    detail::check_not_forked(what);
    runtime_.submissions_.fetch_add(1);
    if (runtime_.open_.load()) return;
    runtime_.submissions_.fetch_sub(1);
    throw UsageError(std::string(what) + ": the runtime has been shut down");
}

void Runtime::require_open(const char* what) { Submission submission(*this, what); }

void Runtime::launch(detail::TaskCore& task, const char* what) {
    try {
        Submission submission(*this, what);
        detail::launch_in(*scheduler_, task);
        return;
    } catch (...) {
        detail::close_unlaunched(task);
        throw;
    }
}

bool Runtime::shutdown(TimePoint deadline) {
    if (detail::current_scheduler() == scheduler_.get())
        throw UsageError("Runtime::shutdown: cannot be called from one of its own tasks");
    // Closed first: what was submitted before is ended below, what comes now is refused.
    if (!open_.exchange(false)) return true;
    while (submissions_.load() != 0) std::this_thread::yield();
    bool ended = false;
    detail::TaskCore& core = detail::make_task_core<void>(
        [&] { ended = cancel_all_and_wait(*scheduler_, options_.shutdown_grace, deadline); },
        std::source_location::current());
    auto handle = detail::CoreRef::adopt(core);
    core.ends_runtime = true;
    detail::launch_in(*scheduler_, core);
    // Not ended by a cancel, if the caller is a task of another runtime: what runs there refers to this frame.
    while (!core.word.done())
        detail::join_core(core, lowlevel::kNever, lowlevel::Interrupt::never,
                          {"Runtime.shutdown", &core});
    detail::rethrow_failure(core);
    detail::stop_scheduler(*scheduler_);
    // What did not end may be woken by somebody at any time, and then asks for its runtime.
    has_survivors_ = !ended;
    return ended;
}

const char* Runtime::poller() const noexcept { return detail::poller_name(*scheduler_); }

unsigned Runtime::workers() const noexcept { return detail::worker_count(*scheduler_); }

detail::ExecutorFigures Runtime::thread_figures() const {
    return detail::thread_figures_of(*scheduler_);
}

detail::ExecutorFigures Runtime::arena_figures() const {
    return detail::arena_figures_of(*scheduler_);
}

std::size_t Runtime::swallowed_cancels() const noexcept {
    return detail::swallowed_cancels(*scheduler_);
}

std::vector<AnyTask> Runtime::all_tasks() const {
    return others_than(nullptr, *scheduler_, detail::Callbacks::not_listed);
}

Runtime& current_runtime() {
    rt::Scheduler* scheduler = detail::current_scheduler();
    if (scheduler == nullptr) throw UsageError("current_runtime: must be called in a task");
    return *static_cast<Runtime*>(detail::options_of(*scheduler).owner);
}

// --- Runner -------------------------------------------------------------------------------------------------------

Runner::Runner(const RunOptions& options)
    : runtime_(new Runtime(options, Runtime::Entry::callers_thread)), context_(copy_context()) {}

Runner::~Runner() { close(); }

void Runner::require_can_run() const {
    detail::require_no_task("run");
    if (!runtime_->open_.load()) throw UsageError("Runner::run: the runner is closed");
}

void Runner::prepare(detail::TaskCore& core) {
    core.stack_bytes = static_cast<std::uint32_t>(runtime_->options_.main_stack_size);
    if (core.context == nullptr) core.context = detail::context_retain(context_.handle());
}

void Runner::run_main(detail::TaskCore& core) {
    prepare(core);
    switch (detail::run_main(*runtime_->scheduler_, core)) {
        case detail::Sigint::none:
            return;
        case detail::Sigint::delivered:
            if (core.outcome == detail::Outcome::cancelled && detail::uncancel_task(core) == 0)
                detail::throw_keyboard_interrupt();
            return;
        case detail::Sigint::too_late:
            if (core.outcome == detail::Outcome::value) detail::throw_keyboard_interrupt();
    }
}

void Runner::close() {
    if (!runtime_->open_.load()) return;
    auto end_leftovers = [this] {
        cancel_all_and_wait(*runtime_->scheduler_, runtime_->options_.shutdown_grace,
                            lowlevel::kNever);
    };
    detail::TaskCore& core =
        detail::make_task_core<void>(std::move(end_leftovers), std::source_location::current());
    auto handle = detail::CoreRef::adopt(core);
    if (core.context == nullptr) core.context = detail::context_retain(context_.handle());
    // On a stack of the usual size: this may be because there was no memory for main's.
    core.ends_runtime = true;
    detail::launch_in(*runtime_->scheduler_, core);
    detail::run_until_done(*runtime_->scheduler_, core);
    detail::rethrow_failure(core);
    runtime_->open_.store(false);
    detail::stop_scheduler(*runtime_->scheduler_);
    if (detail::SimulationState state; detail::simulation_state(*runtime_->scheduler_, &state))
        detail::simulation_ended(state);
}

std::vector<AnyTask> all_tasks() {
    rt::Scheduler* scheduler = detail::current_scheduler();
    if (scheduler == nullptr) throw UsageError("all_tasks: must be called in a task");
    return others_than(nullptr, *scheduler, detail::Callbacks::not_listed);
}

}  // namespace weft
