// test_tasks.py, BaseTaskTests: cancelling tasks, and taking it back.
#include <stdexcept>

#include "conformance/test_tasks.hpp"

namespace weft::test {

namespace {

/// None given, and one.
const char* const kMessages[] = {"", "my message"};

// --- the message --------------------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_task_cancel_message_getter) {
    run([] {
        auto task = create_task([] { ADD_FAILURE() << "ran"; });
        EXPECT_THROW((void)task.exception(), InvalidStateError) << "there is none yet";
        task.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "enough");
        EXPECT_EQ(cancel_message_of([&] { (void)task.exception(); }), "enough");
        EXPECT_EQ(cancel_message_of([&] { task.result(); }), "enough");
    });
}

TEST_P(BaseTaskTests, test_task_cancel_message_setter) {
    run([] {
        auto task = create_task([] { ADD_FAILURE() << "ran"; });
        task.cancel("enough");
        task.cancel("another reason");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "another reason");
    });
}

TEST_P(BaseTaskTests, test_cancel_with_message_then_future_result) {
    run([] {
        for (const char* message : kMessages) {
            auto outer = create_task([&] {
                auto task = create_task([] { weft::sleep(10s); });
                settle();
                task.cancel(message);
                await_end(task);
                task.result();
            });
            EXPECT_EQ(cancel_message_of([&] { await(outer); }), message);
            EXPECT_TRUE(outer.cancelled());
        }
    });
}

TEST_P(BaseTaskTests, test_cancel_with_message_then_future_exception) {
    run([] {
        for (const char* message : kMessages) {
            auto outer = create_task([&] {
                auto task = create_task([] { weft::sleep(10s); });
                settle();
                task.cancel(message);
                await_end(task);
                (void)task.exception();
            });
            EXPECT_EQ(cancel_message_of([&] { await(outer); }), message);
            EXPECT_TRUE(outer.cancelled());
        }
    });
}

TEST_P(BaseTaskTests, test_cancel_with_message_before_starting_task) {
    run([] {
        auto outer = create_task([] {
            auto task = create_task([] { ADD_FAILURE() << "ran"; });
            task.cancel("too early");
            await_end(task);
            (void)task.exception();
        });
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "too early");
    });
}

TEST_P(BaseTaskTests, test_cancellation_exception_context) {
    run([] {
        Future<void> running;
        auto outer = create_task([&] {
            auto inner = create_task([&] {
                running.set_result();
                weft::sleep(10s);
            });
            await(running);
            create_task([inner] { inner.cancel("cause"); });
            try {
                await(inner);
            } catch (const CancelledError&) {
                std::throw_with_nested(std::invalid_argument("cancelled"));
            }
        });
        try {
            await(outer);
            ADD_FAILURE() << "it was not cancelled";
        } catch (const std::invalid_argument& error) {
            EXPECT_STREQ(error.what(), "cancelled");
            EXPECT_EQ(cancel_message_of([&] { std::rethrow_if_nested(error); }), "cause");
        }
    });
}

// --- what it waits for --------------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_cancel) {
    run([] {
        TimePoint begin = now();
        auto task = create_task([] {
            weft::sleep(10s);
            return 12;
        });
        create_task([&] { task.cancel(); });
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(task.done());
        EXPECT_TRUE(task.cancelled());
        EXPECT_FALSE(task.cancel());
        EXPECT_LT(now() - begin, 10s);
    });
}

TEST_P(BaseTaskTests, test_cancel_yield) {
    run([] {
        auto task = start([] {
            yield();
            yield();
            return 12;
        });
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(task.done());
        EXPECT_TRUE(task.cancelled());
        EXPECT_FALSE(task.cancel());
    });
}

TEST_P(BaseTaskTests, test_cancel_inner_future) {
    run([] {
        Future<void> future;
        auto task = create_task([&] {
            await(future);
            return 12;
        });
        settle();
        future.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(future.cancelled());
        EXPECT_TRUE(task.cancelled());
        EXPECT_EQ(task.cancelling(), 0) << "nobody asked the task";
    });
}

TEST_P(BaseTaskTests, test_cancel_both_task_and_inner_future) {
    run([] {
        Future<void> future;
        auto task = create_task([&] {
            await(future);
            return 12;
        });
        settle();
        future.cancel();
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(task.done());
        EXPECT_TRUE(future.cancelled());
        EXPECT_TRUE(task.cancelled());
    });
}

TEST_P(BaseTaskTests, test_cancel_task_catching) {
    run([&] {
        Future<void> first;
        Future<void> second;
        auto task = create_task([&] {
            await(first);
            try {
                await(second);
            } catch (const CancelledError&) {
                return 42;
            }
            return 0;
        });
        settle();
        first.set_result();
        settle();
        EXPECT_FALSE(task.done());
        task.cancel();
        EXPECT_TRUE(second.cancelled() || !strict()) << "at once";
        EXPECT_EQ(await(task), 42);
        EXPECT_TRUE(second.cancelled());
        EXPECT_FALSE(task.cancelled());
    });
}

TEST_P(BaseTaskTests, test_cancel_task_ignoring) {
    run([&] {
        Future<void> first;
        Future<void> second;
        Future<int> third;
        auto task = create_task([&] {
            await(first);
            try {
                await(second);
            } catch (const CancelledError&) {
            }
            return await(third);
        });
        settle();
        first.set_result();
        settle();
        EXPECT_FALSE(task.done());
        task.cancel();
        EXPECT_TRUE(second.cancelled() || !strict()) << "at once";
        settle();
        EXPECT_TRUE(second.cancelled());
        EXPECT_FALSE(task.done()) << "it waits for the third";
        third.set_result(42);
        EXPECT_EQ(await(task), 42);
        EXPECT_FALSE(third.cancelled());
        EXPECT_FALSE(task.cancelled());
    });
}

TEST_P(BaseTaskTests, test_task_cancel_waiter_future) {
    run([] {
        Future<void> future;
        auto task = create_task([&] { await(future); });
        settle();
        EXPECT_FALSE(task.done());
        task.cancel();
        settle();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(future.cancelled());
    });
}

TEST_P(BaseTaskTests, test_cancel_awaited_task) {
    run([] {
        Future<void> future;
        Task<void> nested;
        auto task = create_task([&] {
            nested = create_task([&] { await(future); });
            settle();
            current_task().cancel();
            await(nested);
        });
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(task.cancelled());
        EXPECT_TRUE(nested.cancelled());
        EXPECT_TRUE(future.cancelled());
    });
}

TEST_P(BaseTaskTests, test_yield_future_passes_cancel) {
    run([] {
        int proof = 0;
        Future<void> waiter;
        auto inner = weft::async([&] {
            try {
                await(waiter);
                ADD_FAILURE() << "went on";
            } catch (const CancelledError&) {
                proof += 1;
                throw;
            }
        });
        auto outer = create_task([&] {
            try {
                await(inner());
                proof += 10;
            } catch (const CancelledError&) {
                proof += 100;
            }
        });
        settle();
        outer.cancel();
        await(outer);
        EXPECT_EQ(proof, 101);
        EXPECT_TRUE(waiter.cancelled());
    });
}

TEST_P(BaseTaskTests, test_baseexception_during_cancel) {
    struct Exit {
        int code;
    };
    static_assert(!std::is_base_of_v<std::exception, Exit>);
    run([] {
        auto task = create_task([] {
            try {
                weft::sleep(10s);
            } catch (const CancelledError&) {
                throw Exit{7};
            }
        });
        settle();
        task.cancel();
        EXPECT_FALSE(task.done());
        settle();
        EXPECT_TRUE(task.done());
        EXPECT_FALSE(task.cancelled());
        try {
            std::rethrow_exception(task.exception());
        } catch (const Exit& exit) {
            EXPECT_EQ(exit.code, 7);
        }
    });
}

// --- of oneself ---------------------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_cancel_current_task) {
    run([] {
        TimePoint begin = now();
        auto task = create_task([] {
            EXPECT_TRUE(current_task().cancel());
            weft::sleep(100s);
            return 12;
        });
        EXPECT_FALSE(task.cancelled());
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_EQ(now(), begin) << "it ended at once";
        EXPECT_TRUE(task.done());
        EXPECT_TRUE(task.cancelled());
        EXPECT_FALSE(task.cancel());
    });
}

TEST_P(BaseTaskTests, test_cancel_at_end) {
    run([] {
        auto task = create_task([] {
            EXPECT_TRUE(current_task().cancel());
            return 12;
        });
        EXPECT_FALSE(task.cancelled());
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(task.done());
        EXPECT_TRUE(task.cancelled());
        EXPECT_FALSE(task.cancel());
    });
}

// --- counted, and taken back --------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_cancelling) {
    run([] {
        auto task = create_task([] { weft::sleep(10s); });
        EXPECT_EQ(task.cancelling(), 0);
        EXPECT_TRUE(task.cancel());
        EXPECT_EQ(task.cancelling(), 1);
        EXPECT_TRUE(task.cancel()) << "asked again";
        EXPECT_EQ(task.cancelling(), 2);
        EXPECT_THROW(await(task), CancelledError);
    });
}

TEST_P(BaseTaskTests, test_uncancel_basic) {
    run([] {
        auto task = create_task([] {
            try {
                weft::sleep(10s);
            } catch (const CancelledError&) {
                current_task().uncancel();
                weft::sleep(10s);
            }
        });
        weft::sleep(10ms);

        EXPECT_TRUE(task.cancel());
        EXPECT_EQ(task.cancelling(), 1);
        EXPECT_FALSE(task.cancelled());
        weft::sleep(10ms);
        EXPECT_EQ(task.cancelling(), 0);
        EXPECT_FALSE(task.cancelled()) << "it is in its second sleep";

        EXPECT_TRUE(task.cancel());
        EXPECT_EQ(task.cancelling(), 1);
        EXPECT_FALSE(task.cancelled());
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_TRUE(task.cancelled());
        EXPECT_TRUE(task.done());

        task.uncancel();
        EXPECT_TRUE(task.cancelled()) << "too late to take it back";
        EXPECT_TRUE(task.done());
    });
}

struct Passed {
    bool timed_out = false;
    bool block_ended = false;
    bool went_on = false;
};

/// A time limit made by hand: cancel() when it is reached, uncancel() where the block ends.
Passed request_with_limit(Duration work, Duration limit) {
    Passed passed;
    AnyTask self = current_task();
    auto timer = create_task([&] {
        weft::sleep(limit);
        passed.timed_out = true;
        self.cancel();
    });
    auto leave = [&](bool cancelled) {
        timer.cancel();
        if (passed.timed_out && self.uncancel() == 0 && cancelled) throw TimeoutError();
    };
    try {
        try {
            weft::sleep(work);
            passed.block_ended = true;
        } catch (const CancelledError&) {
            leave(true);
            throw;
        }
        leave(false);
    } catch (const TimeoutError&) {
        EXPECT_TRUE(passed.timed_out);
    }
    yield();
    passed.went_on = true;
    return passed;
}

TEST_P(BaseTaskTests, test_uncancel_structured_blocks) {
    run([] {
        auto slow = create_task([] { return request_with_limit(10s, 100ms); });
        Passed passed = await(slow);
        EXPECT_TRUE(passed.timed_out);
        EXPECT_FALSE(passed.block_ended);
        EXPECT_TRUE(passed.went_on);
        EXPECT_EQ(slow.cancelling(), 0);

        auto quick = create_task([] { return request_with_limit(0s, 10s); });
        passed = await(quick);
        EXPECT_FALSE(passed.timed_out);
        EXPECT_TRUE(passed.block_ended);
        EXPECT_TRUE(passed.went_on);
        EXPECT_EQ(quick.cancelling(), 0);
    });
}

TEST_P(BaseTaskTests, test_uncancel_resets_must_cancel) {
    run([] {
        Future<void> future;
        auto task = create_task([&] {
            await(future);
            return 42;
        });
        settle();
        future.set_result();  // it is ready to go on, and has not yet
        task.cancel();
        EXPECT_EQ(task.cancelling(), 1);
        EXPECT_EQ(task.uncancel(), 0);
        EXPECT_EQ(task.cancelling(), 0);
        EXPECT_EQ(await(task), 42);
    });
}

}  // namespace

}  // namespace weft::test
