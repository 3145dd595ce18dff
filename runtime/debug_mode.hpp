// What debug mode looks at and says. None of it is on the way of a run without it.
#pragma once

#include <weft/lowlevel.hpp>

#include <string>

namespace weft::rt {

using detail::TaskCore;

/// "task 'x' (created at f:l)". Takes the task's lock.
std::string described(TaskCore& task);

/// On stderr: the task has run on this worker for so long without waiting.
void report_slow_step(TaskCore& task, Duration ran, unsigned worker) noexcept;

void report_swallowed_cancel(TaskCore& task) noexcept;
/// Names a task that goes on after one cancel and another.
void note_met_cancel(TaskCore& task) noexcept;

/// How many mutexes this thread holds; 0 in a program without weft::mutex_check.
int held_mutexes() noexcept;

/// The task has come to its end, on this thread, if it has run at all.
void end_last_step(TaskCore& task) noexcept;

}  // namespace weft::rt
