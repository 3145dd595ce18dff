// Tasks that wait for each other: found when a cancel comes round.
//
// A task that awaits another passes its cancels on and waits for that one's end. If that one waits for this one, in the
// end, none of them would ever end: asyncio dies of a RecursionError there. Here the task that notices goes on with its
// CancelledError without waiting; so what awaits it ends, and so on round the circle.
//
// It must be certain. A second cancel may just as well be a new one, or have come over another of two ways, and a task
// that went on before what it awaits has ended would pull the frame away from under it. So the task looks at who waits
// for it, through waits that do not end before what they wait for has; what is found among them waits for itself.
#include <weft/detail/engine.hpp>

#include <algorithm>
#include <new>

namespace weft::detail {

TasksInWait::TasksInWait(TaskCore& task, std::size_t most) noexcept {
    try {
        TaskRefs awaiters;
        TaskCore* at = &task;
        for (std::size_t place = 0; place < most; at = found_.tasks[place++]) {
            awaiters_of(*at, Edges::that_pass_cancels, awaiters);
            for (TaskCore* awaiter : awaiters.tasks) {
                if (places_.contains(awaiter)) continue;
                waits_for_.push_back(place);
                found_.tasks.push_back(awaiter);
                add_ref(*awaiter);
                places_.emplace(awaiter, found_.tasks.size() - 1);
            }
            if (place == found_.tasks.size()) return;
        }
    } catch (const std::bad_alloc&) {
        // Whoever is not known to wait is waited for.
    }
}

void TasksInWait::add_way_from(const Core& core, CancelWalk& walk) const noexcept {
    auto from = places_.find(&core);
    if (from == places_.end()) return;
    for (std::size_t place = from->second + 1; place != 0; place = waits_for_[place - 1]) {
        TaskCore& task = *found_.tasks[place - 1];
        if (cancel_state(task).requests == 0) walk.add(task);
    }
}

std::size_t tasks_to_look_at(int cancels) noexcept {
    constexpr int kMostShift = 40;
    return cancels < 1 ? 0 : std::size_t{16} << std::min(3 * (cancels - 1), kMostShift);
}

}  // namespace weft::detail
