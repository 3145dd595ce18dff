// Confines a worker process to the system calls that it may make (seccomp's filters).
// Thread rules: confine() concerns all threads of the process, those to come included.
#pragma once

#include <weft/detail/process_limits.hpp>

namespace weft::rt::process {

/// From here on any other system call kills the process by SIGSYS. For ever, and for what it starts
/// as well. After PR_SET_NO_NEW_PRIVS. -errno: the kernel cannot, and nothing is confined.
int confine(const detail::SystemCalls& allowed) noexcept;

}  // namespace weft::rt::process
