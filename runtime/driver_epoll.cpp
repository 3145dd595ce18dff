// The real driver: a reactor and the monotonic clock.
#include "driver.hpp"
#include "reactor.hpp"

namespace weft::rt {

namespace {

class EpollDriver final : public Driver {
public:
    ~EpollDriver() override {
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
    Reactor& reactor_ = *new Reactor;  // descriptors that outlive the runtime keep it
};

}  // namespace

std::unique_ptr<Driver> make_epoll_driver() { return std::make_unique<EpollDriver>(); }

}  // namespace weft::rt
