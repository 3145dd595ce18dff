// test_timeouts.py: timeout and timeout_at.
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_timeouts, TimeoutTests);
WEFT_CONFORMS_ON_THREADS(test_timeouts, TimeoutTests);

/// A block that waits until it is interrupted, and says then whether its limit has expired.
auto wait_and_tell(bool& expired) {
    return [&expired](Timeout& limit) {
        try {
            wait_for_ever();
        } catch (const CancelledError&) {
            expired = limit.expired();
            throw;
        }
    };
}

/// Keeps its worker until then, as a task that computes does.
void compute_until(TimePoint end) {
    while (now() < end) std::this_thread::yield();
}

// --- expiry -------------------------------------------------------------------------------------------------------

TEST_P(TimeoutTests, test_timeout_basic) {
    run([] {
        bool expired = false;
        EXPECT_THROW(timeout(10ms, wait_and_tell(expired)), TimeoutError);
        EXPECT_TRUE(expired);
    });
}

TEST_P(TimeoutTests, test_timeout_at_basic) {
    run([] {
        bool expired = false;
        TimePoint deadline = now() + 10ms;
        auto block = [&](Timeout& limit) {
            EXPECT_EQ(limit.when(), deadline);
            wait_and_tell(expired)(limit);
        };
        EXPECT_THROW(timeout_at(deadline, block), TimeoutError);
        EXPECT_TRUE(expired);
        EXPECT_GE(now(), deadline);
    });
}

TEST_P(TimeoutTests, test_waiter_cancelled) {
    run([] {
        std::string seen;
        auto block = [&] {
            seen = cancel_message_of([] { weft::sleep(10s); });
            throw CancelledError();
        };
        EXPECT_THROW(timeout(10ms, block), TimeoutError);
        EXPECT_EQ(seen, "") << "a cancel without a message";
    });
}

TEST_P(TimeoutTests, test_timeout_not_called) {
    run([] {
        std::optional<TimePoint> deadline;
        bool expired = timeout(10s, [&](Timeout& limit) {
            weft::sleep(10ms);
            deadline = limit.when();
            return limit.expired();
        });
        EXPECT_FALSE(expired);
        EXPECT_GT(deadline, now());
    });
}

/// What every limit that never comes is like.
const auto kNeverExpires = [](Timeout& limit) {
    EXPECT_FALSE(limit.when());
    weft::sleep(10ms);
    EXPECT_FALSE(limit.when());
    EXPECT_FALSE(limit.expired());
    return 1;
};

TEST_P(TimeoutTests, test_timeout_disabled) {
    run([] { EXPECT_EQ(timeout(no_timeout, kNeverExpires), 1); });
}

TEST_P(TimeoutTests, test_timeout_at_disabled) {
    run([] { EXPECT_EQ(timeout_at(no_timeout, kNeverExpires), 1); });
}

TEST_P(TimeoutTests, test_timeout_zero) {
    run([] {
        bool expired = false;
        TimePoint before = now();
        auto block = [&](Timeout& limit) {
            EXPECT_EQ(limit.when(), before);
            wait_and_tell(expired)(limit);
        };
        EXPECT_THROW(timeout(0s, block), TimeoutError);
        EXPECT_TRUE(expired);
    });
}

/// A limit that is due at once, around a block that lets others run once.
void expect_to_expire_in_a_yield(Duration duration) {
    TimePoint before = now();
    auto block = [&](Timeout& limit) {
        EXPECT_EQ(limit.when(), before + duration);
        EXPECT_TRUE(limit.expired());
        weft::sleep(0s);
        ADD_FAILURE() << "went on";
    };
    EXPECT_THROW(timeout(duration, block), TimeoutError);
}

TEST_P(TimeoutTests, test_timeout_zero_sleep_zero) {
    run([] { expect_to_expire_in_a_yield(0s); });
}

TEST_P(TimeoutTests, test_timeout_in_the_past_sleep_zero) {
    run([] { expect_to_expire_in_a_yield(-11s); });
}

TEST_P(TimeoutTests, test_outer_task_is_not_cancelled) {
    run([] {
        auto task = create_task([] { EXPECT_THROW(timeout(1ms, wait_for_ever), TimeoutError); });
        await(task);
        EXPECT_TRUE(task.done());
        EXPECT_FALSE(task.cancelled());
        EXPECT_EQ(task.cancelling(), 0);
    });
}

// --- other errors -------------------------------------------------------------------------------------------------

TEST_P(TimeoutTests, test_foreign_exception_passed) {
    run([] {
        bool expired = true;
        auto block = [&](Timeout& limit) {
            expired = limit.expired();
            throw std::out_of_range("key");
        };
        EXPECT_EQ(what_of<std::out_of_range>([&] { timeout(10ms, block); }), "key");
        EXPECT_FALSE(expired);
    });
}

// The block is interrupted while it handles an error, which is still the one that it handles.
TEST_P(TimeoutTests, test_timeout_exception_context) {
    run([] {
        std::string handled;
        auto block = [&] {
            try {
                throw std::domain_error("division");
            } catch (...) {
                try {
                    weft::sleep(1s);
                } catch (const CancelledError&) {
                }
                handled = text_of(std::current_exception());
                throw CancelledError();
            }
        };
        EXPECT_THROW(timeout(10ms, block), TimeoutError);
        EXPECT_EQ(handled, "division");
    });
}

TEST_P(TimeoutTests, test_foreign_exception_on_timeout) {
    run([] {
        auto crash = [] {
            try {
                weft::sleep(1s);
            } catch (...) {
                throw std::domain_error("division");
            }
        };
        EXPECT_EQ(what_of<std::domain_error>([&] { timeout(10ms, crash); }), "division");
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// Of a row of errors, each thrown while the one before is handled, the last comes out.
TEST_P(TimeoutTests, test_foreign_exception_on_timeout_2) {
    run([] {
        std::vector<std::string> handled;
        auto handle = [&] { handled.push_back(text_of(std::current_exception())); };
        auto crash = [&] {
            try {
                try {
                    throw std::invalid_argument("value");
                } catch (...) {
                    handle();
                    weft::sleep(1s);
                }
            } catch (const CancelledError&) {
                try {
                    throw std::out_of_range("key");
                } catch (...) {
                    handle();
                    throw std::domain_error("division");
                }
            }
        };
        EXPECT_EQ(what_of<std::domain_error>([&] { timeout(10ms, crash); }), "division");
        EXPECT_EQ(handled, (std::vector<std::string>{"value", "key"}));
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// A child crashes in answer to the expiry: the group's error comes out, and not TimeoutError.
TEST_P(TimeoutTests, test_timeout_taskgroup) {
    run([] {
        auto child = [] {
            try {
                weft::sleep(2s);
            } catch (...) {
                throw std::domain_error("division");
            }
        };
        auto block = [&] {
            task_group([&](TaskGroup& group) {
                group.create_task(child);
                try {
                    throw std::invalid_argument("value");
                } catch (const std::exception&) {
                    weft::sleep(1s);
                }
            });
        };
        try {
            timeout(10ms, block);
            ADD_FAILURE() << "nothing thrown";
        } catch (const ExceptionGroup& group) {
            ASSERT_EQ(group.exceptions().size(), 1U);
            EXPECT_EQ(text_of(group.exceptions()[0]), "division");
        }
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// --- cancels from outside -----------------------------------------------------------------------------------------

TEST_P(TimeoutTests, test_foreign_cancel_doesnt_timeout_if_not_expired) {
    run([] {
        bool expired = true;
        auto task = create_task([&] {
            timeout(10s, [&](Timeout& limit) {
                current_task().cancel();
                wait_and_tell(expired)(limit);
            });
        });
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_FALSE(expired);
    });
}

/// Swallows one cancel of its own.
void be_cancelled_once() {
    current_task().cancel();
    EXPECT_THROW(weft::sleep(1s), CancelledError);
}

TEST_P(TimeoutTests, test_timeout_after_cancellation) {
    run([] {
        auto task = create_task([] {
            be_cancelled_once();
            EXPECT_THROW(timeout(0s, [] { weft::sleep(1s); }), TimeoutError);
            return current_task().cancelling();
        });
        EXPECT_EQ(await(task), 1);
    });
}

TEST_P(TimeoutTests, test_cancel_in_timeout_after_cancellation) {
    run([] {
        auto task = create_task([] {
            be_cancelled_once();
            EXPECT_THROW(timeout(1s,
                                 [] {
                                     current_task().cancel();
                                     weft::sleep(2s);
                                 }),
                         CancelledError);
            return current_task().cancelling();
        });
        EXPECT_EQ(await(task), 2);
    });
}

// --- nested -------------------------------------------------------------------------------------------------------

// Both are due at once: the inner one sees a cancel, and the outer one makes it a TimeoutError.
TEST_P(TimeoutTests, test_nested_timeouts) {
    run([] {
        bool inner_expired = false;
        bool outer_expired = false;
        bool cancelled = false;
        TimePoint deadline = now() + 10ms;
        auto block = [&](Timeout& outer) {
            try {
                timeout_at(deadline, wait_and_tell(inner_expired));
            } catch (const CancelledError&) {
                cancelled = true;
                outer_expired = outer.expired();
                throw;
            }
        };
        EXPECT_THROW(timeout_at(deadline, block), TimeoutError);
        EXPECT_TRUE(cancelled);
        EXPECT_TRUE(outer_expired);
        EXPECT_TRUE(inner_expired);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// The outer limit comes while the inner block computes, and the inner one never does.
TEST_P(TimeoutTests_on_threads, test_nested_timeouts_concurrent) {
    run([] {
        auto inner = [] {
            compute_until(now() + 10ms);
            weft::sleep(1h);
        };
        auto outer = [&] { EXPECT_THROW(timeout(1h, inner), CancelledError); };
        auto outer_passing_on = [&] {
            outer();
            throw CancelledError();
        };
        EXPECT_THROW(timeout(2ms, outer_passing_on), TimeoutError);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// Both come while the inner block computes: what follows the inner one is stopped by the outer one.
TEST_P(TimeoutTests_on_threads, test_nested_timeouts_loop_busy) {
    run([] {
        auto outer = [](Timeout& limit) {
            auto inner = [&] {
                compute_until(*limit.when());
                weft::sleep(1h);
            };
            try {
                timeout(1ms, inner);
            } catch (const TimeoutError&) {
            }
            weft::sleep(1h);
        };
        EXPECT_THROW(timeout(10ms, outer), TimeoutError);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

TEST_P(TimeoutTests, test_nested_timeout_in_finally) {
    run([] {
        bool cleaned = false;
        TimePoint before = now();
        auto block = [&] {
            try {
                weft::sleep(1s);
            } catch (const CancelledError&) {
                EXPECT_THROW(timeout(10ms, [] { weft::sleep(10s); }), TimeoutError);
                cleaned = true;
                throw;
            }
        };
        EXPECT_THROW(timeout(10ms, block), TimeoutError);
        EXPECT_TRUE(cleaned);
        EXPECT_GE(now() - before, 20ms);
        EXPECT_LT(now() - before, 1s);
    });
}

// --- the deadline -------------------------------------------------------------------------------------------------

// Moved by another task, while the block waits.
TEST_P(TimeoutTests, test_reschedule) {
    run([] {
        TimePoint first = now() + 10s;
        TimePoint second = first + 20s;
        Future<Timeout*> inside;
        bool expired = true;
        auto task = create_task([&] {
            timeout_at(first, [&](Timeout& limit) {
                inside.set_result(&limit);
                wait_and_tell(expired)(limit);
            });
        });
        Timeout& limit = *await(inside);
        settle();
        EXPECT_EQ(limit.when(), first);
        limit.reschedule(second);
        EXPECT_EQ(limit.when(), second);
        weft::sleep_until(second - 1s);
        EXPECT_FALSE(task.done());
        limit.reschedule(no_timeout);
        EXPECT_EQ(limit.when(), std::nullopt);
        weft::sleep(1h);
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_FALSE(expired);
    });
}

TEST_P(TimeoutTests, test_timeout_expiring) {
    run([] {
        auto block = [](Timeout& limit) {
            EXPECT_THROW(weft::sleep(1s), CancelledError);
            std::string what = what_of<UsageError>([&] { limit.reschedule(now() + 20ms); });
            EXPECT_NE(what.find("expiring"), std::string::npos) << what;
        };
        timeout(10ms, block);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// --- misuse -------------------------------------------------------------------------------------------------------

template <class T>
concept IsBlock = requires(T t) { timeout_at(no_timeout, t); };

// timeout() alone makes a Timeout, and hands it to its block: there is none that has not been entered.
TEST_P(TimeoutTests, test_timeout_not_entered) {
    static_assert(!std::is_default_constructible_v<Timeout>);
    static_assert(!std::is_constructible_v<Timeout, TimePoint>);
    run([] {
        timeout(10ms, [](Timeout& limit) {
            limit.reschedule(now() + 20ms);
            weft::sleep(15ms);
            EXPECT_FALSE(limit.expired());
        });
    });
}

// It cannot be entered by hand: it is neither a block nor a limit for one.
TEST_P(TimeoutTests, test_timeout_already_entered) {
    static_assert(IsBlock<void (*)(Timeout&)>);
    static_assert(!std::is_invocable_v<Timeout&>);
    static_assert(!std::is_convertible_v<Timeout&, TimePoint>);
    run([] {
        timeout(10ms, [](Timeout& outer) {
            timeout(10ms, [&](Timeout& inner) { EXPECT_NE(&inner, &outer); });
        });
    });
}

TEST_P(TimeoutTests, test_timeout_double_enter) {
    static_assert(!std::is_copy_constructible_v<Timeout>);
    static_assert(!std::is_move_constructible_v<Timeout>);
    run([] {
        // The same block, twice: two limits, each with a deadline of its own.
        std::vector<TimePoint> deadlines;
        auto block = [&](Timeout& limit) {
            weft::sleep(8ms);
            deadlines.push_back(*limit.when());
        };
        timeout(10ms, block);
        timeout(10ms, block);
        ASSERT_EQ(deadlines.size(), 2U);
        EXPECT_EQ(deadlines[1] - deadlines[0], 8ms);
    });
}

TEST_P(TimeoutTests, test_timeout_without_task) {
    bool entered = false;
    std::string what = what_of<UsageError>([&] { timeout(10ms, [&] { entered = true; }); });
    EXPECT_NE(what.find("timeout: must be called in a task"), std::string::npos) << what;
    EXPECT_EQ(what.find("another error"), std::string::npos) << what;
    EXPECT_FALSE(entered);
}

}  // namespace

}  // namespace weft::test
