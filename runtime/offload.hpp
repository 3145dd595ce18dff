// A call that leaves the fibers and comes back: what threads and arena have in common.
//
// The call's object lives in the caller's frame (or, for calls that may be abandoned, on the heap). The caller parks;
// the other side runs the call and finishes it. Cancelled, the caller takes the call back if it has not begun, else
// asks it to stop and waits on, shielded, since the call may use the caller's locals.
#pragma once

#include <weft/detail/offload_call.hpp>

#include <exception>
#include <string>

namespace weft::rt {

using detail::OffloadCall;

/// On the other side: runs the call in its context variables.
void call_offloaded(OffloadCall& call) noexcept;
/// Tells who waits. The call may be gone when it returns.
void finish_offload(OffloadCall& call) noexcept;
/// For a call that could not be started.
void fail_offload(OffloadCall& call, std::exception_ptr error) noexcept;
/// Of a call that runs: not under a lock, since callbacks of the user's hear of it.
void ask_to_stop(OffloadCall& call) noexcept;
/// The part of it before the callbacks, which may be done under a pool's lock: marks the call, and ends the wait in
/// which its function is. False if it has been asked before.
bool mark_to_stop(OffloadCall& call) noexcept;
/// A wait of weft's on a plain thread. In a call's function it is a cancel point, as checkpoint() is.
class WaitInCall {
public:
    explicit WaitInCall(lowlevel::Interrupt interrupt) noexcept;
    ~WaitInCall();
    WaitInCall(const WaitInCall&) = delete;
    WaitInCall& operator=(const WaitInCall&) = delete;

    bool is_asked_to_stop() const noexcept;
    /// From here on a request to stop ends the wait; one that has been made ends it now.
    void listen(detail::Waiter waiter) noexcept;

private:
    OffloadCall* call_;  // null: nobody asks this thread to stop
};
/// What checkpoint() does on a thread that runs no task: CancelledError if the call that it runs has been asked to stop.
void checkpoint_of_offload();
bool is_cancel(const std::exception_ptr& error) noexcept;
/// Ends the wait of a plain thread; in park.cpp.
bool unpark_by_cancel(detail::Waiter waiter) noexcept;
/// For a call whose executor was shut down "before the call began", or so.
std::exception_ptr shut_down_error(const std::string& name, const char* when) noexcept;

}  // namespace weft::rt
