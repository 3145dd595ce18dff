#include <weft/pipe.hpp>

#include <cerrno>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>

#include "detail/stream_state.hpp"

namespace weft {

namespace calls = detail::calls;

namespace {

PipeStream take_over(int fd, const char* what) {
    struct stat status{};
    int rc = ::fstat(fd, &status) == 0 ? 0 : -errno;
    // What epoll refuses would fail at the first wait; but it never says EAGAIN, it blocks the worker.
    bool can_wait = S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) || S_ISCHR(status.st_mode);
    if (rc == 0 && can_wait) rc = calls::set_nonblocking(fd);
    if (rc < 0) {
        if (rc != -EBADF) calls::close(fd);
        throw std::system_error(-rc, std::generic_category(), what);
    }
    if (!can_wait) {
        calls::close(fd);
        throw std::invalid_argument(std::string(what) +
                                    ": neither a pipe, a socket nor a character device");
    }
    return detail::make_stream<PipeStream>(detail::Descriptor(fd, what), detail::StreamKind::pipe);
}

PipeStream open_standard(int number, int access, const char* what) {
    lowlevel::require_task(what);
    std::string path = "/proc/self/fd/" + std::to_string(number);
    int fd = ::open(path.c_str(), access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) fd = calls::duplicate(number);
    if (fd < 0) throw std::system_error(-fd, std::generic_category(), what);
    return take_over(fd, what);
}

}  // namespace

PipeStream PipeStream::from_fd(int fd) { return take_over(fd, "weft::PipeStream::from_fd"); }

PipeStream open_stdin() { return open_standard(0, O_RDONLY, "weft::open_stdin"); }
PipeStream open_stdout() { return open_standard(1, O_WRONLY, "weft::open_stdout"); }
PipeStream open_stderr() { return open_standard(2, O_WRONLY, "weft::open_stderr"); }

}  // namespace weft
