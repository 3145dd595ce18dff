// The system calls of files on a disk. Each returns -errno, repeats EINTR, and raises no signal. They may block for as long
// as the disk, or the network behind it, takes: they are for the threads of to_thread. Not for users.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <sys/types.h>

namespace weft::detail::calls {

struct FileStatus {
    unsigned mode = 0;  ///< type and permissions, as stat(2)
    std::int64_t size = 0;
};

/// Close-on-exec, and never a controlling terminal. Waits for no peer: a FIFO or a device is opened at once, and not to
/// block. Waits for who holds a lease.
int open_file(const char* path, int flags, unsigned permissions) noexcept;
int status_of(int fd, FileStatus* status) noexcept;
int status_of(const char* path, FileStatus* status) noexcept;
/// All symbolic links followed.
int real_path(const char* path, std::string* result);

ssize_t read_at(int fd, void* data, std::size_t n, std::int64_t offset) noexcept;
ssize_t write_at(int fd, const void* data, std::size_t n, std::int64_t offset) noexcept;
std::int64_t seek(int fd, std::int64_t offset, int whence) noexcept;
int truncate(int fd, std::int64_t size) noexcept;
int set_permissions(int fd, unsigned permissions) noexcept;
int sync(int fd) noexcept;
/// What close(2) says of bytes that could not be written. The descriptor is closed in any case.
int close_file(int fd) noexcept;

int rename(const char* from, const char* to) noexcept;
int unlink(const char* path) noexcept;

}  // namespace weft::detail::calls
