// Starting and stopping where threads cannot be had.
#include "scheduler.hpp"

#include <atomic>
#include <cerrno>
#include <system_error>

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include "sanitizers.hpp"

#if !WEFT_ASAN && !WEFT_TSAN

namespace {

// How many more threads this process gets; below zero: as many as it likes.
std::atomic<int> threads_left{-1};

}  // namespace

// Stands before the library's: std::thread asks here. The sanitizers need this place for themselves.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*body)(void*), void* argument) {
    using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    static auto real = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
    if (threads_left.load() == 0) return EAGAIN;
    if (threads_left.load() > 0) threads_left.fetch_sub(1);
    return real(thread, attributes, body, argument);
}

namespace weft::rt {
namespace {

TEST(Scheduler, WhereNotAllThreadsCanBeHadNoneIsLeftRunning) {
    for (unsigned first : {0u, 1u}) {
        for (int granted = 0; granted < 3; ++granted) {
            Scheduler scheduler(SchedulerOptions{.workers = 4});
            threads_left.store(granted);
            EXPECT_THROW(scheduler.start(first), std::system_error);
            threads_left.store(-1);
            // The destructor joins nobody who was not told to leave, or this test would not end.
        }
    }
}

TEST(Scheduler, AFailedStartMayBeTriedAgain) {
    Scheduler scheduler(SchedulerOptions{.workers = 3});
    threads_left.store(1);
    EXPECT_THROW(scheduler.start(0), std::system_error);
    threads_left.store(-1);
    scheduler.start(0);
    scheduler.stop();
    scheduler.start(0);
    scheduler.stop();
}

}  // namespace
}  // namespace weft::rt

#endif
