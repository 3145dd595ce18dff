#include "process/asking.hpp"

#include <weft/detail/process.hpp>

#include <mutex>

#include <pthread.h>

#include "offload.hpp"

namespace weft::rt::process {

namespace {

/// Held while a call is asked, its stop callbacks included: the call does not end meanwhile.
std::mutex lock;
std::uint64_t call_id = 0;            // guarded by lock
std::uint64_t asked_id = 0;           // guarded by lock; an ask may be faster than its call
detail::OffloadCall* call = nullptr;  // guarded by lock

void* listen(void*) noexcept {
    // Nothing that a worker confined to computing may not do: it is confined while this begins.
    sigset_t asks;
    sigemptyset(&asks);
    sigaddset(&asks, ask_signal());
    for (;;) {
        siginfo_t info{};
        if (::sigwaitinfo(&asks, &info) < 0 || info.si_code != SI_QUEUE) continue;
        std::lock_guard guard(lock);
        asked_id = reinterpret_cast<std::uintptr_t>(info.si_value.sival_ptr);
        if (call != nullptr && call_id == asked_id) ask_to_stop(*call);
    }
}

}  // namespace

int prepare_for_asks() noexcept {
    // Ignored where somebody unblocks it all the same: its default is to kill.
    ::signal(ask_signal(), SIG_IGN);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread{};
    int error = ::pthread_create(&thread, nullptr, &listen, nullptr);
    if (error == 0) ::pthread_detach(thread);
    sigaddset(&before, ask_signal());
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return -error;
}

void begin_call(std::uint64_t id) noexcept {
    std::lock_guard guard(lock);
    call_id = id;
}

}  // namespace weft::rt::process

namespace weft::detail {

void run_in_worker(OffloadCall& call) noexcept {
    namespace process = rt::process;
    {
        std::lock_guard guard(process::lock);
        process::call = &call;
        if (process::asked_id == process::call_id) rt::ask_to_stop(call);
    }
    rt::call_offloaded(call);
    std::lock_guard guard(process::lock);
    process::call = nullptr;
}

}  // namespace weft::detail
