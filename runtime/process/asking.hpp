// In a worker process: how the call that runs hears that its caller has gone, and that it is to be
// given up.
//
// The program queues kAskSignal with the call's id. Every thread of the worker has that signal
// blocked; one that does nothing else waits for it, so no system call of the user's is interrupted
// and nothing is bound by what a signal handler may do. The id tells a call from the one before:
// an ask that comes when its call has been answered concerns nobody.
// Rejected: a packet on the worker's socket (a second reader would take calls from the first), and
// a flag in memory that both processes map (one more thing that a worker could corrupt).
// Thread rules: prepare_for_asks() in the main thread while it is the only one; begin_call() and
// detail::run_in_worker() in the main thread.
#pragma once

#include <csignal>
#include <cstdint>

namespace weft::rt::process {

/// A realtime one: asks of several calls queue up, none takes another's place.
inline int ask_signal() noexcept { return SIGRTMAX; }

/// Blocks the signal and starts the thread that waits for it. -errno.
int prepare_for_asks() noexcept;

/// The next call that detail::run_in_worker() runs has this id.
void begin_call(std::uint64_t id) noexcept;

}  // namespace weft::rt::process
