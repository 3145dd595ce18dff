// The end of a task or future: outcome published, joiners told, references dropped. See Core in task_core.hpp.
#pragma once

#include <weft/detail/engine.hpp>

#include <exception>
#include <string>

namespace weft::rt {

using detail::TaskCore;

/// TaskCore::waits_for of one that awaits the core in waits_on: told apart by its address.
inline constexpr char kAwaits[] = "await";

/// detail::complete() that runs no code of the user's on any thread: its caller may hold locks.
void complete_quietly(detail::Core& core) noexcept;

/// The long way of finish_task().
void finish_watched_task(TaskCore& task) noexcept;

inline detail::IfCancelled if_cancelled(const TaskCore& task) noexcept {
    return task.outcome == detail::Outcome::value ? detail::IfCancelled::refuse
                                                  : detail::IfCancelled::finish;
}

/// The task's outcome is written: publishes it, tells joiners and group, drops the runtime's reference. One that
/// returned with a cancel due ends as cancelled.
inline void finish_task(TaskCore& task) noexcept {
    using detail::Finish;
    Finish finish = Finish::has_joiners;
    if (task.context == nullptr && task.scope == nullptr)
        finish = task.word.finish_alone(if_cancelled(task));
    if (finish == Finish::finished) return;
    if (finish == Finish::finished_last_ref)
        detail::destroy_core(task);
    else
        finish_watched_task(task);
}

/// Gives its cancel as outcome to a task that was cancelled before its first step, or returned with a cancel due.
void end_as_cancelled(TaskCore& task) noexcept;
/// Ends, without running it, a task for which there was no memory; finishes it.
void fail_unstarted(TaskCore& task, std::exception_ptr error) noexcept;
/// Ends what a closed runtime still has in its queues.
void release_unrun(TaskCore& task) noexcept;

/// The message of the pending cancel; the pending cancel is taken.
bool take_cancel_of(TaskCore& task, std::string* message) noexcept;
/// The same, to be delivered to what the task runs.
bool meet_cancel_of(TaskCore& task, std::string* message) noexcept;

/// The n of its default name. Under the task's lock (or where the process is about to die); async-signal-safe.
std::uint32_t number_of(TaskCore& task) noexcept;

/// "runtime_error: what" of an exception, for messages.
std::string describe(const std::exception_ptr& error);

}  // namespace weft::rt
