#include <array>
#include <string>
#include <system_error>

#include <sys/epoll.h>

#include "poller.hpp"
#include "reactor.hpp"
#include "sys.hpp"

namespace weft::rt {

namespace {

constexpr int kEvents = 128;

int checked(int fd, const char* what) {
    if (fd < 0) throw std::system_error(-fd, std::generic_category(), what);
    return fd;
}

class Owned {
public:
    explicit Owned(int fd) noexcept : fd_(fd) {}
    ~Owned() { sys::close_fd(fd_); }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    operator int() const noexcept { return fd_; }

private:
    const int fd_;
};

class EpollPoller final : public Poller {
public:
    EpollPoller()
        : epoll_(checked(sys::make_epoll(), "weft: epoll_create1")),
          bell_(checked(sys::make_eventfd(), "weft: eventfd")) {
        checked(sys::epoll_add(epoll_, bell_, EPOLLIN, kNobody), "weft: epoll_ctl");
    }

    const char* name() const noexcept override { return "epoll"; }

    int add(int fd, std::uint64_t data) noexcept override {
        return sys::epoll_add(epoll_, fd, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP, data);
    }

    // Closing takes a descriptor out of the epoll set only if nobody has a copy of it: so by name.
    void remove(int fd, std::uint64_t) noexcept override { sys::epoll_delete(epoll_, fd); }

    void ring() noexcept override { sys::ring(bell_); }

    void fetch(TimePoint deadline) noexcept override {
        fetched_ = sys::epoll_wait_until(epoll_, events_.data(), kEvents, deadline);
    }

    bool deliver(Reactor& reactor) noexcept override {
        bool any = false;
        for (int i = 0; i < fetched_; ++i) {
            const epoll_event& event = events_[static_cast<std::size_t>(i)];
            if (event.data.u64 == kNobody) {
                sys::silence(bell_);
            } else {
                reactor.meet(event.data.u64, event.events);
                any = true;
            }
        }
        fetched_ = 0;
        return any;
    }

private:
    const Owned epoll_;
    const Owned bell_;
    int fetched_ = 0;
    // Here and not on a stack: a parked fiber shall cost one page.
    std::array<epoll_event, kEvents> events_;
};

}  // namespace

std::unique_ptr<Poller> make_epoll_poller() { return std::make_unique<EpollPoller>(); }

}  // namespace weft::rt
