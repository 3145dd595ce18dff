// What the tests of the interface share: a fixture that runs each test on 1, 2 and 4 workers.
//
//     class LockTest : public OnWorkers {};
//     WEFT_ON_WORKERS(LockTest);
//     TEST_P(LockTest, WaitersGetItInTheOrderOfArrival) { run([] { ... }); }
//
// Around each test: a watchdog that prints the runtime's tasks and aborts when the test hangs, and a check that no stack
// is left in use. Nobody sleeps: start() gives a task that has run up to its first wait, on any number of workers.
#pragma once

#include <weft/weft.hpp>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include "dump.hpp"
#include "sanitizers.hpp"
#include "scheduler.hpp"
#include "stack.hpp"

/// Aborts, saying what everybody waits for, unless it is destroyed in time.
class Watchdog {
public:
#if WEFT_TSAN || WEFT_ASAN
    static constexpr std::chrono::seconds kLimit{240};
#else
    static constexpr std::chrono::seconds kLimit{60};
#endif

    // Returns when its thread waits: one that begins late would have UBSan look at its types, for which it opens a pipe, in
    // the midst of a test that counts descriptors or has none left.
    Watchdog() : thread_([this] { watch(); }) {
        std::unique_lock guard(mutex_);
        changed_.wait(guard, [this] { return watching_; });
    }
    ~Watchdog() {
        {
            std::lock_guard guard(mutex_);
            over_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    /// The runtime to dump; null again before it is gone.
    void watch_tasks_of(weft::rt::Scheduler* scheduler) {
        std::lock_guard guard(mutex_);
        scheduler_ = scheduler;
    }

private:
    void watch() {
        std::unique_lock guard(mutex_);
        watching_ = true;
        changed_.notify_all();
        if (changed_.wait_for(guard, kLimit, [this] { return over_; })) return;
        std::fprintf(stderr, "the test has hung for %lld s\n",
                     static_cast<long long>(kLimit.count()));
        if (scheduler_ != nullptr) weft::rt::dump_tasks(*scheduler_, stderr);
        std::abort();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    bool watching_ = false;
    bool over_ = false;
    weft::rt::Scheduler* scheduler_ = nullptr;
    std::thread thread_;
};

/// The fixture without a number of workers: for tests that choose their own.
class WithWatchdog : public testing::Test {
protected:
    WithWatchdog() : stacks_before_(weft::rt::StackPool::instance().live()) {
        // A death test's program is begun anew: a fork of this one may have taken along a lock of the allocator's that
        // the watchdog's thread held.
        GTEST_FLAG_SET(death_test_style, "threadsafe");
    }
    void TearDown() override {
        EXPECT_EQ(weft::rt::StackPool::instance().live(), stacks_before_)
            << "stacks are still in use";
    }

    /// weft::run, watched.
    template <class F>
    decltype(auto) run_with(const weft::RunOptions& options, F&& f) {
        return weft::run(
            [&]() -> decltype(auto) {
                Watched watched(watchdog_);
                return std::forward<F>(f)();
            },
            options);
    }
    template <class F>
    decltype(auto) run_strict(F&& f) {
        return run_with({.workers = 1, .strict = true}, std::forward<F>(f));
    }

private:
    struct Watched {
        Watchdog& watchdog;
        explicit Watched(Watchdog& w) : watchdog(w) {
            watchdog.watch_tasks_of(weft::detail::current_scheduler());
        }
        ~Watched() { watchdog.watch_tasks_of(nullptr); }
    };

    std::size_t stacks_before_;
    Watchdog watchdog_;
};

class OnWorkers : public WithWatchdog, public testing::WithParamInterface<unsigned> {
protected:
    template <class F>
    decltype(auto) run(F&& f) {
        return run_with({.workers = GetParam()}, std::forward<F>(f));
    }
};

inline std::string workers_name(const testing::TestParamInfo<unsigned>& info) {
    return "on_" + std::to_string(info.param);
}

#define WEFT_ON_WORKERS(Suite) \
    INSTANTIATE_TEST_SUITE_P(Workers, Suite, testing::Values(1U, 2U, 4U), workers_name)

/// A task that has already run up to its first wait: so the tasks made by this wait in the order in which they were made.
template <class F>
auto start(F&& f) {
    return weft::create_task(std::forward<F>(f), {.eager = true});
}

/// Waits until the task is over, however it ends.
template <class R>
void await_end(const weft::Task<R>& task) {
    try {
        weft::await(weft::Task<R>(task));
    } catch (...) {
        if (!task.done()) throw;
    }
}
