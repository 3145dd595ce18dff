// The birth of a task: a block from the pool, a context, a place in a queue. And who runs now.
#include <weft/detail/basic_errors.hpp>
#include <weft/detail/context_map.hpp>

#include <mutex>
#include <utility>

#include "completion.hpp"
#include "fork_guard.hpp"
#include "scheduler.hpp"
#include "task_pool.hpp"

namespace weft::detail {

void spin_lock_contended(std::atomic<bool>& held) noexcept {
    for (int spins = 0;;) {
        // order [spin.1]: relaxed to look, acquire to take; as in SpinLock::lock.
        while (held.load(std::memory_order_relaxed)) {
            cpu_relax();
            if (++spins % 128 == 0) std::this_thread::yield();
        }
        if (!held.exchange(true, std::memory_order_acquire)) return;
    }
}

namespace {

[[noreturn]] void throw_no_runtime(const char* what) {
    detail::check_not_forked(what);
    throw UsageError(
        std::string(what) +
        ": no running runtime; call it inside weft::run, weft::Runner or weft::Runtime");
}

// Not inlined: few tasks have any of them.
[[gnu::noinline]] void clear_rare_fields(TaskCore& task) noexcept {
    task.error = nullptr;
    delete task.extra;
    task.extra = nullptr;
    // Taken out first: the values' destructors may still run in this task's name, and read and set others.
    while (task.context != nullptr) context_release(std::exchange(task.context, nullptr));
}

}  // namespace

TaskCore* allocate_task(std::size_t size_class, const CoreOps* ops, std::source_location where,
                        const char* what) {
    rt::Worker* worker = rt::current_worker();
    if (worker == nullptr && what != nullptr) throw_no_runtime(what);
    TaskCore* task = worker != nullptr ? worker->cache.take(size_class)
                                       : rt::TaskPool::instance().take(size_class);
    task->ops = ops;
    task->where = where;
    task->word.reset(2);
    return task;
}

// Not simply freed: all_tasks() may be looking at the block, with a reference.
void drop_unmade(TaskCore& task) noexcept {
    static constexpr CoreOps kNothingInIt{};
    task.ops = &kNothingInIt;
    task.outcome = Outcome::value;
    rt::finish_task(task);
    drop_ref(task);
}

void free_task(TaskCore& task) noexcept {
    if (task.error != nullptr || task.extra != nullptr || task.context != nullptr) [[unlikely]]
        clear_rare_fields(task);
    task.outcome = Outcome::none;
    // order [task.1]: relaxed - nobody holds the block.
    task.error_read.store(false, std::memory_order_relaxed);
    task.taken.store(false, std::memory_order_relaxed);
    task.started.store(false, std::memory_order_relaxed);
    task.is_callback = false;
    task.never_parks = false;
    task.ends_runtime = false;
    // order [goes.2]: release - who sees that the destructor has returned sees the tasks that it has started.
    if (task.value_goes.load(std::memory_order_relaxed))
        task.value_goes.store(false, std::memory_order_release);
    // order [home]: relaxed - as above.
    task.scheduler.store(nullptr, std::memory_order_relaxed);
    task.stack = nullptr;
    task.below.store(nullptr, std::memory_order_relaxed);
    task.scope = nullptr;
    task.stack_bytes = 0;
    task.number = 0;
    task.cancelling.store(0, std::memory_order_relaxed);
    task.shield_depth = 0;
    task.word.reset(0);
    if (rt::Worker* worker = rt::current_worker())
        worker->cache.give(&task);
    else
        rt::TaskPool::instance().give(&task);
}

namespace {

void set_home(TaskCore& task, rt::Scheduler& scheduler) noexcept {
    // order [home]: release - with the acquire of all_tasks(), which finds the block by looking. All other readers are
    // handed the task.
    task.scheduler.store(&scheduler, std::memory_order_release);
}

}  // namespace

void launch(TaskCore& task) noexcept {
    rt::Worker* worker = rt::current_worker();
    set_home(task, worker->scheduler);
    TaskCore* creator = worker->current;
    if (task.context == nullptr && creator != nullptr && creator->context != nullptr)
        task.context = context_snapshot(creator->context);
    worker->push_new(task);
}

void launch_in(rt::Scheduler& scheduler, TaskCore& task) noexcept {
    if (task.context == nullptr) task.context = context_snapshot(current_context());
    set_home(task, scheduler);
    rt::Worker* worker = rt::current_worker();
    if (worker != nullptr && &worker->scheduler == &scheduler)
        worker->push_new(task);
    else
        scheduler.inject(task);
}

HomeRef home_of(rt::Scheduler* scheduler) noexcept {
    rt::Worker* worker = rt::current_worker();
    if (worker != nullptr && &worker->scheduler == scheduler)
        return {scheduler, scheduler->serial()};
    if (scheduler == nullptr || !rt::begin_visit_if_alive(*scheduler)) return {};
    HomeRef home{scheduler, scheduler->serial()};
    scheduler->end_visit();
    return home;
}

bool try_launch(const HomeRef& home, TaskCore& task) noexcept {
    if (home.scheduler == nullptr) return false;
    rt::Scheduler& scheduler = *home.scheduler;
    rt::Worker* worker = rt::current_worker();
    if (worker != nullptr && &worker->scheduler == &scheduler) {
        if (scheduler.serial() != home.serial) return false;
        set_home(task, scheduler);
        worker->push_new(task);
        return true;
    }
    if (!rt::begin_visit_if_alive(scheduler)) return false;
    set_home(task, scheduler);
    bool launched = scheduler.serial() == home.serial && scheduler.try_inject(task);
    // order [home]: relaxed - it was not launched, so nobody else knows it.
    if (!launched) task.scheduler.store(nullptr, std::memory_order_relaxed);
    scheduler.end_visit();
    return launched;
}

void launch_eagerly(TaskCore& task) noexcept {
    rt::Worker* worker = rt::current_worker();
    if (worker->current == nullptr) return launch(task);
    set_home(task, worker->scheduler);
    if (task.context == nullptr) task.context = context_snapshot(worker->current->context);
    worker->run_eagerly(task);
}

TaskCore* current_task() noexcept {
    rt::Worker* worker = rt::current_worker();
    if (worker == nullptr || worker->current == nullptr) return nullptr;
    return worker->current;
}

rt::Scheduler* current_scheduler() noexcept {
    rt::Worker* worker = rt::current_worker();
    return worker != nullptr ? &worker->scheduler : nullptr;
}

}  // namespace weft::detail
