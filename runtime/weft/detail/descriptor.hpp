// A file descriptor that a runtime's event loop watches: what sockets, pipes and the like stand on. Not for users; they
// have weft/readiness.hpp for descriptors of their own.
//
// The rule of use is "try first": call the kernel, and wait only where it says EAGAIN. retry() is that rule.
#pragma once

#include <weft/lowlevel.hpp>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace weft::rt {
class Reactor;
struct IoSlot;
}  // namespace weft::rt

namespace weft::detail {

enum class Side : std::uint8_t { in, out };
/// What retry() begins with. To wait: as after a read that brought less than it asked for, so that no more was there.
enum class First : std::uint8_t { call, wait };

/// Before a system call that may well not wait: a peer that always has data, or room, must not let a task keep its worker.
/// So after many calls in a row it yields. A cancel point then.
void share_worker();

class Descriptor {
public:
    Descriptor() noexcept = default;
    /// Owns `fd`, which must not block, also if this throws: std::bad_alloc; UsageError naming `what` outside of a task.
    Descriptor(int fd, const char* what);
    Descriptor(Descriptor&& other) noexcept
        : slot_(std::exchange(other.slot_, nullptr)), generation_(other.generation_) {}
    Descriptor& operator=(Descriptor&& other) noexcept {
        if (this != &other) {
            let_go();
            slot_ = std::exchange(other.slot_, nullptr);
            generation_ = other.generation_;
        }
        return *this;
    }
    ~Descriptor() { let_go(); }

    bool is_open() const noexcept;
    /// -1: it is closed.
    int fd() const noexcept;
    /// Any thread, any number of times. Calls in progress that wait end with -EBADF; the descriptor itself is closed
    /// when the last of them has returned.
    void close() noexcept;

    /// call(fd), again after each wait while it says -EAGAIN. Returns what it returned; -EBADF: closed, before or
    /// meanwhile; -ETIMEDOUT: the deadline has passed.
    /// Waits for `side`. CancelledError there. UsageError: another one waits for the same side, or the runtime ended.
    template <class Call>
    auto retry(Side side, const char* what, Call&& call, TimePoint deadline = lowlevel::kNever,
               First first = First::call) {
        Use use(*this);
        decltype(call(0)) result = -EBADF;
        share_worker();
        while (use.may_go_on()) {
            if (first == First::call) {
                result = call(use.fd());
                if (result != -EAGAIN) return result;
            }
            first = First::call;
            if (!use.wait(side, what, deadline)) return decltype(result){-ETIMEDOUT};
            result = -EBADF;
        }
        return result;
    }

    /// call(fd), once; -EBADF: closed.
    template <class Call>
    auto once(Call&& call) const noexcept(noexcept(call(0))) -> decltype(call(0)) {
        Use use(*this);
        if (!use.may_go_on()) return -EBADF;
        return call(use.fd());
    }

    /// Waits for the side without a try before it. Returns at once where an edge has come since. As retry() otherwise: 0,
    /// -EBADF, -ETIMEDOUT.
    int wait(Side side, const char* what, TimePoint deadline = lowlevel::kNever);
    /// Whether a read that brought less than it asked for may have left something: the peer has hung up, or has sent urgent
    /// data, or an error waits. Then try, do not wait.
    bool may_hold_more() const noexcept;

private:
    /// Closes it, and gives up the slot: which is there until then, also after close() and the end of the runtime.
    void let_go() noexcept;

    /// Keeps the descriptor's number from being used anew while it lives.
    class Use {
    public:
        explicit Use(const Descriptor& descriptor) noexcept;
        ~Use();
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        bool may_go_on() const noexcept;
        int fd() const noexcept;
        /// False: the deadline has passed.
        bool wait(Side side, const char* what, TimePoint deadline);

    private:
        rt::IoSlot* slot_;
    };

    rt::IoSlot* slot_ = nullptr;
    std::uint32_t generation_ = 0;
};

}  // namespace weft::detail
