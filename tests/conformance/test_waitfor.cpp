// test_waitfor.py: wait_for.
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_waitfor, AsyncioWaitForTest);
WEFT_CONFORMS(test_waitfor, WaitForShieldTests);

/// Runs for as long as it says, whoever cancels it.
struct SlowTask {
    static constexpr Duration kTakes = 200ms;
    bool exited = false;

    void run() {
        TimePoint end = now() + kTakes;
        while (now() < end) cancel_message_of([&] { weft::sleep_until(end); });
        exited = true;
    }
};

/// Runs until it is cancelled, and says whether it runs.
auto run_until_cancelled(bool& running) {
    return [&running] {
        running = true;
        try {
            wait_for_ever();
        } catch (...) {
            running = false;
            throw;
        }
    };
}

/// Waits until it is cancelled, and then takes its time.
auto clean_up_slowly(bool& cleaned) {
    return [&cleaned] {
        try {
            weft::sleep(10s);
        } catch (const CancelledError&) {
            weft::sleep(100us);
            cleaned = true;
            throw;
        }
    };
}

// --- what takes its time ------------------------------------------------------------------------------------------

TEST_P(AsyncioWaitForTest, test_asyncio_wait_for_cancelled) {
    run([] {
        SlowTask slow;
        auto waiter = create_task([&] { wait_for([&] { slow.run(); }, 2 * SlowTask::kTakes); });
        settle();
        waiter.cancel();
        await_end(waiter);
        EXPECT_TRUE(slow.exited);
    });
}

TEST_P(AsyncioWaitForTest, test_asyncio_wait_for_timeout) {
    run([] {
        SlowTask slow;
        TimePoint before = now();
        wait_for([&] { slow.run(); }, SlowTask::kTakes / 2);
        EXPECT_TRUE(slow.exited);
        EXPECT_GE(now() - before, SlowTask::kTakes);
    });
}

TEST_P(AsyncioWaitForTest, test_wait_for_waits_for_task_cancellation) {
    run([] {
        bool cleaned = false;
        auto inner = create_task(clean_up_slowly(cleaned));
        EXPECT_THROW(wait_for(inner, 100us), TimeoutError);
        EXPECT_TRUE(cleaned);
        EXPECT_TRUE(inner.cancelled());
    });
}

TEST_P(AsyncioWaitForTest, test_wait_for_waits_for_task_cancellation_w_timeout_0) {
    run([] {
        bool cleaned = false;
        auto inner = create_task(clean_up_slowly(cleaned));
        settle();
        EXPECT_THROW(wait_for(inner, 0s), TimeoutError);
        EXPECT_TRUE(cleaned);
        EXPECT_TRUE(inner.cancelled());
    });
}

// --- limits -------------------------------------------------------------------------------------------------------

TEST_P(AsyncioWaitForTest, test_wait_for_timeout_less_then_0_or_0_future_done) {
    run([] {
        Future<std::string> future;
        future.set_result("done");
        EXPECT_EQ(wait_for(future, 0s), "done");
        EXPECT_TRUE(future.done());
    });
}

TEST_P(AsyncioWaitForTest, test_wait_for_timeout_less_then_0_or_0_coroutine_do_not_started) {
    run([] {
        ::testing::internal::CaptureStderr();
        bool started = false;
        EXPECT_THROW(wait_for(weft::coroutine([&] { started = true; }), 0s), TimeoutError);
        settle();
        EXPECT_FALSE(started);
        EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "the coroutine is closed";
    });
}

TEST_P(AsyncioWaitForTest, test_wait_for_timeout_less_then_0_or_0) {
    run([] {
        for (Duration limit : {0s, -1s}) {
            bool running = false;
            auto task = create_task(run_until_cancelled(running));
            settle();
            EXPECT_TRUE(running);
            EXPECT_THROW(wait_for(task, limit), TimeoutError);
            EXPECT_TRUE(task.done());
            EXPECT_TRUE(task.cancelled());
            EXPECT_FALSE(running);
        }
    });
}

TEST_P(AsyncioWaitForTest, test_wait_for) {
    run([] {
        bool running = false;
        auto task = create_task(run_until_cancelled(running));
        TimePoint before = now();
        EXPECT_THROW(wait_for(task, 100ms), TimeoutError);
        EXPECT_GE(now() - before, 100ms);
        EXPECT_TRUE(task.done());
        EXPECT_TRUE(task.cancelled());
        EXPECT_FALSE(running);
    });
}

TEST_P(AsyncioWaitForTest, test_wait_for_blocking) {
    run([] {
        auto slowly = [] {
            weft::sleep(1h);
            return std::string("done");
        };
        EXPECT_EQ(wait_for(weft::coroutine(slowly), no_timeout), "done");
    });
}

// --- what the inner one does --------------------------------------------------------------------------------------

TEST_P(AsyncioWaitForTest, test_wait_for_race_condition) {
    run([] {
        Future<std::string> future;
        auto setter = create_task([&] { future.set_result("ok"); });
        EXPECT_EQ(wait_for(future, 200ms), "ok");
        await(setter);
    });
}

// One that swallows the cancel gives its value after all: from a check of its own...
TEST_P(AsyncioWaitForTest, test_wait_for_cancellation_race_condition) {
    run([] {
        auto inner = weft::async([] {
            EXPECT_THROW(weft::sleep(1s), CancelledError);
            return 1;
        });
        EXPECT_EQ(wait_for(inner(), 10ms), 1);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// ... or from its handler; in the caller's task or in one of its own.
TEST_P(AsyncioWaitForTest, test_wait_for_cancel_suppressed) {
    run([] {
        auto inner = weft::async([] {
            try {
                weft::sleep(10s);
                return 0;
            } catch (const CancelledError&) {
                return 42;
            }
        });
        EXPECT_EQ(wait_for(inner(), 100ms), 42);
        EXPECT_EQ(wait_for(create_task(inner()), 100ms), 42);
    });
}

TEST_P(AsyncioWaitForTest, test_wait_for_reraises_exception_during_cancellation) {
    run([] {
        auto inner = create_task([] {
            try {
                weft::sleep(200ms);
            } catch (...) {
                throw std::domain_error("foo");
            }
        });
        EXPECT_EQ(what_of<std::domain_error>([&] { wait_for(inner, 100us); }), "foo");
    });
}

// --- a cancel from outside ----------------------------------------------------------------------------------------

template <class Limit>
void expect_cancel_to_pass_through(Limit limit) {
    Future<void> never;
    auto inner = create_task([&] { await(never); });
    auto waiter = create_task([&] { wait_for(inner, limit); });
    auto canceller = create_task([&] { waiter.cancel(); });
    EXPECT_THROW(await(waiter), CancelledError);
    await(canceller);
    settle();
    // Where the cancel came before the first step of the waiter, the inner one was never awaited.
    if (!inner.done()) {
        inner.cancel();
        settle();
    }
    EXPECT_TRUE(inner.cancelled());
}

/// The same, with the waiter waiting for sure.
template <class Limit>
void expect_cancel_to_reach_the_inner_one(Limit limit) {
    Future<void> never;
    auto inner = create_task([&] { await(never); });
    auto waiter = create_task([&] { wait_for(inner, limit); });
    settle();
    EXPECT_FALSE(waiter.done());
    waiter.cancel();
    EXPECT_THROW(await(waiter), CancelledError);
    EXPECT_TRUE(inner.cancelled());
    EXPECT_TRUE(never.cancelled());
}

TEST_P(AsyncioWaitForTest, test_cancel_blocking_wait_for) {
    run([] {
        expect_cancel_to_reach_the_inner_one(no_timeout);
        expect_cancel_to_pass_through(no_timeout);
    });
}

TEST_P(AsyncioWaitForTest, test_cancel_wait_for) {
    run([] {
        expect_cancel_to_reach_the_inner_one(60s);
        expect_cancel_to_pass_through(60s);
    });
}

// The cancel comes as the inner one ends: it is not lost, and the inner one keeps its value.
TEST_P(AsyncioWaitForTest, test_wait_for_issue86296) {
    run([&] {
        auto inner = create_task([] { return std::string("done"); });
        bool reached_end = false;
        auto waiter = create_task([&] {
            wait_for(inner, 100s);
            weft::sleep(1s);
            reached_end = true;
        });
        EXPECT_FALSE(waiter.done());
        yield();
        waiter.cancel();
        EXPECT_THROW(await(waiter), CancelledError);
        settle();
        EXPECT_FALSE(reached_end);
        // In asyncio's order it has ended before the cancel comes; elsewhere it may not have begun.
        if (strict() || !inner.cancelled()) {
            EXPECT_EQ(await(inner), "done");
        }
    });
}

// --- with a shield ------------------------------------------------------------------------------------------------

auto done_after(Duration delay) {
    return [delay] {
        weft::sleep(delay);
        return std::string("done");
    };
}

TEST_P(WaitForShieldTests, test_zero_timeout) {
    run([] {
        auto task = create_task(done_after(10ms));
        auto shielded = create_task([&] { return shield(task); });
        EXPECT_THROW(wait_for(shielded, 0s), TimeoutError);
        EXPECT_FALSE(task.done());
        EXPECT_EQ(task.cancelling(), 0);
        EXPECT_TRUE(shielded.cancelled());
        weft::sleep(100ms);
        EXPECT_TRUE(task.done());
        EXPECT_EQ(task.result(), "done");
    });
}

TEST_P(WaitForShieldTests, test_none_timeout) {
    run([] {
        auto task = create_task(done_after(100ms));
        wait_for([&] { return shield(task); }, no_timeout);
        EXPECT_TRUE(task.done());
        EXPECT_EQ(await(task), "done");
    });
}

TEST_P(WaitForShieldTests, test_shielded_timeout) {
    run([] {
        auto task = create_task(done_after(100ms));
        EXPECT_THROW(wait_for([&] { return shield(task); }, 10ms), TimeoutError);
        EXPECT_FALSE(task.done());
        EXPECT_FALSE(task.cancelled());
        EXPECT_EQ(await(task), "done");
    });
}

}  // namespace

}  // namespace weft::test
