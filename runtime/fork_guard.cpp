#include "fork_guard.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include <pthread.h>

#include "worker.hpp"

namespace weft::rt {

namespace {

std::atomic<int> live_runtimes{0};
std::atomic<bool> forked_child{false};

void in_child() noexcept {
    if (live_runtimes.load() == 0) return;
    forked_child.store(true);
    set_current_worker(nullptr);
}

}  // namespace

ForkForbidden::ForkForbidden() noexcept {
    static const int once_for_the_process = pthread_atfork(nullptr, nullptr, in_child);
    (void)once_for_the_process;
    detail::check_not_forked("weft::run");
    live_runtimes.fetch_add(1);
}

ForkForbidden::~ForkForbidden() { live_runtimes.fetch_sub(1); }

}  // namespace weft::rt

namespace weft::detail {

void check_not_forked(const char* what) noexcept {
    if (!rt::forked_child.load()) return;
    std::fprintf(stderr,
                 "weft: fatal: %s in a child that was forked while a runtime was running; its "
                 "worker threads do not "
                 "exist here. Fork before weft starts, exec at once, or use weft::to_process\n",
                 what);
    std::abort();
}

}  // namespace weft::detail
