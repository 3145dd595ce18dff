#include <weft/detail/descriptor.hpp>
#include <weft/detail/socket_calls.hpp>
#include <weft/readiness.hpp>

#include <system_error>

namespace weft {

namespace {

// By a copy of its own: another wait for the same descriptor is in nobody's way, and a number that is closed and used anew
// meanwhile is nobody's business.
void wait_for(int fd, detail::Side side, const char* what) {
    lowlevel::require_task(what);
    int copy = detail::calls::duplicate(fd);
    if (copy < 0) throw std::system_error(-copy, std::generic_category(), what);
    detail::Descriptor descriptor(copy, what);
    try {
        descriptor.wait(side, what);
    } catch (const std::system_error& e) {
        // epoll knows no files: they are always ready.
        if (e.code() != std::errc::operation_not_permitted) throw;
    }
}

}  // namespace

void wait_readable(int fd) { wait_for(fd, detail::Side::in, "wait_readable"); }
void wait_writable(int fd) { wait_for(fd, detail::Side::out, "wait_writable"); }

}  // namespace weft
