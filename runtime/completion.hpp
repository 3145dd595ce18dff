// The end of a task or future: outcome published, joiners told, references dropped. See Core in task_core.hpp.
#pragma once

#include <weft/detail/engine.hpp>

#include <exception>
#include <string>

namespace weft::rt {

using detail::TaskCore;

void finish_watched_task(TaskCore& task) noexcept;

/// The task's outcome is written: publishes it, tells joiners and group, drops the runtime's reference.
inline void finish_task(TaskCore& task) noexcept {
    bool last = false;
    if (task.context != nullptr || task.scope != nullptr || !task.word.finish_alone(&last))
        finish_watched_task(task);
    else if (last)
        detail::destroy_core(task);
}

/// Ends, without running it, a task that was cancelled before its first step.
void cancel_unstarted(TaskCore& task) noexcept;
/// Ends as cancelled a task that returned a value with a cancel still due.
void cancel_returned(TaskCore& task) noexcept;
/// Ends, without running it, a task for which there was no memory; finishes it.
void fail_unstarted(TaskCore& task, std::exception_ptr error) noexcept;
/// Ends what a closed runtime still has in its queues.
void release_unrun(TaskCore& task) noexcept;

/// The message of the pending cancel; the pending cancel is taken.
bool take_cancel_of(TaskCore& task, std::string* message) noexcept;

/// "runtime_error: what" of an exception, for messages.
std::string describe(const std::exception_ptr& error);

}  // namespace weft::rt
