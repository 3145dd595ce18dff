#include "debug_mode.hpp"

#include <weft/detail/engine.hpp>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#include <execinfo.h>
#include <unistd.h>

#include "check.hpp"
#include "scheduler.hpp"

// In mutex_check.cpp, if the program has it.
extern "C" [[gnu::weak]] int weft_held_mutexes() noexcept;

namespace weft::rt {

namespace {

// One may come while a task cleans up after another; a third says that it does not mean to end.
constexpr int kManyCancels = 3;
constexpr int kMostFrames = 64;

}  // namespace

std::string described(TaskCore& task) {
    std::string text = "task '" + detail::name_of(task) + "'";
    if (task.where.line() != 0)
        text += std::string(" (created at ") + task.where.file_name() + ":" +
                std::to_string(task.where.line()) + ")";
    return text;
}

void report_slow_step(TaskCore& task, Duration ran, unsigned worker) noexcept {
    char figures[80];
    std::snprintf(figures, sizeof figures, " ran for %.3f s without waiting (worker %u)",
                  std::chrono::duration<double>(ran).count(), worker);
    complain(("weft: " + described(task) + figures).c_str());
}

// --- cancels ------------------------------------------------------------------------------------------------------

void report_swallowed_cancel(TaskCore& task) noexcept {
    complain(("weft: " + described(task) +
              " ended with a value though it was cancelled: it has swallowed a CancelledError")
                 .c_str());
}

void note_met_cancel(TaskCore& task) noexcept {
    {
        std::lock_guard guard(task.lock);
        if (task.extra == nullptr) task.extra = new (std::nothrow) detail::TaskExtra;
        if (task.extra == nullptr || ++task.extra->cancels_met < kManyCancels ||
            std::exchange(task.extra->was_named_for_cancels, true))
            return;
    }
    complain(("weft: " + described(task) + " has been cancelled " + std::to_string(kManyCancels) +
              " times and has not ended")
                 .c_str());
}

// --- mutexes ------------------------------------------------------------------------------------------------------

int held_mutexes() noexcept { return weft_held_mutexes != nullptr ? weft_held_mutexes() : 0; }

void Worker::check_no_mutex_held(TaskCore& task, const char* waits_for) noexcept {
    if (!scheduler.debug()) return;
    // A simulation's workers are all on the thread of the first one.
    const Worker& first = scheduler.simulation() != nullptr ? *scheduler.workers()[0] : *this;
    if (held_mutexes() <= first.mutexes_held_before_) return;
    complain(("weft: fatal: " + described(task) + " waits (" + waits_for +
              ") while its thread holds a std::mutex: whoever locks that mutex on this thread then "
              "waits for ever")
                 .c_str());
    void* frames[kMostFrames];
    backtrace_symbols_fd(frames, backtrace(frames, kMostFrames), STDERR_FILENO);
    std::abort();
}

// --- steps --------------------------------------------------------------------------------------------------------

void Worker::begin_step(TaskCore* task) noexcept {
    if (!scheduler.debug()) return;
    // Its end shall take the long way, which comes by end_last_step().
    if (task != nullptr && !task->started) task->word.announce_joiner();
    // The real clock, in a simulation too: what is looked for is code that keeps its worker from the other tasks.
    step_began_ = std::chrono::steady_clock::now();
}

void Worker::end_step(TaskCore& task) noexcept {
    if (!scheduler.debug()) return;
    Duration ran = std::chrono::steady_clock::now() - step_began_;
    if (ran >= scheduler.options().slow_step) report_slow_step(task, ran, id);
}

void end_last_step(TaskCore& task) noexcept {
    Worker* worker = current_worker();
    if (worker == nullptr || &worker->scheduler != task.scheduler || !task.started) return;
    worker->end_step(task);
    worker->begin_step(nullptr);
}

}  // namespace weft::rt
