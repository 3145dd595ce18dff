// Data-parallel CPU work on a oneTBB arena. The one place, with arena.cpp, that knows oneTBB.
//
// oneTBB keeps state per thread, so a call is enqueued into the arena and never entered on a fiber's stack. Each call
// has a task_group_context of its own: algorithms that the user's function runs are bound to it, and cancelling it
// makes them stop and return.
#pragma once

#include <memory>

#include "core_budget.hpp"
#include "offload.hpp"

namespace weft::rt {

class ArenaCall {
public:
    /// With at most so many threads of the arena's; 0: all of them.
    ArenaCall(OffloadCall& call, std::size_t threads_most);
    ~ArenaCall();
    ArenaCall(const ArenaCall&) = delete;
    ArenaCall& operator=(const ArenaCall&) = delete;
    /// Any thread: parallel algorithms in it stop, or its function is not called any more.
    void cancel() noexcept;

private:
    friend class Arena;
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

class Arena {
public:
    explicit Arena(const detail::ArenaOptions& options);
    /// `slots` tells others of its threads, and may outlive it.
    Arena(const detail::ArenaOptions& options, std::shared_ptr<ArenaSlots> slots);
    /// Waits for its calls. In a child of the process that made it, it leaves alone what the parent's threads use.
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    /// QueueFull; Error once it is closed; UsageError in a child of the process that made it, which has none of its threads.
    void enqueue(ArenaCall& call);
    /// True: it had not begun, and will not.
    bool take_back(ArenaCall& call) noexcept;

    /// From here on calls are refused; `kill` takes back those that have not begun, and cancels the others.
    void close(Shutdown how) noexcept;
    /// Blocks until none is left.
    void join() noexcept;
    /// None, where it is of a parent.
    detail::ExecutorFigures figures() const noexcept;

    ArenaSlots& slots() noexcept;
    /// Any thread: so many of its threads may work from here on, one at least; the others are parked as they come to it.
    void allow(unsigned threads) noexcept;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Whether this thread is an arena's, and what it runs has been cancelled.
enum class InArena : std::uint8_t { no, yes, cancelled };
InArena in_arena() noexcept;
/// The group to which what this thread runs belongs; null on one that is no arena's.
const void* current_group() noexcept;

}  // namespace weft::rt
