// Waiting for a descriptor of one's own, for libraries that do their own reading and writing (asyncio's add_reader).
#pragma once

namespace weft {

/// Waits until a read of `fd` would not block: there are bytes, or the end, or an error. What is not a socket, pipe or the
/// like is always ready. Any number of tasks may wait for one descriptor.
///
/// Cancelled there, CancelledError. While it waits, weft holds a copy of the descriptor, so closing it does not end the wait:
/// cancel the waiting task. std::system_error: `fd` is none (EBADF), or none can be had (EMFILE). UsageError outside of a
/// task. Cost: four system calls; weft's own streams need none of them.
void wait_readable(int fd);
/// The same for a write.
void wait_writable(int fd);

}  // namespace weft
