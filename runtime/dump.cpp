#include "dump.hpp"

#include <cstddef>
#include <mutex>
#include <utility>

#include "completion.hpp"
#include "graveyard.hpp"
#include "scheduler.hpp"
#include "task_pool.hpp"
#include "worker.hpp"

namespace weft::detail {

std::vector<TaskCore*> all_tasks(const rt::Scheduler& scheduler, Callbacks callbacks) {
    std::vector<TaskCore*> tasks;
    std::vector<TaskCore*> others;
    rt::TaskPool::instance().for_each([&](TaskCore& block) {
        if (!block.word.try_add_ref()) return;
        // order [home]: acquire - with the release in launch_to(): is_callback was set before.
        bool ours = block.scheduler.load(std::memory_order_acquire) == &scheduler &&
                    (callbacks == Callbacks::too || !block.is_callback);
        // The reference must not be the last one to be dropped under the pool's lock: destroying gives a block back.
        (ours ? tasks : others).push_back(&block);
    });
    for (TaskCore* task : others) drop_ref(*task);
    return tasks;
}

bool destroys_values(const rt::Scheduler& scheduler) noexcept {
    bool any = false;
    rt::TaskPool::instance().for_each([&](TaskCore& block) {
        // order [goes.1]: acquire - with what TaskOpsOf::run() and free_task() store.
        any = any || (block.value_goes.load(std::memory_order_acquire) && block.word.done() &&
                      block.word.refs() == 0 &&
                      block.scheduler.load(std::memory_order_relaxed) == &scheduler);
    });
    return any;
}

namespace {

struct Found {
    std::vector<TaskCore*>& tasks;
    std::size_t mistaken = 0;  // so many at the front are not what was looked for
};

/// With the core's lock: takes a reference to the task that waits by that node.
///
/// Order [awaiter]: who waits may go on meanwhile and end, and its block have a new life (the one who goes through an
/// as_completed is not always the one that made it). As with `inner` in cancel.cpp: if it is still named when the
/// reference is in hand, it waits here. If not, the reference may be the last one, and is given back without the lock.
void take_awaiter(const JoinNode& node, Found& found) noexcept {
    TaskCore* task = node.awaiter->load();
    if (task == nullptr || !task->word.try_add_ref()) return;
    found.tasks.push_back(task);
    if (node.awaiter->load() != task) std::swap(found.tasks[found.mistaken++], found.tasks.back());
}

/// Zero, or the room that there must be in `found`; then nothing has been taken. It allocates nothing under the lock.
///
/// A task that ends tells its joiners, under its lock, before its group. So once `joiners` is set in its word, its group
/// and the task below it live as long as the lock is held.
std::size_t take_awaiters(Core& core, Edges edges, Found& found) noexcept {
    auto wanted = [edges](const JoinNode& node) {
        return node.awaiter != nullptr && (edges == Edges::all || node.passes_cancel);
    };
    std::lock_guard guard(core.lock);
    if (!core.word.announce_joiner()) return 0;
    std::size_t room = 2;
    for (JoinNode* node = core.first_joiner; node != nullptr; node = node->next)
        room += wanted(*node) ? 1 : 0;
    if (room > found.tasks.capacity()) return room;
    for (JoinNode* node = core.first_joiner; node != nullptr; node = node->next)
        if (wanted(*node)) take_awaiter(*node, found);
    if (core.kind != CoreKind::task) return 0;
    auto add = [&](TaskCore* task) {
        if (task == nullptr) return;
        add_ref(*task);
        found.tasks.push_back(task);
    };
    auto& task = static_cast<TaskCore&>(core);
    if (task.scope != nullptr) add(task.scope->awaiter);
    // order [below]: relaxed - as above, it is there.
    add(task.below.load(std::memory_order_relaxed));
    return 0;
}

}  // namespace

void TaskRefs::drop(std::size_t n) noexcept {
    // Whoever asks may be in the middle of a wait: what a task gave is not destroyed here.
    for (std::size_t i = 0; i < n; ++i)
        if (rt::current_worker() != nullptr)
            rt::drop_later(tasks[i]);
        else
            drop_ref(*tasks[i]);
    tasks.erase(tasks.begin(), tasks.begin() + static_cast<std::ptrdiff_t>(n));
}

void awaiters_of(Core& core, Edges edges, TaskRefs& refs) {
    refs.drop(refs.tasks.size());
    Found found{refs.tasks};
    while (std::size_t room = take_awaiters(core, edges, found)) refs.tasks.reserve(2 * room);
    refs.drop(found.mistaken);
}

}  // namespace weft::detail

namespace weft::rt {

void dump_tasks(const Scheduler& scheduler, std::FILE* out) noexcept {
    for (detail::TaskCore* task : detail::all_tasks(scheduler, detail::Callbacks::too)) {
        const char* what = task->waits_for;
        std::fprintf(out, "  task '%s' (created at %s:%u): %s", name_of(*task).c_str(),
                     task->where.file_name(), task->where.line(),
                     !task->started    ? "not started"
                     : what == nullptr ? "running"
                                       : "waits for ");
        if (task->started && what != nullptr) std::fprintf(out, "%s of %p", what, task->waits_on);
        std::fprintf(out, "\n");
        detail::drop_ref(*task);
    }
}

}  // namespace weft::rt
