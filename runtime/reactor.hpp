// Which descriptors a runtime watches, and who waits for them.
//
// The kernel is asked by a Poller, edge-triggered (poller.hpp). Each descriptor has a slot of a table that
// only grows; an event carries {index, generation} of the slot and never a descriptor or a pointer, so one that was
// fetched before its descriptor was closed, and perhaps opened anew under the same number, meets another generation
// and is dropped. A slot is registered when its first waiter comes: what is always ready costs no system call for it.
//
// Protocol of a side (in, out), under the slot's lock:
//   to wait    after the system call has said EAGAIN: is `ready` set, take it and try again; else be `waiting`
//   an event   is somebody waiting, wake that one; else set `ready`
// An edge between the EAGAIN and the wait is thus kept in `ready`. One that is left from before costs a needless try.
//
// Closing: a slot's word is {generation, kClosing, users}. Users are the owner, and the calls that are inside of a system
// call or wait; they come in by a CAS, only with the generation of their handle and only while the door is not barred.
// close() bars it (kClosing) and wakes who waits; the last one out closes the descriptor and moves the generation on. So
// no call ever reaches a descriptor that has been closed and given to somebody else (Go's fdMutex), and what a handle
// does after close() is refused.
//
// Thread rules: fetch() and deliver() are for the one worker that has the driver; all else for any thread. The table
// lives as long as its driver or any Descriptor that was ever in it: one that is closed still looks at its slot.
#pragma once

#include <weft/detail/descriptor.hpp>
#include <weft/detail/spin_lock.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "poller.hpp"

namespace weft::rt {

class Reactor;

struct alignas(64) IoSlot {
    static constexpr std::uint64_t kClosing = 1ULL << 31;

    static constexpr std::uint32_t generation_of(std::uint64_t word) noexcept {
        return static_cast<std::uint32_t>(word >> 32);
    }

    detail::SpinLock lock;
    bool registered = false;                          // guarded by lock
    bool ready[2] = {false, false};                   // guarded by lock
    detail::Waiter* waiting[2] = {nullptr, nullptr};  // in their own frames; guarded by lock
    /// The peer has said its last, or something urgent, or there was an error: a read that brings less than it asked for
    /// has not found all that came with this edge.
    std::atomic<bool> holds_more{false};
    std::atomic<int> error{0};  // -errno: why it cannot be watched, for who waited
    std::atomic<std::uint64_t> word{0};
    int fd = -1;
    std::uint32_t index = 0;
    Reactor* reactor = nullptr;
    IoSlot* next_free = nullptr;
};

class Reactor {
public:
    explicit Reactor(std::unique_ptr<Poller> poller) noexcept;
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;
    /// A reference: as the driver has one, and each open slot, and each Descriptor, closed or not.
    void hold() noexcept { references_.fetch_add(1); }
    void drop() noexcept;

    /// A slot for `fd`, with one user: its owner. std::bad_alloc.
    IoSlot& open(int fd);
    /// The owner's part of closing. Does nothing where that is done, or the slot has gone on to somebody else.
    static void close(IoSlot& slot, std::uint32_t generation) noexcept;
    /// One user more; false: it is closed.
    static bool enter(IoSlot& slot, std::uint32_t generation) noexcept;
    static void leave(IoSlot& slot) noexcept;

    /// From now on nobody polls: waiting is refused.
    void retire() noexcept { retired_.store(true); }
    bool retired() const noexcept { return retired_.load(); }

    /// Whether any descriptor is registered.
    bool watches() const noexcept {
        // order: relaxed - a hint; what is missed now is met by the poll of the worker that goes to sleep.
        return registered_.load(std::memory_order_relaxed) != 0;
    }
    const char* poller_name() const noexcept { return poller_->name(); }
    /// Makes the fetch() in progress, or the next one, return.
    void ring() noexcept { poller_->ring(); }
    /// Waits for events until the deadline; they are kept for deliver().
    void fetch(TimePoint deadline) noexcept { poller_->fetch(deadline); }
    /// Wakes those whose events fetch() brought. Whether there were any.
    bool deliver() noexcept { return poller_->deliver(*this); }

    // For who brings events: the poller, and a simulation's network.
    /// Wakes who waits for these events (EPOLLIN and so on) of the slot that `data` names.
    void meet(std::uint64_t data, std::uint32_t events) noexcept;
    /// The poller has lost the slot that `data` names: who waits there is registered anew, or told the error (-errno).
    void lost(std::uint64_t data, int error) noexcept;

    /// Waits for an edge, or returns at once for one that has come.
    lowlevel::Woken wait(IoSlot& slot, detail::Side side, const char* what, TimePoint deadline);

private:
    static constexpr std::uint32_t kFirstChunk = 64;
    static constexpr unsigned kChunks = 24;  // each as large as all before it: a billion slots

    ~Reactor();
    IoSlot& at(std::uint32_t index) noexcept;
    void add_chunk();
    void release(IoSlot& slot) noexcept;
    int register_locked(IoSlot& slot) noexcept;

    const std::unique_ptr<Poller> poller_;
    std::atomic<std::uint32_t> references_{1};  // see hold()
    std::atomic<bool> retired_{false};
    std::atomic<std::uint32_t> registered_{0};
    std::mutex free_mutex_;
    IoSlot* free_ = nullptr;      // guarded by free_mutex_
    std::uint32_t capacity_ = 0;  // guarded by free_mutex_
    std::atomic<IoSlot*> chunks_[kChunks] = {};
};

}  // namespace weft::rt
