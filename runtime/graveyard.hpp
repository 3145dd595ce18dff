// Dead tasks, kept until code of the user's may run.
//
// The last reference to a task may go, and a done callback may find its runtime gone, while the engine holds locks or is
// in the middle of a look into a queue. What is destroyed then is the user's, and its destructor may do anything: ask
// the same future, make tasks runnable. So the engine buries it (one store, any place), and it is destroyed where no
// lock is held: by a worker in its loop, between two tasks; by any other thread at the end of the call that buried it,
// or at the thread's own end.
#pragma once

#include <weft/detail/task_core.hpp>

namespace weft::rt {

/// Of a task that is done: the last reference has gone. Of a callback that is not: it will never be launched, and both
/// its references go with it. Any thread, under any lock.
void bury(detail::TaskCore& dead) noexcept;

/// Drops a reference; buries the task if it was the last.
inline void drop_later(detail::TaskCore* task) noexcept {
    if (task->word.drop_ref()) bury(*task);
}

/// Destroys what this thread has buried. Not under a lock.
void empty_graveyard() noexcept;

}  // namespace weft::rt
