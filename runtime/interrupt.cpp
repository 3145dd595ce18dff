#include "interrupt.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <thread>

#include <unistd.h>

#include "scheduler.hpp"
#include "signals.hpp"

namespace weft::rt {

namespace {

// A handler counts itself in before it reads the target; who removes it clears the target and then waits for the count
// (both sides seq_cst): so none still uses a runtime that goes.
std::atomic<Scheduler*> target{nullptr};
std::atomic<unsigned> handlers_running{0};

extern "C" void weft_on_sigint(int) {
    int saved = errno;
    handlers_running.fetch_add(1);
    if (Scheduler* scheduler = target.load()) scheduler->interrupt();
    handlers_running.fetch_sub(1);
    errno = saved;
}

bool on_main_thread() noexcept { return ::gettid() == ::getpid(); }

}  // namespace

bool install_interrupt_handler(Scheduler& scheduler) noexcept {
    if (!on_main_thread()) return false;
    struct sigaction ours{};
    ours.sa_handler = weft_on_sigint;
    ours.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART | SA_ONSTACK;
    // Before: no signal shall meet a handler without a target.
    target.store(&scheduler);
    if (replace_disposition(SIGINT, SIG_DFL, ours)) return true;
    target.store(nullptr);
    return false;
}

void remove_interrupt_handler() noexcept {
    // Somebody may have put another one in its place meanwhile.
    struct sigaction none{};
    none.sa_handler = SIG_DFL;
    replace_disposition(SIGINT, weft_on_sigint, none);
    target.store(nullptr);
    while (handlers_running.load() != 0) std::this_thread::yield();
}

}  // namespace weft::rt
