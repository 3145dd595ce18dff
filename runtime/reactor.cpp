#include "reactor.hpp"

#include <weft/detail/basic_errors.hpp>
#include <weft/detail/socket_calls.hpp>

#include <bit>
#include <memory>
#include <string>
#include <system_error>

#include <sys/epoll.h>

#include "check.hpp"
#include "network_calls.hpp"
#include "scheduler.hpp"
#include "sys.hpp"

namespace weft::rt {

using detail::Side;

namespace {

std::uint64_t data_of(const IoSlot& slot) noexcept {
    return std::uint64_t{IoSlot::generation_of(slot.word.load())} << 32 | slot.index;
}

}  // namespace

Reactor::Reactor(std::unique_ptr<Poller> poller) noexcept : poller_(std::move(poller)) {}

Reactor::~Reactor() {
    for (auto& chunk : chunks_) delete[] chunk.load();
}

void Reactor::drop() noexcept {
    if (references_.fetch_sub(1) == 1) delete this;
}

// --- the table ----------------------------------------------------------------------------------------------------

// Chunk 0 has kFirstChunk slots, chunk c > 0 as many as all before it: kFirstChunk << (c - 1).
IoSlot& Reactor::at(std::uint32_t index) noexcept {
    unsigned chunk = static_cast<unsigned>(std::bit_width(index / kFirstChunk));
    std::uint32_t first = chunk == 0 ? 0 : kFirstChunk << (chunk - 1);
    return chunks_[chunk].load()[index - first];
}

void Reactor::add_chunk() {
    unsigned chunk =
        capacity_ == 0 ? 0 : static_cast<unsigned>(std::bit_width(capacity_ / kFirstChunk));
    if (chunk >= kChunks) throw std::bad_alloc();
    std::uint32_t n = chunk == 0 ? kFirstChunk : capacity_;
    auto* slots = new IoSlot[n];
    for (std::uint32_t i = n; i > 0; --i) {
        IoSlot& slot = slots[i - 1];
        slot.index = capacity_ + i - 1;
        slot.reactor = this;
        slot.next_free = std::exchange(free_, &slot);
    }
    chunks_[chunk].store(slots);
    capacity_ += n;
}

IoSlot& Reactor::open(int fd) {
    std::lock_guard guard(free_mutex_);
    if (free_ == nullptr) add_chunk();
    IoSlot& slot = *free_;
    free_ = slot.next_free;
    slot.fd = fd;
    slot.ready[0] = slot.ready[1] = false;
    slot.holds_more.store(false);
    slot.error.store(0);
    slot.word.store(slot.word.load() + 1);
    hold();
    return slot;
}

bool Reactor::enter(IoSlot& slot, std::uint32_t generation) noexcept {
    std::uint64_t word = slot.word.load();
    do {
        if (IoSlot::generation_of(word) != generation || (word & IoSlot::kClosing) != 0)
            return false;
    } while (!slot.word.compare_exchange_weak(word, word + 1));
    return true;
}

void Reactor::close(IoSlot& slot, std::uint32_t generation) noexcept {
    std::uint64_t word = slot.word.load();
    do {
        if (IoSlot::generation_of(word) != generation || (word & IoSlot::kClosing) != 0) return;
    } while (!slot.word.compare_exchange_weak(word, word | IoSlot::kClosing));
    {
        std::lock_guard guard(slot.lock);
        for (detail::Waiter*& waiter : slot.waiting)
            if (waiter != nullptr) lowlevel::unpark(*std::exchange(waiter, nullptr));
    }
    leave(slot);
}

void Reactor::leave(IoSlot& slot) noexcept {
    auto users = static_cast<std::uint32_t>(slot.word.fetch_sub(1));
    if (users == (IoSlot::kClosing | 1U)) slot.reactor->release(slot);
}

// The last user has gone, and nobody comes in any more: the slot is this call's alone, but for events on their way.
void Reactor::release(IoSlot& slot) noexcept {
    {
        std::lock_guard guard(slot.lock);
        if (std::exchange(slot.registered, false) && !network_calls::is_ours(slot.fd)) {
            poller_->remove(slot.fd, data_of(slot));
            registered_.fetch_sub(1);
        }
        detail::calls::close(std::exchange(slot.fd, -1));
        slot.word.store((std::uint64_t{IoSlot::generation_of(slot.word.load())} + 1) << 32);
    }
    {
        std::lock_guard guard(free_mutex_);
        slot.next_free = std::exchange(free_, &slot);
    }
    drop();
}

// --- waiting ------------------------------------------------------------------------------------------------------

int Reactor::register_locked(IoSlot& slot) noexcept {
    if (slot.registered) return 0;
    if (network_calls::is_ours(slot.fd)) {
        int rc = network_calls::watch(slot.fd, *this, data_of(slot));
        slot.registered = rc == 0;
        return rc;
    }
    int rc = poller_->add(slot.fd, data_of(slot));
    if (rc != 0) return rc;
    slot.registered = true;
    registered_.fetch_add(1);
    return 0;
}

lowlevel::Woken Reactor::wait(IoSlot& slot, Side side, const char* what, TimePoint deadline) {
    auto refuse = [what](const char* why) { throw UsageError(std::string(what) + ": " + why); };
    if (retired()) refuse("the runtime that it belongs to has ended");
    auto i = static_cast<std::size_t>(side);
    enum { fine, taken, refused } problem = fine;
    int error = 0;
    detail::Waiter waiter;
    auto commit = [&](detail::Waiter self) noexcept {
        std::lock_guard guard(slot.lock);
        if ((slot.word.load() & IoSlot::kClosing) != 0 || std::exchange(slot.ready[i], false))
            return false;
        if (slot.waiting[i] != nullptr) {
            problem = taken;
            return false;
        }
        if ((error = register_locked(slot)) != 0) {
            problem = refused;
            return false;
        }
        waiter = self;
        slot.waiting[i] = &waiter;
        return true;
    };
    Simulation::IoWait counted(network_calls::is_ours(slot.fd) ? nullptr
                                                               : detail::current_scheduler());
    lowlevel::Woken woken = lowlevel::park({what, &slot}, commit, deadline);
    if (woken != lowlevel::Woken::by_unpark) {
        std::lock_guard guard(slot.lock);
        // An edge that came meanwhile is for whoever waits next.
        if (slot.waiting[i] == &waiter)
            slot.waiting[i] = nullptr;
        else
            slot.ready[i] = true;
    }
    if (error == 0 && woken == lowlevel::Woken::by_unpark && slot.error.load() != 0) {
        error = slot.error.exchange(0);
        if (error != 0) problem = refused;
    }
    if (problem == taken) refuse("another task waits for the same already");
    if (problem == refused) throw std::system_error(-error, std::generic_category(), what);
    return woken;
}

// --- events ------------------------------------------------------------------------------------------------------

void Reactor::meet(std::uint64_t data, std::uint32_t events) noexcept {
    constexpr std::uint32_t kOver = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    constexpr std::uint32_t kSides[2] = {EPOLLIN | kOver, EPOLLOUT | EPOLLHUP | EPOLLERR};
    IoSlot& slot = at(static_cast<std::uint32_t>(data));
    // With the lock until it is woken: a waiter that leaves for another reason takes it first, so its frame is there.
    std::lock_guard guard(slot.lock);
    if (IoSlot::generation_of(slot.word.load()) != data >> 32) return;
    if ((events & (kOver | EPOLLPRI)) != 0) slot.holds_more.store(true);
    for (std::size_t i : {0, 1}) {
        if ((events & kSides[i]) == 0) continue;
        if (detail::Waiter* waiter = std::exchange(slot.waiting[i], nullptr))
            lowlevel::unpark(*waiter);
        else
            slot.ready[i] = true;
    }
}

void Reactor::lost(std::uint64_t data, int error) noexcept {
    IoSlot& slot = at(static_cast<std::uint32_t>(data));
    std::lock_guard guard(slot.lock);
    if (IoSlot::generation_of(slot.word.load()) != data >> 32 || !slot.registered) return;
    slot.registered = false;
    registered_.fetch_sub(1);
    if (slot.waiting[0] == nullptr && slot.waiting[1] == nullptr) return;
    if (error == 0) error = register_locked(slot);
    if (error == 0) return;
    slot.error.store(error);
    for (detail::Waiter*& waiter : slot.waiting)
        if (waiter != nullptr) lowlevel::unpark(*std::exchange(waiter, nullptr));
}

}  // namespace weft::rt

namespace weft::detail {

Descriptor::Descriptor(int fd, const char* what) {
    try {
        lowlevel::require_task(what);
        rt::Reactor& reactor = current_scheduler()->driver().reactor();
        slot_ = &reactor.open(fd);
        reactor.hold();
        generation_ = rt::IoSlot::generation_of(slot_->word.load());
    } catch (...) {
        calls::close(fd);
        throw;
    }
}

void share_worker() {
    rt::Worker* worker = rt::current_worker();
    if (worker != nullptr && worker->current != nullptr && worker->count_io_call())
        lowlevel::yield();
}

bool Descriptor::is_open() const noexcept {
    if (slot_ == nullptr) return false;
    std::uint64_t word = slot_->word.load();
    return rt::IoSlot::generation_of(word) == generation_ && (word & rt::IoSlot::kClosing) == 0;
}

int Descriptor::fd() const noexcept {
    Use use(*this);
    return use.may_go_on() ? use.fd() : -1;
}

bool Descriptor::may_hold_more() const noexcept {
    return slot_ != nullptr && slot_->holds_more.load();
}

void Descriptor::let_go() noexcept {
    if (slot_ == nullptr) return;
    rt::Reactor* reactor = slot_->reactor;
    close();
    slot_ = nullptr;
    reactor->drop();
}

void Descriptor::close() noexcept {
    if (slot_ != nullptr) rt::Reactor::close(*slot_, generation_);
}

int Descriptor::wait(Side side, const char* what, TimePoint deadline) {
    Use use(*this);
    if (!use.may_go_on()) return -EBADF;
    if (!use.wait(side, what, deadline)) return -ETIMEDOUT;
    return use.may_go_on() ? 0 : -EBADF;
}

Descriptor::Use::Use(const Descriptor& descriptor) noexcept : slot_(descriptor.slot_) {
    if (slot_ != nullptr && !rt::Reactor::enter(*slot_, descriptor.generation_)) slot_ = nullptr;
}

Descriptor::Use::~Use() {
    if (slot_ != nullptr) rt::Reactor::leave(*slot_);
}

bool Descriptor::Use::may_go_on() const noexcept {
    return slot_ != nullptr && (slot_->word.load() & rt::IoSlot::kClosing) == 0;
}

int Descriptor::Use::fd() const noexcept { return slot_->fd; }

bool Descriptor::Use::wait(Side side, const char* what, TimePoint deadline) {
    switch (slot_->reactor->wait(*slot_, side, what, deadline)) {
        case lowlevel::Woken::by_cancel:
            lowlevel::throw_cancelled();
        case lowlevel::Woken::by_deadline:
            return false;
        case lowlevel::Woken::by_unpark:
            lowlevel::checkpoint();
            return true;
    }
    return true;
}

}  // namespace weft::detail
