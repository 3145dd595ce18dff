#include "dump.hpp"

#include <algorithm>
#include <mutex>

#include "completion.hpp"
#include "scheduler.hpp"
#include "task_pool.hpp"

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

// A task that ends tells its joiners, under its lock, before its group. So once `joiners` is set in its word, its group
// and the task below it live as long as the lock is held.
std::vector<TaskCore*> awaiters_of(Core& core) {
    std::vector<TaskCore*> found;
    std::lock_guard guard(core.lock);
    if (!core.word.announce_joiner()) return found;
    auto add = [&](TaskCore* task) {
        if (task == nullptr || std::find(found.begin(), found.end(), task) != found.end()) return;
        found.push_back(task);
        add_ref(*task);
    };
    for (JoinNode* node = core.first_joiner; node != nullptr; node = node->next) add(node->awaiter);
    if (core.kind != CoreKind::task) return found;
    auto& task = static_cast<TaskCore&>(core);
    if (task.scope != nullptr) add(task.scope->awaiter);
    // order [below]: relaxed - as above, it is there.
    add(task.below.load(std::memory_order_relaxed));
    return found;
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
