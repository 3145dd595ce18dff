// Work from outside: an intrusive first-in first-out list under a lock. Any thread.
//
// Also what a worker's own queue overflows to when it cannot grow, since linking a task needs no memory.
// size() is read without the lock: a hint when it is wrong by a moment, but seq_cst against Idle's proof.
#pragma once

#include <weft/detail/task_core.hpp>

#include <atomic>
#include <cstddef>
#include <mutex>

namespace weft::rt {

class Inject {
public:
    /// False: it is closed, and the task was not taken.
    bool push(detail::TaskCore& task) noexcept {
        std::lock_guard guard(mutex_);
        if (closed_) return false;
        task.next = nullptr;
        (last_ != nullptr ? last_->next : first_) = &task;
        last_ = &task;
        size_.fetch_add(1);
        return true;
    }

    /// What was pushed stays to be popped; nothing more is taken.
    void close() noexcept {
        std::lock_guard guard(mutex_);
        closed_ = true;
    }

    detail::TaskCore* pop() noexcept {
        if (empty()) return nullptr;
        std::lock_guard guard(mutex_);
        detail::TaskCore* task = first_;
        if (task == nullptr) return nullptr;
        first_ = task->next;
        if (first_ == nullptr) last_ = nullptr;
        size_.fetch_sub(1);
        return task;
    }

    bool empty() const noexcept { return size_.load() == 0; }
    std::size_t size() const noexcept { return size_.load(); }

private:
    std::mutex mutex_;
    detail::TaskCore* first_ = nullptr;
    detail::TaskCore* last_ = nullptr;
    bool closed_ = false;
    std::atomic<std::size_t> size_{0};
};

}  // namespace weft::rt
