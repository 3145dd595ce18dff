// Ctrl-C, as in asyncio: the first SIGINT asks the main task to cancel, a second one ends the process.
//
// The handler may run at any moment on any thread. It sets a flag and rings the driver; a worker that looks around
// meets the flag and makes the request. It is installed for a run on the process's main thread alone, and only where
// SIGINT has its default action, so it never takes a program's own handler away. It is reset as it fires: the second
// signal has the default action again.
#pragma once

namespace weft::rt {

class Scheduler;

/// From now on the first SIGINT interrupts this runtime. False: nothing was installed.
bool install_interrupt_handler(Scheduler& scheduler) noexcept;
/// When this returns, no handler runs that knows the runtime.
void remove_interrupt_handler() noexcept;

}  // namespace weft::rt
