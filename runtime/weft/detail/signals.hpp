// Who wants to be told of signals. Not for users; they have weft/signal.hpp.
//
// The handler may run at any moment on any thread. It notes the signal with each of its subscribers and rings their bells,
// and does no more: atomics and write(2). One that unsubscribes unlinks itself and then waits until no handler is in
// progress, so none still uses what goes. The first subscriber of a signal installs the handler; when the last one goes,
// what was there before is put back, unless somebody has installed another one meanwhile.
#pragma once

#include <atomic>
#include <cstdint>

namespace weft::detail {

struct SignalSubscriber {
    std::uint64_t wanted = 0;  // bit n - 1: signal n
    int bell = -1;             // an eventfd, open while this is subscribed
    std::atomic<std::uint64_t> pending{0};
    std::atomic<SignalSubscriber*> next{nullptr};
};

int make_bell() noexcept;
/// After it: bytes that were written to the bell are gone. -EAGAIN: it has not been rung.
int hear_bell(int bell) noexcept;

/// The bit of a signal that can be subscribed to; 0: it cannot be caught, is a fault of the program itself, or is none.
std::uint64_t bit_of_signal(int signal) noexcept;
/// 0, or -errno: then it is not subscribed.
int subscribe(SignalSubscriber& subscriber) noexcept;
/// Any thread. When this returns, no handler knows the subscriber any more.
void unsubscribe(SignalSubscriber& subscriber) noexcept;

}  // namespace weft::detail
