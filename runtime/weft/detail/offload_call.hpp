// What the templates of <weft/offload.hpp> tell the engine about a call that leaves the fibers.
#pragma once

#include <weft/lowlevel.hpp>

#include <exception>
#include <string>

namespace weft::detail {

struct OffloadCall {
    /// Runs the user's function and keeps its value, or its exception in `error`.
    void (*run)(OffloadCall& self) noexcept = nullptr;
    /// Asks the running function to stop; may be null. Any thread.
    void (*ask_to_stop)(OffloadCall& self) noexcept = nullptr;
    /// Drops one of the two references of a call that may be abandoned; null: the caller's frame owns it.
    void (*release)(OffloadCall& self) noexcept = nullptr;

    std::exception_ptr error;
    void* context = nullptr;  // context variables; a reference
    rt::Scheduler* scheduler = nullptr;
    OffloadCall* next = nullptr;  // in the pool's queue; guarded by its lock
    OffloadCall* prev = nullptr;
    bool may_queue = true;  // false: EAGAIN in `error` where no thread of the pool is free
    bool queued = false;
    bool ran = false;  // the function was called; written before done

    SpinLock lock;
    bool done = false;  // guarded by lock
    Waiter waiter;      // guarded by lock
};

/// Waits until the call has run on a thread of this runtime's pool. Throws CancelledError and nothing else; the
/// call's own error is in `error`.
void run_on_thread(OffloadCall& call);
/// The same on the runtime's oneTBB arena.
void run_in_arena(OffloadCall& call);

}  // namespace weft::detail
