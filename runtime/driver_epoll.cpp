// The real driver: one epoll instance, one eventfd to ring it, the monotonic clock.
#include <array>
#include <cerrno>
#include <system_error>

#include <sys/epoll.h>

#include "driver.hpp"
#include "sys.hpp"

namespace weft::rt {

namespace {

constexpr std::uint64_t kBell = 0;

int checked(int fd, const char* what) {
    if (fd < 0) throw std::system_error(-fd, std::generic_category(), what);
    return fd;
}

class Fd {
public:
    Fd(int fd, const char* what) : fd_(checked(fd, what)) {}
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    ~Fd() { sys::close_fd(fd_); }
    int get() const noexcept { return fd_; }

private:
    int fd_;
};

class EpollDriver final : public Driver {
public:
    EpollDriver() {
        int rc = sys::epoll_add(epoll_.get(), bell_.get(), kBell);
        if (rc < 0) throw std::system_error(-rc, std::generic_category(), "weft: epoll_ctl");
    }

    TimePoint now() noexcept override { return std::chrono::steady_clock::now(); }

    void wait(TimePoint deadline) noexcept override {
        int n = sys::epoll_wait_until(epoll_.get(), events_.data(),
                                      static_cast<int>(events_.size()), deadline);
        for (int i = 0; i < n; ++i)
            if (events_[static_cast<std::size_t>(i)].data.u64 == kBell) sys::silence(bell_.get());
    }

    void wake() noexcept override { sys::ring(bell_.get()); }

private:
    Fd epoll_{sys::make_epoll(), "weft: epoll_create1"};
    Fd bell_{sys::make_eventfd(), "weft: eventfd"};
    std::array<epoll_event, 64>
        events_{};  // here and not on a stack: a parked fiber shall cost one page
};

}  // namespace

std::unique_ptr<Driver> make_epoll_driver() { return std::make_unique<EpollDriver>(); }

}  // namespace weft::rt
