// Readiness from io_uring: one multishot poll request for each descriptor, and a ring in memory that the kernel writes the
// edges to. A look at it is no system call where something has come.
//
// Submission is under a lock, since any worker may add a descriptor; completions are the one worker's that has the driver.
// The ring is set up without COOP_TASKRUN and DEFER_TASKRUN, which are faster: with these, edges come only when the
// thread that submitted enters the kernel, and a worker that computes would hold back everybody's.
#include "poller.hpp"

#ifdef WEFT_URING

#include <algorithm>
#include <cerrno>
#include <mutex>

#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "reactor.hpp"
#include "signals_held_back.hpp"
#include "sys.hpp"

namespace weft::rt {

namespace {

constexpr unsigned kSubmissions = 64;
constexpr unsigned kCompletions = 4096;  // what is more is kept by the kernel (IORING_FEAT_NODROP)

constexpr Duration kUnwatchedBell = std::chrono::milliseconds(10);

constexpr std::uint64_t kBell = Poller::kNobody;
constexpr std::uint64_t kNobodys =
    Poller::kNobody - 1;  // of what needs no answer; no generation is all ones

class UringPoller final : public Poller {
public:
    /// Throws -errno.
    UringPoller() {
        io_uring_params params{};
        params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        params.cq_entries = kCompletions;
        if (int rc = io_uring_queue_init_params(kSubmissions, &ring_, &params); rc < 0) throw rc;
        // Without EXT_ARG, a wait with a deadline would be a submission too, and take the lock.
        constexpr unsigned kNeeded = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP;
        int rc = (params.features & kNeeded) == kNeeded ? 0 : -ENOSYS;
        if (rc == 0 && (bell_ = sys::make_eventfd()) < 0) rc = bell_;
        if (rc == 0) rc = watch_bell();
        if (rc == 0) return;
        if (bell_ >= 0) sys::close_fd(bell_);
        io_uring_queue_exit(&ring_);
        throw rc;
    }

    ~UringPoller() override {
        io_uring_queue_exit(&ring_);
        sys::close_fd(bell_);
    }

    const char* name() const noexcept override { return "io_uring"; }

    int add(int fd, std::uint64_t data) noexcept override {
        // What is always ready gives no edges; epoll refuses it, and so its users know.
        struct stat status;
        if (::fstat(fd, &status) != 0) return -errno;
        if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) return -EPERM;
        return watch(fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP, data);
    }

    // The request holds the open file: until it is gone, closing the descriptor closes nothing. Not by POLL_REMOVE, which leaves
    // a request alone (EALREADY) that is at work on an event just then: a peer that goes on sending would never hear of the end.
    void remove(int, std::uint64_t data) noexcept override {
        submit([&](io_uring_sqe* sqe) {
            io_uring_prep_cancel64(sqe, data, 0);
            sqe->user_data = kNobodys;
        });
    }

    void ring() noexcept override { sys::ring(bell_); }

    void fetch(TimePoint deadline) noexcept override {
        io_uring_cqe* first = nullptr;
        if (io_uring_peek_cqe(&ring_, &first) == 0 || deadline == sys::kAtOnce) return;
        if (!bell_watched_ && watch_bell() != 0)  // nobody could end the wait
            deadline = std::min(deadline, std::chrono::steady_clock::now() + kUnwatchedBell);
        sys::SignalsHeldBack held_back;
        auto* signals = const_cast<sigset_t*>(held_back.before());
        if (deadline == lowlevel::kNever) {
            io_uring_wait_cqes(&ring_, &first, 1, nullptr, signals);
            return;
        }
        Duration left = deadline - std::chrono::steady_clock::now();
        if (left <= Duration::zero()) return;
        __kernel_timespec time{left / std::chrono::seconds(1),
                               (left % std::chrono::seconds(1)).count()};
        io_uring_wait_cqes(&ring_, &first, 1, &time, signals);
    }

    bool deliver(Reactor& reactor) noexcept override {
        bool any = false;
        io_uring_cqe* cqe = nullptr;
        // Those that are here now: what is added meanwhile may have ended at once, again and again.
        for (unsigned left = io_uring_cq_ready(&ring_);
             left > 0 && io_uring_peek_cqe(&ring_, &cqe) == 0; --left) {
            const std::uint64_t data = cqe->user_data;
            const int result = cqe->res;
            const bool over = (cqe->flags & IORING_CQE_F_MORE) == 0;
            io_uring_cqe_seen(&ring_, cqe);
            if (data == kNobodys) continue;
            if (data == kBell) {
                sys::silence(bell_);
                if (over) watch_bell();
                continue;
            }
            any = true;
            if (result > 0) reactor.meet(data, static_cast<std::uint32_t>(result));
            // The kernel gives a request up where it has no room for its events, where the thread has ended that submitted it,
            // and at once where the file is always ready. One that was removed is not registered any more, and stays away.
            if (over) reactor.lost(data, result < 0 && result != -ECANCELED ? result : 0);
        }
        return any;
    }

private:
    int watch(int fd, unsigned events, std::uint64_t data) noexcept {
        return submit([&](io_uring_sqe* sqe) {
            io_uring_prep_poll_multishot(sqe, fd, events);
            sqe->user_data = data;
        });
    }

    // Not for writing: each time the bell is silenced it can be written again, which would be an edge.
    int watch_bell() noexcept {
        int rc = watch(bell_, POLLIN, kBell);
        bell_watched_ = rc == 0;
        return rc;
    }

    template <class Prepare>
    int submit(Prepare&& prepare) noexcept {
        std::lock_guard guard(submission_);
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        if (sqe == nullptr) return -EBUSY;  // each is submitted at once: there is always room
        prepare(sqe);
        int rc = 0;
        while ((rc = io_uring_submit(&ring_)) == -EINTR) {
        }
        if (rc > 0) return 0;
        // It stands in the ring all the same, and would go with the next one, for a descriptor that may be another by then.
        io_uring_prep_nop(sqe);
        sqe->user_data = kNobodys;
        return rc != 0 ? rc : -EAGAIN;  // 0: the kernel has left it where it is
    }

    io_uring ring_{};
    int bell_ = -1;
    bool bell_watched_ = false;  // of the one that has the driver
    std::mutex submission_;
};

}  // namespace

std::unique_ptr<Poller> make_uring_poller() {
    try {
        return std::make_unique<UringPoller>();
    } catch (int) {
        return nullptr;
    }
}

}  // namespace weft::rt

#else

namespace weft::rt {

std::unique_ptr<Poller> make_uring_poller() { return nullptr; }

}  // namespace weft::rt

#endif
