#include "process/asking.hpp"

#include <weft/detail/process.hpp>

#include <cstdio>
#include <mutex>

#include <pthread.h>
#include <unistd.h>

#include "offload.hpp"
#include "process/worker.hpp"

namespace weft::rt::process {

namespace {

/// Held while a call is asked, its stop callbacks included: the call does not end meanwhile.
std::mutex lock;
std::uint64_t call_id = 0;            // guarded by lock
std::uint64_t asked_id = 0;           // guarded by lock; an ask may be faster than its call
detail::OffloadCall* call = nullptr;  // guarded by lock
bool prepared = false;                // the main thread's
pid_t worker = 0;                     // the main thread's

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
    pthread_attr_t attributes;
    int error = ::pthread_attr_init(&attributes);
    if (error == 0) {
        // A worker's address space may be scarce; what runs here is stop callbacks alone.
        constexpr std::size_t kStackBytes = std::size_t{256} << 10;
        ::pthread_attr_setstacksize(&attributes, kStackBytes);
        ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_t thread{};
        error = ::pthread_create(&thread, &attributes, &listen, nullptr);
        ::pthread_attr_destroy(&attributes);
    }
    prepared = error == 0;
    sigaddset(&before, ask_signal());
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return -error;
}

void begin_call(std::uint64_t id) noexcept {
    worker = ::getpid();
    if (prepared) {
        // The call before may have unblocked it.
        sigset_t asks;
        sigemptyset(&asks);
        sigaddset(&asks, ask_signal());
        ::pthread_sigmask(SIG_BLOCK, &asks, nullptr);
    }
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
    if (::getpid() != process::worker) {
        // A second answer would be taken for one to the next call; and the lock is as it was there.
        std::fprintf(stderr,
                     "weft: a process that a call has forked came out of the call; it ends\n");
        ::_exit(process::kExitProtocol);
    }
    std::lock_guard guard(process::lock);
    process::call = nullptr;
}

}  // namespace weft::detail
