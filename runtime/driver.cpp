// The real driver: a reactor and the monotonic clock.
#include "driver.hpp"

#include "reactor.hpp"

namespace weft::rt {

namespace {

class KernelDriver final : public Driver {
public:
    explicit KernelDriver(std::unique_ptr<Poller> poller)
        : reactor_(*new Reactor(std::move(poller))) {}
    ~KernelDriver() override {
        reactor_.retire();
        reactor_.drop();
    }

    TimePoint now() noexcept override { return std::chrono::steady_clock::now(); }
    void wait(TimePoint deadline) noexcept override { reactor_.fetch(deadline); }
    bool deliver() noexcept override { return reactor_.deliver(); }
    void wake() noexcept override { reactor_.ring(); }
    bool watches() const noexcept override { return reactor_.watches(); }
    Reactor& reactor() noexcept override { return reactor_; }

private:
    Reactor& reactor_;  // descriptors that outlive the runtime keep it
};

}  // namespace

std::unique_ptr<Driver> make_driver(detail::PollerKind kind) {
    std::unique_ptr<Poller> poller;
    if (kind == detail::PollerKind::io_uring) poller = make_uring_poller();
    if (poller == nullptr) poller = make_epoll_poller();
    return std::make_unique<KernelDriver>(std::move(poller));
}

}  // namespace weft::rt
