// Data-parallel CPU work on a oneTBB arena. The one place, with arena.cpp, that knows oneTBB.
//
// oneTBB keeps state per thread, so a call is enqueued into the arena and never entered on a fiber's stack. Each call
// has a task_group_context of its own: algorithms that the user's function runs are bound to it, and cancelling it
// makes them stop and return.
#pragma once

#include <memory>

#include "offload.hpp"

namespace weft::rt {

class ArenaCall {
public:
    explicit ArenaCall(OffloadCall& call);
    ~ArenaCall();
    ArenaCall(const ArenaCall&) = delete;
    ArenaCall& operator=(const ArenaCall&) = delete;
    /// Any thread: parallel algorithms in it stop, or it never begins.
    void cancel() noexcept;

private:
    friend class Arena;
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

class Arena {
public:
    /// In it, oneTBB's threads have this thread's nice value and `nice` more (0 to 19).
    Arena(unsigned cores, int nice);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    void enqueue(ArenaCall& call);

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace weft::rt
