// A one-byte lock for critical sections of a few dozen instructions that run no user code and never wait.
//
// std::mutex is 40 bytes and there is one of these in every task, future and primitive. A holder that the kernel
// preempts would make others burn a time slice, so after a short spin they give their own slice away.
#pragma once

#include <weft/detail/env.hpp>

#include <atomic>

namespace weft::detail {

void spin_lock_contended(std::atomic<bool>& held) noexcept;

class SpinLock {
public:
    constexpr SpinLock() noexcept = default;
    SpinLock(const SpinLock&) = delete;
    SpinLock& operator=(const SpinLock&) = delete;

    void lock() noexcept {
        // order [spin.1]: acquire - sees what the last holder wrote; pairs with the release in unlock.
        if (held_.exchange(true, std::memory_order_acquire)) spin_lock_contended(held_);
    }
    bool try_lock() noexcept {
        // order [spin.1]: acquire - as lock().
        return !held_.exchange(true, std::memory_order_acquire);
    }
    void unlock() noexcept {
        // order [spin.1]: release - publishes the critical section; pairs with the acquire in lock.
        held_.store(false, std::memory_order_release);
    }

private:
    std::atomic<bool> held_{false};
};

}  // namespace weft::detail
