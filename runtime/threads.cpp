#include "threads.hpp"

#include <cerrno>
#include <cstdio>
#include <system_error>

#include <pthread.h>

namespace weft::rt {

Threads::Threads(std::size_t most) : most_(most) {}

Threads::~Threads() {
    std::unique_lock guard(mutex_);
    closing_ = true;
    work_.notify_all();
    ended_.wait(guard, [this] { return live_ == 0; });
}

std::size_t Threads::threads() const {
    std::lock_guard guard(mutex_);
    return live_;
}

void Threads::submit(OffloadCall& call) {
    std::lock_guard guard(mutex_);
    const bool would_queue = idle_ <= queued_ && live_ >= most_;
    // Threads may be on their way to calls that queue: then it might be in line behind those.
    if (!call.may_queue && (would_queue || queued_ > idle_))
        throw std::system_error(EAGAIN, std::generic_category(), "all threads are taken");
    call.next = nullptr;
    call.prev = last_;
    (last_ != nullptr ? last_->next : first_) = &call;
    last_ = &call;
    call.queued = true;
    ++queued_;
    if (idle_ >= queued_) {
        work_.notify_one();
        return;
    }
    if (would_queue) return;
    try {
        std::thread thread([this] { run(); });
        char name[16];
        std::snprintf(name, sizeof name, "weft-io-%u", started_++);
        pthread_setname_np(thread.native_handle(), name);
        thread.detach();  // ended_ tells when it is over
        ++live_;
    } catch (const std::system_error&) {
        // The others will come to it; without others it would never run.
        if (live_ > 0 && call.may_queue) return;
        unlink(call);
        throw;
    }
}

void Threads::unlink(OffloadCall& call) noexcept {
    (call.prev != nullptr ? call.prev->next : first_) = call.next;
    (call.next != nullptr ? call.next->prev : last_) = call.prev;
    call.queued = false;
    --queued_;
}

OffloadCall* Threads::pop() noexcept {
    OffloadCall* call = first_;
    if (call != nullptr) unlink(*call);
    return call;
}

bool Threads::take_back(OffloadCall& call) noexcept {
    std::lock_guard guard(mutex_);
    if (!call.queued) return false;
    unlink(call);
    return true;
}

void Threads::run() {
    std::unique_lock guard(mutex_);
    for (;;) {
        if (OffloadCall* call = pop()) {
            guard.unlock();
            run_offloaded(*call);
            guard.lock();
            continue;
        }
        if (closing_) break;
        ++idle_;
        bool work = work_.wait_for(guard, kIdleTime, [this] { return queued_ > 0 || closing_; });
        --idle_;
        if (!work) break;
    }
    // Under the lock to the very end: the destructor may go on as soon as it can take it.
    if (--live_ == 0) ended_.notify_all();
}

}  // namespace weft::rt
