// fork() in a process with a running runtime gives a child with one thread, and locks held by threads that are not
// there. Such a child may exec or _exit; any use of weft in it says so and aborts, instead of hanging.
#pragma once

#include <weft/detail/engine.hpp>

namespace weft::rt {

/// Once for the process; cheap.
void install_fork_guard() noexcept;
/// While a runtime lives, a fork makes weft unusable in the child.
void runtime_begins() noexcept;
void runtime_ends() noexcept;

}  // namespace weft::rt
