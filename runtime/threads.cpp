#include "threads.hpp"

#include <weft/detail/basic_errors.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <system_error>
#include <utility>

#include <pthread.h>

#include "leave_alone.hpp"

namespace weft::rt {

void CallList::push(OffloadCall& call) noexcept {
    call.next = nullptr;
    call.prev = last_;
    (last_ != nullptr ? last_->next : first_) = &call;
    last_ = &call;
}

void CallList::unlink(OffloadCall& call) noexcept {
    (call.prev != nullptr ? call.prev->next : first_) = call.next;
    (call.next != nullptr ? call.next->prev : last_) = call.prev;
}

Threads::Threads(ThreadsOptions options)
    : options_(std::move(options)), detached_(options_.never_destroyed) {}

Threads::~Threads() {
    close(Shutdown::drain);
    join();
}

void Threads::destroy(Threads* threads) noexcept {
    threads->is_ours() ? delete threads : leave_alone(threads);
}

detail::ExecutorFigures Threads::figures() const noexcept {
    if (!is_ours()) return {};
    std::lock_guard guard(mutex_);
    detail::ExecutorFigures figures = meter_.figures();
    figures.threads = live_;
    figures.idle = idle_;
    return figures;
}

void Threads::submit(OffloadCall& call) {
    if (!is_ours())
        throw UsageError("'" + options_.name + "' is of the process that this one was forked from");
    bool wakes = false;
    {
        std::lock_guard guard(mutex_);
        if (closing_) throw Error("'" + options_.name + "' has been shut down");
        // Each thread that is free, or about to be, comes to one of those that queue.
        const std::size_t queued = meter_.figures().queued;
        const std::size_t free = idle_ + starting_;
        const bool would_queue = free <= queued && live_ >= options_.most;
        // Then it might be in line behind others.
        if (!call.may_queue && (would_queue || queued > free))
            throw std::system_error(EAGAIN, std::generic_category(), "all threads are taken");
        if (would_queue && queued - free >= options_.queue_max) {
            meter_.refused();
            throw QueueFull("the queue of '" + options_.name + "' is full: " +
                            std::to_string(queued - free) + " calls wait for a thread");
        }
        wakes = free > queued;
        // First, as it may throw.
        if (!wakes && !would_queue) {
            try {
                start_thread();
            } catch (const std::system_error&) {
                // The others will come to it; without others it would never run.
                if (live_ == 0 || !call.may_queue) throw;
            }
        }
        queue_.push(call);
        call.queued = true;
        meter_.handed_in(call);
    }
    // Not under the lock, which the thread would wait for at once. The pool outlives this: the caller is inside.
    if (wakes) work_.notify_one();
}

/// It takes the lock before it looks for work.
void Threads::start_thread() {
    join_those_that_are_gone();
    finished_.reserve(finished_.size() + live_ + 1);
    auto run = [](void* self) -> void* {
        static_cast<Threads*>(self)->run();
        return nullptr;
    };
    pthread_t thread{};
    // Not std::thread, which would have to be handed from here to the thread itself, and then to who joins it.
    if (int error = pthread_create(&thread, nullptr, run, this); error != 0)
        throw std::system_error(error, std::generic_category());
    char name[16];
    std::snprintf(name, sizeof name, "%.10s-%u", options_.name.c_str(), started_++);
    pthread_setname_np(thread, name);
    ++live_;
    ++starting_;
}

bool Threads::take_back(OffloadCall& call) noexcept {
    if (!is_ours()) return false;
    std::lock_guard guard(mutex_);
    if (!call.queued) return false;
    call.queued = false;
    queue_.unlink(call);
    meter_.taken_back();
    return true;
}

OffloadCall* Threads::begin_next() noexcept {
    OffloadCall* call = queue_.first();
    if (call == nullptr) return nullptr;
    queue_.unlink(*call);
    call->queued = false;
    running_.push(*call);
    meter_.began(*call);
    return call;
}

void Threads::run_next(OffloadCall& call, std::unique_lock<std::mutex>& guard) noexcept {
    guard.unlock();
    call_offloaded(call);
    guard.lock();
    running_.unlink(call);
    meter_.ended(call);
    if (call.killed && call.error != nullptr && is_cancel(call.error))
        call.error = shut_down_error(options_.name, "before the call ended");
    // It is as good as idle: whom it wakes may hand in the next call before it is back here, and needs no other thread for
    // that. But not where the last reference may go, and with it what the user's function owns.
    const bool soon_back = call.release == nullptr;
    if (soon_back) ++idle_;
    guard.unlock();
    finish_offload(call);
    guard.lock();
    if (soon_back) --idle_;
}

void Threads::run() noexcept {
    std::unique_lock guard(mutex_);
    --starting_;
    for (;;) {
        if (OffloadCall* call = begin_next()) {
            run_next(*call, guard);
            continue;
        }
        if (closing_) break;
        ++idle_;
        bool work = work_.wait_for(guard, options_.idle_time,
                                   [this] { return !queue_.empty() || closing_; });
        --idle_;
        if (!work) break;
    }
    finish_thread();
}

/// Of the calling thread, which touches nothing of this once it has given the lock back.
void Threads::finish_thread() noexcept {
    join_those_that_are_gone();
    detached_ ? static_cast<void>(pthread_detach(pthread_self()))
              : finished_.push_back(pthread_self());
    if (--live_ == 0) ended_.notify_all();
}

/// So that few are kept, however many come and go. Those whose thread_local objects' destructors still run stay.
void Threads::join_those_that_are_gone() noexcept {
    if (joining_) return;
    std::erase_if(finished_,
                  [](pthread_t thread) { return pthread_tryjoin_np(thread, nullptr) == 0; });
}

// --- the end ------------------------------------------------------------------------------------------------------

void Threads::close(Shutdown how) noexcept {
    if (!is_ours()) return;
    CallList dropped;
    {
        std::lock_guard guard(mutex_);
        closing_ = true;
        while (OffloadCall* call = how == Shutdown::kill ? queue_.first() : nullptr) {
            queue_.unlink(*call);
            call->queued = false;
            meter_.taken_back();
            dropped.push(*call);
        }
        work_.notify_all();
    }
    while (OffloadCall* call = dropped.first()) {
        dropped.unlink(*call);
        fail_offload(*call, shut_down_error(options_.name, "before the call began"));
    }
    if (how == Shutdown::kill) ask_running_to_stop();
}

/// One at a time, since those who hear of it are called without the lock, and the call may end meanwhile.
void Threads::ask_running_to_stop() noexcept {
    std::unique_lock guard(mutex_);
    for (OffloadCall* call = running_.first(); call != nullptr;) {
        if (!mark_to_stop(*call)) {
            call = call->next;
            continue;
        }
        call->killed = true;
        std::stop_source stop = call->stop;
        guard.unlock();
        stop.request_stop();
        guard.lock();
        call = running_.first();
    }
}

namespace {

/// False: not by then. Null: there is no such moment.
bool join_thread(pthread_t thread, const OffloadCall::Clock::time_point* deadline) noexcept {
    if (deadline == nullptr) return pthread_join(thread, nullptr) == 0;
    for (;;) {
        auto left = *deadline - OffloadCall::Clock::now();
        if (left <= left.zero()) return pthread_tryjoin_np(thread, nullptr) == 0;
        // By the time of day, as ThreadSanitizer knows no other such join; one that was put forward costs another round.
        auto until = std::chrono::system_clock::now().time_since_epoch() + left;
        auto seconds = std::chrono::floor<std::chrono::seconds>(until);
        timespec at{};
        at.tv_sec = seconds.count();
        at.tv_nsec = std::chrono::nanoseconds(until - seconds).count();
        if (pthread_timedjoin_np(thread, nullptr, &at) != ETIMEDOUT) return true;
    }
}

}  // namespace

bool Threads::join(OffloadCall::Clock::time_point deadline) noexcept { return join_by(&deadline); }

void Threads::join() noexcept { join_by(nullptr); }

bool Threads::join_by(const OffloadCall::Clock::time_point* deadline) noexcept {
    if (!is_ours()) return true;
    std::unique_lock guard(mutex_);
    // A thread may be joined once.
    auto may_join = [this] { return live_ == 0 && !joining_; };
    if (deadline == nullptr)
        ended_.wait(guard, may_join);
    else if (!ended_.wait_until(guard, *deadline, may_join))
        return false;
    joining_ = true;
    bool joined = true;
    while (joined && !finished_.empty()) {
        pthread_t thread = finished_.back();
        guard.unlock();
        joined = join_thread(thread, deadline);
        guard.lock();
        if (joined) finished_.pop_back();
    }
    joining_ = false;
    // Under the lock to the very end: another that waits here may be the destructor.
    ended_.notify_all();
    return joined;
}

void Threads::detach() noexcept {
    std::lock_guard guard(mutex_);
    detached_ = true;
    for (pthread_t thread : finished_) pthread_detach(thread);
    finished_.clear();
}

void Threads::report_left() noexcept {
    std::lock_guard guard(mutex_);
    std::size_t running = 0;
    for (OffloadCall* call = running_.first(); call != nullptr; call = call->next) {
        ++running;
        std::lock_guard of_call(call->lock);
        std::chrono::duration<double> time = OffloadCall::Clock::now() - call->since;
        std::fprintf(
            stderr,
            "weft: a call in a thread of '%s' has run for %.1f s and does not end: task '%s' "
            "has left it behind\n",
            options_.name.c_str(), time.count(), call->abandoned_by.c_str());
    }
    // One that is only late is left as one that is stuck is, and from here they look alike.
    join_those_that_are_gone();
    if (live_ + finished_.size() > running)
        std::fprintf(
            stderr,
            "weft: a thread of '%s' has no more calls and does not end: it is late, or the "
            "destructor of a thread_local object does not return\n",
            options_.name.c_str());
}

}  // namespace weft::rt
