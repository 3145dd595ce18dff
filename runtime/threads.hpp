// An elastic pool of plain threads for calls that block.
//
// A thread is started when a call comes and none is idle, up to a cap (asyncio's for a runtime's own: cores + 4, at most
// 32); beyond that calls queue, first in first out. An idle thread ends after a while. Any thread may submit or take back.
//
// Invariants, under the lock: a call is in the queue, or among those that run, or its caller's alone; while a call is queued
// no thread sleeps for ever (each that is idle has been notified, or is on its way here). Each thread that was started is
// among the live_, in finished_, joined or detached; so the end, which joins, comes after the destructors of what the user's
// functions have made thread_local.
//
// A child of the process that made it has none of the threads, but their locks as they held them and their places in the
// conditions' lines: nothing there touches either, and the end leaves all of it alone.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

#include <pthread.h>
#include <unistd.h>

#include "offload.hpp"

namespace weft::rt {

using ThreadsOptions = detail::ThreadsOptions;

/// In order, linked through the calls.
class CallList {
public:
    bool empty() const noexcept { return first_ == nullptr; }
    OffloadCall* first() const noexcept { return first_; }
    void push(OffloadCall& call) noexcept;
    void unlink(OffloadCall& call) noexcept;

private:
    OffloadCall* first_ = nullptr;
    OffloadCall* last_ = nullptr;
};

class Threads {
public:
    explicit Threads(ThreadsOptions options);
    /// Runs what is queued, then joins all threads.
    ~Threads();
    /// The end of one on the heap, also in a child of the process that made it.
    static void destroy(Threads* threads) noexcept;
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    /// std::system_error if the call needs a thread and none can be had, or would have to queue and may not; QueueFull;
    /// Error once it is closed; UsageError in a child of the process that made it, which has none of its threads.
    void submit(OffloadCall& call);
    /// True: it had not begun, and will not.
    bool take_back(OffloadCall& call) noexcept;

    /// From here on calls are refused.
    void close(Shutdown how) noexcept;
    /// Joins all threads, after close(). False: not all had ended by then.
    bool join(OffloadCall::Clock::time_point deadline) noexcept;
    void join() noexcept;
    /// For one that is never destroyed: nobody joins its threads from here on.
    void detach() noexcept;
    /// A line on stderr that names each call that runs, or says what else keeps threads from ending.
    void report_left() noexcept;

    /// None, where it is of a parent.
    detail::ExecutorFigures figures() const noexcept;

private:
    void run() noexcept;
    OffloadCall* begin_next() noexcept;
    void run_next(OffloadCall& call, std::unique_lock<std::mutex>& guard) noexcept;
    void start_thread();
    void finish_thread() noexcept;
    void join_those_that_are_gone() noexcept;
    bool join_by(const OffloadCall::Clock::time_point* deadline) noexcept;
    void ask_running_to_stop() noexcept;

    bool is_ours() const noexcept { return owner_ == ::getpid(); }

    const ThreadsOptions options_;
    const pid_t owner_ = ::getpid();
    mutable std::mutex mutex_;
    std::condition_variable work_;
    std::condition_variable ended_;
    CallList queue_;
    CallList running_;
    detail::OffloadMeter meter_;
    std::size_t idle_ = 0;
    std::size_t live_ = 0;
    std::size_t starting_ = 0;  // of these: have not looked for work yet
    unsigned started_ = 0;      // for names
    std::vector<pthread_t>
        finished_;  // they want nothing of this any more; room for all that live is reserved
    bool joining_ = false;  // somebody joins them, without the lock
    bool detached_;
    bool closing_ = false;
};

}  // namespace weft::rt
