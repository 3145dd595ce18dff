#include <weft/detail/file_calls.hpp>

#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system_call.hpp"

namespace weft::detail::calls {

namespace {

int take(int rc, const struct stat& from, FileStatus* status) noexcept {
    if (rc < 0) return rc;
    *status = {from.st_mode, from.st_size};
    return 0;
}

}  // namespace

int open_file(const char* path, int flags, unsigned permissions) noexcept {
    flags |= O_CLOEXEC | O_NOCTTY;
    int fd = repeated([&] { return ::open(path, flags | O_NONBLOCK, permissions); });
    if (fd != -EWOULDBLOCK) return fd;
    // Somebody has a lease on this regular file, which he gives back when it is opened in earnest.
    return repeated([&] { return ::open(path, flags, permissions); });
}

int status_of(int fd, FileStatus* status) noexcept {
    struct stat found{};
    return take(repeated([&] { return ::fstat(fd, &found); }), found, status);
}

int status_of(const char* path, FileStatus* status) noexcept {
    struct stat found{};
    return take(repeated([&] { return ::stat(path, &found); }), found, status);
}

int real_path(const char* path, std::string* result) {
    char* found = ::realpath(path, nullptr);
    if (found == nullptr) return -errno;
    try {
        result->assign(found);
    } catch (...) {
        std::free(found);
        throw;
    }
    std::free(found);
    return 0;
}

ssize_t read_at(int fd, void* data, std::size_t n, std::int64_t offset) noexcept {
    return repeated([&] { return ::pread(fd, data, n, offset); });
}

ssize_t write_at(int fd, const void* data, std::size_t n, std::int64_t offset) noexcept {
    WithoutWriteSignals guard;
    return guard.note(repeated([&] { return ::pwrite(fd, data, n, offset); }));
}

std::int64_t seek(int fd, std::int64_t offset, int whence) noexcept {
    return repeated([&] { return ::lseek(fd, offset, whence); });
}

int truncate(int fd, std::int64_t size) noexcept {
    WithoutWriteSignals guard;
    return guard.note(repeated([&] { return ::ftruncate(fd, size); }));
}

int set_permissions(int fd, unsigned permissions) noexcept {
    return repeated([&] { return ::fchmod(fd, permissions); });
}

int sync(int fd) noexcept {
    return repeated([&] { return ::fsync(fd); });
}

int close_file(int fd) noexcept {
    // Not repeated: Linux has closed it, and the number may be somebody else's.
    return ::close(fd) == 0 || errno == EINTR ? 0 : -errno;
}

int rename(const char* from, const char* to) noexcept {
    return repeated([&] { return ::rename(from, to); });
}

int unlink(const char* path) noexcept {
    return repeated([&] { return ::unlink(path); });
}

}  // namespace weft::detail::calls
