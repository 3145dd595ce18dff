// A task that waits while its thread holds a std::mutex, in debug mode: the process ends and says where. And all that
// is no such wait.
#include <condition_variable>
#include <mutex>
#include <thread>

#include "api/core_support.hpp"

extern "C" int weft_held_mutexes() noexcept;

namespace weft::test {

namespace {

// --- the count ----------------------------------------------------------------------------------------------------

TEST(HeldMutexesTest, EachLockThatSucceedsCountsUntilItsUnlock) {
    std::mutex mutex;
    std::recursive_timed_mutex recursive;
    ASSERT_EQ(weft_held_mutexes(), 0);
    mutex.lock();
    EXPECT_EQ(weft_held_mutexes(), 1);
    recursive.lock();
    EXPECT_TRUE(recursive.try_lock());
    EXPECT_TRUE(recursive.try_lock_for(1h));
    EXPECT_TRUE(recursive.try_lock_until(std::chrono::system_clock::now() + 1h));
    EXPECT_EQ(weft_held_mutexes(), 5);
    for (int i = 0; i < 4; ++i) recursive.unlock();
    EXPECT_EQ(weft_held_mutexes(), 1);
    std::thread([&] {
        EXPECT_EQ(weft_held_mutexes(), 0);
        EXPECT_FALSE(mutex.try_lock());
        EXPECT_EQ(weft_held_mutexes(), 0);
    }).join();
    mutex.unlock();
    EXPECT_EQ(weft_held_mutexes(), 0);
}

TEST(HeldMutexesTest, AConditionVariableLeavesTheCountAsItWas) {
    std::mutex mutex;
    std::condition_variable changed;
    bool ready = false;
    std::thread waiter([&] {
        std::unique_lock guard(mutex);
        changed.wait(guard, [&] { return ready; });
        EXPECT_EQ(weft_held_mutexes(), 1);
        changed.wait_for(guard, 1us, [] { return false; });
        EXPECT_EQ(weft_held_mutexes(), 1);
        guard.unlock();
        EXPECT_EQ(weft_held_mutexes(), 0);
    });
    {
        std::lock_guard guard(mutex);
        ready = true;
    }
    changed.notify_all();
    waiter.join();
}

// --- what may not be ----------------------------------------------------------------------------------------------

class MutexCheckTest : public Everywhere {
protected:
    template <class F>
    void run_debug(F&& body) {
        run({.debug = true, .slow_step = 1h}, body);
    }
    /// That the process ends with a line that says what the task 'holder' waited for, and the stack.
    template <class F>
    void expect_death_in(const std::string& wait, F&& body) {
        auto holder = [&] { await(create_task(body, {.name = "holder"})); };
        EXPECT_DEATH(run_debug(holder),
                     "weft: fatal: task 'holder' .created at .*mutex_check_test.cpp:.* waits ." +
                         wait + ". while its thread holds a std::mutex" +
                         "(.|\n)*weft_mutex_check_tests");
    }
    std::mutex mutex_;
};
WEFT_TEST_EVERYWHERE(MutexCheckTest);
using MutexCheckDeathTest = MutexCheckTest;
WEFT_TEST_EVERYWHERE(MutexCheckDeathTest);

TEST_P(MutexCheckDeathTest, ASleepUnderAMutexEndsTheProcess) {
    expect_death_in("sleep", [this] {
        std::lock_guard guard(mutex_);
        weft::sleep(1us);
    });
}

TEST_P(MutexCheckDeathTest, ALockThatIsWaitedForUnderAMutexEndsTheProcess) {
    expect_death_in("Lock.acquire", [this] {
        Lock lock;
        lock.acquire();
        std::lock_guard guard(mutex_);
        lock.acquire();
    });
}

TEST_P(MutexCheckDeathTest, AYieldUnderAMutexEndsTheProcess) {
    expect_death_in("yield", [this] {
        std::lock_guard guard(mutex_);
        weft::yield();
    });
}

// Whether it would really have to wait, or could run in place, is a matter of the schedule.
TEST_P(MutexCheckDeathTest, AnAwaitOfATaskThatIsNotDoneEndsTheProcess) {
    expect_death_in("await", [this] {
        Event never;
        auto awaited = create_task([&] { never.wait(); });
        std::lock_guard guard(mutex_);
        await(awaited);
    });
}

TEST_P(MutexCheckDeathTest, AMutexThatTheWaitIsNotAboutIsStillOne) {
    expect_death_in("Event.wait", [this] {
        Event never;
        std::mutex other;
        std::unique_lock outer(mutex_);
        {
            std::lock_guard inner(other);
        }
        never.wait();
    });
}

// --- what may be --------------------------------------------------------------------------------------------------

TEST_P(MutexCheckTest, AMutexThatIsGivenBackBeforeTheWaitIsNone) {
    run_debug([this] {
        auto increments = [this] {
            for (int i = 0; i < 10; ++i) {
                std::unique_lock guard(mutex_);
                guard.unlock();
                weft::yield();
                guard.lock();
                EXPECT_GE(weft_held_mutexes(), 1);
            }
        };
        gather(increments, increments, increments);
    });
}

TEST_P(MutexCheckTest, WhatDoesNotWaitMayBeDoneUnderAMutex) {
    run_debug([this] {
        Lock lock;
        Event event;
        Queue<int> queue;
        auto done = create_task([] { return 1; });
        await(done);
        std::lock_guard guard(mutex_);
        lock.acquire();
        lock.release();
        event.set();
        event.wait();
        queue.put(await(done));
        EXPECT_EQ(queue.get(), 1);
        create_task([] {});
    });
}

TEST_P(MutexCheckTest, AnotherThreadsMutexIsNone) {
    run_debug([this] {
        std::atomic<bool> held{false};
        std::atomic<bool> enough{false};
        std::thread holder([&] {
            std::lock_guard guard(mutex_);
            held = true;
            while (!enough) std::this_thread::yield();
        });
        while (!held) std::this_thread::yield();
        for (int i = 0; i < 10; ++i) weft::yield();
        weft::sleep(1us);
        enough = true;
        holder.join();
    });
}

TEST_P(MutexCheckTest, OneThatTheCallerOfRunHoldsIsNone) {
    std::lock_guard guard(mutex_);
    run_debug([] { weft::sleep(1us); });
}

TEST_P(MutexCheckTest, TheRuntimesOwnMutexesAreNone) {
    run_debug([] {
        auto uses_much = [] {
            EXPECT_EQ(to_thread([] {
                          std::mutex mutex;
                          std::lock_guard guard(mutex);
                          return 1;
                      }),
                      1);
            weft::sleep(1us);
            Event never;
            EXPECT_THROW(timeout(1us, [&] { never.wait(); }), TimeoutError);
            auto loser = create_task(wait_for_ever);
            settle();
            loser.cancel();
            EXPECT_THROW(await(loser), CancelledError);
        };
        await(create_task(uses_much));
        task_group([&](TaskGroup& group) {
            for (int i = 0; i < 4; ++i) group.create_task([] { weft::sleep(1us); });
        });
    });
}

// With several it might go on in another thread.
class MutexCheckOnOneWorkerTest : public Everywhere {};
WEFT_TEST_ON_ONE_WORKER(MutexCheckOnOneWorkerTest);

TEST_P(MutexCheckOnOneWorkerTest, WithoutDebugModeNobodyLooks) {
    run({.debug = false}, [] {
        std::mutex mutex;
        std::lock_guard guard(mutex);
        weft::yield();
    });
}

}  // namespace

}  // namespace weft::test
