// Around a system call in which an idle worker sleeps.
#pragma once

#include <csignal>

#include "sanitizers.hpp"

namespace weft::rt::sys {

#if WEFT_TSAN
/// ThreadSanitizer keeps a signal back until its thread enters or leaves a function that the tool knows, and the calls in which
/// workers sleep are none: an idle program would not hear of SIGTERM. So signals wait for the call that ends this, which the
/// tool knows.
class SignalsHeldBack {
public:
    SignalsHeldBack() noexcept {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsHeldBack() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsHeldBack(const SignalsHeldBack&) = delete;
    SignalsHeldBack& operator=(const SignalsHeldBack&) = delete;
    /// For a system call that lets them in while it waits.
    const sigset_t* before() const noexcept { return &before_; }

private:
    sigset_t before_{};
};
#else
struct SignalsHeldBack {
    SignalsHeldBack() noexcept {}
    const sigset_t* before() const noexcept { return nullptr; }
};
#endif

}  // namespace weft::rt::sys
