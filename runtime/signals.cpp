#include "signals.hpp"

#include <weft/detail/signals.hpp>

#include <bit>
#include <cerrno>
#include <mutex>
#include <thread>

#include <unistd.h>

#include "sys.hpp"

namespace weft::detail {

namespace {

constexpr int kSignals = 64;

static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<SignalSubscriber*>::is_always_lock_free);

// A handler counts itself in before it reads the list, and who unlinks a subscriber waits, after it, until each count has
// been none (all of it seq_cst): so a handler that has met the subscriber is waited for, and a later one does not meet it.
// Two counts, of which the handlers that begin use one: else the other would never be none in a flood of signals. A
// subscriber that was unlinked keeps its `next`, for the handlers that stand on it.
std::atomic<SignalSubscriber*> subscribers{nullptr};
std::atomic<unsigned> handlers_running[2] = {};
std::atomic<unsigned> side{0};

/// Guards who subscribes, and the actions below. Never taken by a handler.
std::mutex& subscription_mutex() noexcept {
    static std::mutex& mutex = *new std::mutex;
    return mutex;
}
unsigned counts[kSignals];          // subscribers of each signal
struct sigaction before[kSignals];  // what is put back
std::size_t index_of(int signal) noexcept { return static_cast<std::size_t>(signal) - 1; }

extern "C" void weft_on_signal(int signal) {
    int saved = errno;
    std::atomic<unsigned>& running = handlers_running[side.load()];
    running.fetch_add(1);
    std::uint64_t bit = 1ULL << index_of(signal);
    for (SignalSubscriber* s = subscribers.load(); s != nullptr; s = s->next.load()) {
        if ((s->wanted & bit) == 0) continue;
        s->pending.fetch_or(bit);
        rt::sys::ring(s->bell);
    }
    running.fetch_sub(1);
    errno = saved;
}

/// Waits for the handlers that may have met what was unlinked before.
void wait_for_handlers() noexcept {
    // One at a time: nobody else may change the side meanwhile.
    static std::mutex& turn = *new std::mutex;
    std::lock_guard guard(turn);
    unsigned now = side.load();
    auto drain = [](unsigned i) {
        while (handlers_running[i].load() != 0) std::this_thread::yield();
    };
    drain(1 - now);
    side.store(1 - now);
    drain(now);
}

int install_locked(int signal) noexcept {
    struct sigaction ours{};
    ours.sa_handler = weft_on_signal;
    ours.sa_flags = SA_RESTART | SA_ONSTACK;
    sigfillset(&ours.sa_mask);
    return ::sigaction(signal, &ours, &before[index_of(signal)]) == 0 ? 0 : -errno;
}

bool is_ours(const struct sigaction& action) noexcept {
    return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == weft_on_signal;
}

void uninstall_locked(int signal) noexcept {
    struct sigaction now{};
    ::sigaction(signal, nullptr, &now);
    if (is_ours(now)) ::sigaction(signal, &before[index_of(signal)], nullptr);
}

template <class F>
void for_each_signal(std::uint64_t set, F&& f) noexcept {
    for (; set != 0; set &= set - 1) f(std::countr_zero(set) + 1);
}

void release_locked(std::uint64_t set) noexcept {
    for_each_signal(set, [](int signal) {
        if (--counts[index_of(signal)] == 0) uninstall_locked(signal);
    });
}

}  // namespace

int make_bell() noexcept { return rt::sys::make_eventfd(); }

int hear_bell(int bell) noexcept {
    std::uint64_t count = 0;
    ssize_t rc = 0;
    do {
        rc = ::read(bell, &count, sizeof count);
    } while (rc == -1 && errno == EINTR);
    return rc == -1 ? -errno : 0;
}

std::uint64_t bit_of_signal(int signal) noexcept {
    if (signal < 1 || signal > kSignals) return 0;
    // The first two cannot be caught; the others, if they are real, come again at once when the handler returns.
    for (int other : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL})
        if (signal == other) return 0;
    if (signal > SIGSYS && signal < SIGRTMIN) return 0;  // libc's own
    return 1ULL << index_of(signal);
}

int subscribe(SignalSubscriber& subscriber) noexcept {
    std::lock_guard guard(subscription_mutex());
    // Linked first: a signal that comes as the handler is installed is this one's.
    subscriber.next.store(subscribers.load());
    subscribers.store(&subscriber);
    int error = 0;
    std::uint64_t taken = 0;
    for_each_signal(subscriber.wanted, [&](int signal) {
        if (error != 0) return;
        if (counts[index_of(signal)] == 0) error = install_locked(signal);
        if (error != 0) return;
        ++counts[index_of(signal)];
        taken |= 1ULL << index_of(signal);
    });
    if (error == 0) return 0;
    release_locked(taken);
    subscribers.store(subscriber.next.load());
    wait_for_handlers();
    return error;
}

void unsubscribe(SignalSubscriber& subscriber) noexcept {
    {
        std::lock_guard guard(subscription_mutex());
        release_locked(subscriber.wanted);
        std::atomic<SignalSubscriber*>* link = &subscribers;
        while (link->load() != &subscriber) link = &link->load()->next;
        link->store(subscriber.next.load());
    }
    wait_for_handlers();
}

}  // namespace weft::detail

namespace weft::rt {

bool replace_disposition(int signal, sighandler_t expected,
                         const struct sigaction& wanted) noexcept {
    std::lock_guard guard(detail::subscription_mutex());
    std::size_t i = detail::index_of(signal);
    struct sigaction now{};
    if (::sigaction(signal, nullptr, &now) != 0) return false;
    // Not where somebody has put his own handler over the subscribers'.
    bool is_kept = detail::counts[i] != 0 && detail::is_ours(now);
    if (is_kept) now = detail::before[i];
    // Whatever the flags: a handler that was reset as it fired leaves its own behind.
    if (now.sa_handler != expected) return false;
    if (is_kept)
        detail::before[i] = wanted;
    else
        ::sigaction(signal, &wanted, nullptr);
    return true;
}

}  // namespace weft::rt
