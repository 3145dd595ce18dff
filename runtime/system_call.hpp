// How a system call is made: again when a signal has interrupted it, its error as a value, and without the signals that a
// write can raise.
#pragma once

#include <cerrno>
#include <csignal>
#include <ctime>

#include <sys/types.h>

namespace weft::detail::calls {

/// call() again while a signal interrupts it; -errno where it fails.
template <class Call>
auto repeated(Call call) noexcept {
    for (;;) {
        auto result = call();
        if (result >= 0) return result;
        if (errno != EINTR) return static_cast<decltype(result)>(-errno);
    }
}

/// For a write: SIGPIPE, raised where a pipe's reader has gone, and SIGXFSZ, at the limit of a file's size. The caller is told
/// by the error, and no flag of write(2) keeps the signal from him. Blocks both for this thread while it lives, and takes back
/// the one that was raised, unless one was pending before.
class WithoutWriteSignals {
public:
    WithoutWriteSignals() noexcept {
        sigset_t both;
        sigemptyset(&both);
        sigaddset(&both, SIGPIPE);
        sigaddset(&both, SIGXFSZ);
        sigpending(&pending_);
        pthread_sigmask(SIG_BLOCK, &both, &before_);
    }
    ~WithoutWriteSignals() {
        if (raised_ != 0 && sigismember(&pending_, raised_) != 1) take_back();
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    WithoutWriteSignals(const WithoutWriteSignals&) = delete;
    WithoutWriteSignals& operator=(const WithoutWriteSignals&) = delete;

    /// What the call returned: -EPIPE and -EFBIG come with a signal, nothing else does.
    template <class Result>
    Result note(Result result) noexcept {
        raised_ = result == -EPIPE ? SIGPIPE : result == -EFBIG ? SIGXFSZ : 0;
        return result;
    }

private:
    void take_back() const noexcept {
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, raised_);
        timespec at_once{};
        while (sigtimedwait(&one, nullptr, &at_once) == -1 && errno == EINTR) {
        }
    }

    sigset_t pending_;
    sigset_t before_;
    int raised_ = 0;
};

}  // namespace weft::detail::calls
