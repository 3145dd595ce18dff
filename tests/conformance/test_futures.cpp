// test_futures.py: states, values and errors of futures, and handles of work in another runtime. Callbacks are in
// test_futures_callbacks.cpp.
#include <memory>
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_futures, BaseFutureTests);
WEFT_CONFORMS_ON_THREADS(test_futures, BaseFutureTests);

// --- making one ---------------------------------------------------------------------------------------------------

TEST_P(BaseFutureTests, test_generic_alias) {
    static_assert(std::is_same_v<Future<std::string>::result_type, std::string>);
    run([] {
        Future<std::string> future;
        future.set_result("text");
        static_assert(std::is_same_v<decltype(await(future)), const std::string&>);
        EXPECT_EQ(await(future), "text");
    });
}

template <class T>
concept IsFuture = requires(T& t) {
    { t.done() } -> std::same_as<bool>;
    { t.cancel() } -> std::same_as<bool>;
    await(t);
};

// Of weft's own types alone: one that looks like a future is none.
TEST_P(BaseFutureTests, test_isfuture) {
    struct Looks {
        bool done() { return true; }
        bool cancel() { return false; }
        int result() { return 1; }
    };
    static_assert(!IsFuture<int> && !IsFuture<Looks> && !IsFuture<Coroutine<int>>);
    static_assert(IsFuture<Future<int>> && IsFuture<Task<int>> && IsFuture<const Future<void>>);
    run([] {
        Future<int> future;
        future.cancel();
        EXPECT_THROW(await(future), CancelledError);
    });
}

TEST_P(BaseFutureTests, test_initial_state) {
    run([] {
        Future<int> future;
        EXPECT_FALSE(future.cancelled());
        EXPECT_FALSE(future.done());
        future.cancel();
        EXPECT_TRUE(future.cancelled());
    });
}

// It belongs to no runtime, and is made anywhere; its callbacks need one to run in.
TEST_P(BaseFutureTests_on_threads, test_constructor_without_loop) {
    Future<int> future;
    EXPECT_FALSE(future.done());
    EXPECT_THROW(future.add_done_callback([](const Future<int>&) {}), UsageError);
    future.set_result(1);
    run([&] { EXPECT_EQ(await(future), 1); });
}

// One that is made in a runtime outlives it, and serves in the next.
TEST_P(BaseFutureTests_on_threads, test_constructor_use_running_loop) {
    Future<int> future = weft::run([] { return Future<int>(); }, options());
    EXPECT_FALSE(future.done());
    run([&] {
        auto setter = create_task([&] { future.set_result(2); });
        EXPECT_EQ(await(future), 2);
        await(setter);
    });
}

TEST_P(BaseFutureTests, test_constructor_positional) {
    static_assert(!std::is_constructible_v<Future<int>, int>);
    static_assert(!std::is_convertible_v<int, Future<int>>);
    run([] { EXPECT_FALSE(Future<int>().done()); });
}

// A handle that was moved from has no future.
TEST_P(BaseFutureTests, test_uninitialized) {
    run([] {
        Future<int> full;
        Future<int> taken = std::move(full);
        Future<int>& empty = full;  // NOLINT(bugprone-use-after-move): that is what is tested
        EXPECT_THROW(empty.result(), InvalidStateError);
        EXPECT_THROW((void)empty.exception(), InvalidStateError);
        EXPECT_THROW(empty.set_result(1), InvalidStateError);
        EXPECT_THROW(empty.set_exception(std::runtime_error("x")), InvalidStateError);
        EXPECT_THROW(empty.cancel(), InvalidStateError);
        EXPECT_THROW(empty.add_done_callback([](const Future<int>&) {}), InvalidStateError);
        EXPECT_THROW(await(empty), InvalidStateError);
        EXPECT_FALSE(empty.cancelled());
        EXPECT_FALSE(empty.done());
        EXPECT_FALSE(taken.done());
    });
}

// --- states -------------------------------------------------------------------------------------------------------

TEST_P(BaseFutureTests, test_future_cancel_message_getter) {
    run([] {
        Future<int> future;
        future.cancel("my message");
        EXPECT_EQ(cancel_message_of([&] { await(future); }), "my message");
        EXPECT_EQ(cancel_message_of([&] { future.result(); }), "my message");
        Future<int> silent;
        silent.cancel();
        EXPECT_EQ(cancel_message_of([&] { await(silent); }), "");
    });
}

/// Nothing more can be done to it.
void expect_settled(const Future<int>& future) {
    EXPECT_TRUE(future.done());
    EXPECT_THROW(future.set_result(0), InvalidStateError);
    EXPECT_THROW(future.set_exception(std::runtime_error("late")), InvalidStateError);
    EXPECT_FALSE(future.cancel());
}

TEST_P(BaseFutureTests, test_cancel) {
    run([] {
        Future<int> future;
        EXPECT_TRUE(future.cancel());
        EXPECT_TRUE(future.cancelled());
        EXPECT_THROW(future.result(), CancelledError);
        EXPECT_THROW((void)future.exception(), CancelledError);
        expect_settled(future);
        EXPECT_TRUE(future.cancelled());
    });
}

TEST_P(BaseFutureTests, test_result) {
    run([] {
        Future<int> future;
        EXPECT_THROW(future.result(), InvalidStateError);
        future.set_result(42);
        EXPECT_FALSE(future.cancelled());
        EXPECT_EQ(future.result(), 42);
        EXPECT_EQ(future.exception(), nullptr);
        expect_settled(future);
        EXPECT_EQ(future.result(), 42);
    });
}

TEST_P(BaseFutureTests, test_exception) {
    run([] {
        std::exception_ptr error = std::make_exception_ptr(std::runtime_error("error"));
        Future<int> future;
        EXPECT_THROW((void)future.exception(), InvalidStateError);
        future.set_exception(error);
        EXPECT_FALSE(future.cancelled());
        EXPECT_EQ(what_of<std::runtime_error>([&] { future.result(); }), "error");
        EXPECT_EQ(future.exception(), error);
        expect_settled(future);
        EXPECT_EQ(future.exception(), error);
    });
}

TEST_P(BaseFutureTests, test_set_result_unless_cancelled) {
    run([] {
        Future<int> future;
        future.cancel();
        EXPECT_FALSE(future.try_set_result(2));
        EXPECT_TRUE(future.cancelled());
        EXPECT_THROW(future.result(), CancelledError);
    });
}

// The second wait for one that is done is none.
TEST_P(BaseFutureTests, test_yield_from_twice) {
    run([&] {
        Future<int> future;
        std::string steps;
        auto task = create_task([&] {
            steps += "A";
            int x = await(future);
            steps += "B";
            std::atomic<bool> bystander_ran = false;
            auto bystander = create_task([&] { bystander_ran = true; });
            int y = await(future);
            if (alone()) {
                EXPECT_FALSE(bystander_ran);
            }
            steps += "C";
            await(bystander);
            return x + y;
        });
        settle();
        EXPECT_EQ(steps, "A");
        future.set_result(42);
        EXPECT_EQ(await(task), 84);
        EXPECT_EQ(steps, "ABC");
    });
}

// What one future came to is handed on to another: a value, an error, which stays the same object, or a cancel.
TEST_P(BaseFutureTests, test_copy_state) {
    run([] {
        auto copy = [](const Future<int>& from) {
            Future<int> to;
            try {
                to.set_result(from.result());
            } catch (const CancelledError& e) {
                to.cancel(e.message());
            } catch (...) {
                to.set_exception(std::current_exception());
            }
            return to;
        };
        Future<int> value;
        value.set_result(10);
        EXPECT_EQ(copy(value).result(), 10);

        Future<int> failed;
        failed.set_exception(std::runtime_error("error"));
        EXPECT_EQ(copy(failed).exception(), failed.exception());
        EXPECT_EQ(copy(copy(failed)).exception(), failed.exception());

        Future<int> cancelled;
        cancelled.cancel("enough");
        EXPECT_TRUE(copy(cancelled).cancelled());
        EXPECT_EQ(cancel_message_of([&] { copy(copy(cancelled)).result(); }), "enough");
    });
}

// A value whose destructor uses futures itself.
TEST_P(BaseFutureTests, test_future_del_collect) {
    struct Evil {
        Evil() = default;
        Evil(Evil&&) = default;
        Evil& operator=(Evil&&) = delete;
        ~Evil() {
            Future<std::string> other;
            other.add_done_callback([](const Future<std::string>&) {});
            other.set_result("from a destructor");
            ++destroyed();
        }
        static int& destroyed() {
            static int count = 0;
            return count;
        }
    };
    run([] {
        int before = Evil::destroyed();
        for (int i = 0; i < 100; ++i) {
            Future<Evil> future;
            future.set_result(Evil());
        }
        EXPECT_EQ(Evil::destroyed() - before, 200);
        settle();
    });
}

// --- errors that nobody reads -------------------------------------------------------------------------------------

class UnreadErrors {
public:
    RunOptions options(bool debug = false) {
        return {.debug = debug, .exception_handler = reports_.handler()};
    }
    /// What is reported when a future dies that was given to f.
    template <class F>
    std::vector<std::string> after(F&& f) {
        {
            Future<int> future;
            std::forward<F>(f)(future);
            EXPECT_EQ(reports_.size(), 0U);
        }
        settle();
        return reports_.take();
    }

private:
    Reports reports_;
};

TEST_P(BaseFutureTests, test_tb_logger_abandoned) {
    UnreadErrors errors;
    run(errors.options(), [&] { EXPECT_TRUE(errors.after([](const auto&) {}).empty()); });
}

// Who cancels one that has failed knows that it is over: its error counts as read.
TEST_P(BaseFutureTests, test_tb_logger_not_called_after_cancel) {
    UnreadErrors errors;
    run(errors.options(), [&] {
        auto told = errors.after([](const Future<int>& future) {
            future.set_exception(std::runtime_error("unread"));
            EXPECT_FALSE(future.cancel());
        });
        EXPECT_TRUE(told.empty());
    });
}

TEST_P(BaseFutureTests, test_tb_logger_result_unretrieved) {
    UnreadErrors errors;
    run(errors.options(), [&] {
        auto told = errors.after([](const Future<int>& future) { future.set_result(42); });
        EXPECT_TRUE(told.empty());
    });
}

TEST_P(BaseFutureTests, test_tb_logger_result_retrieved) {
    UnreadErrors errors;
    run(errors.options(), [&] {
        auto told = errors.after([](const Future<int>& future) {
            future.set_result(42);
            EXPECT_EQ(future.result(), 42);
        });
        EXPECT_TRUE(told.empty());
    });
}

TEST_P(BaseFutureTests, test_tb_logger_exception_unretrieved) {
    UnreadErrors errors;
    run(errors.options(), [&] {
        auto told = errors.after(
            [](const Future<int>& future) { future.set_exception(std::runtime_error("boom")); });
        ASSERT_EQ(told.size(), 1U);
        EXPECT_NE(told[0].find("boom"), std::string::npos) << told[0];
    });
}

TEST_P(BaseFutureTests, test_tb_logger_exception_retrieved) {
    UnreadErrors errors;
    run(errors.options(), [&] {
        auto told = errors.after([](const Future<int>& future) {
            future.set_exception(std::runtime_error("boom"));
            EXPECT_EQ(text_of(future.exception()), "boom");
        });
        EXPECT_TRUE(told.empty());
    });
}

TEST_P(BaseFutureTests, test_tb_logger_exception_result_retrieved) {
    UnreadErrors errors;
    run(errors.options(), [&] {
        auto told = errors.after([](const Future<int>& future) {
            future.set_exception(std::runtime_error("boom"));
            EXPECT_THROW(future.result(), std::runtime_error);
        });
        EXPECT_TRUE(told.empty());
    });
}

/// The handler is told once, of the error itself, with a message that says what happened.
void expect_to_be_told_once(const std::vector<std::string>& told) {
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0], "exception of a future was never retrieved | std::bad_alloc");
}

auto fail_with_bad_alloc() {
    return [](const Future<int>& future) {
        try {
            throw std::bad_alloc();
        } catch (...) {
            future.set_exception(std::current_exception());
        }
    };
}

TEST_P(BaseFutureTests, test_future_exception_never_retrieved) {
    UnreadErrors errors;
    run(errors.options(), [&] { expect_to_be_told_once(errors.after(fail_with_bad_alloc())); });
}

TEST_P(BaseFutureTests, test_future_exception_never_retrieved_debug) {
    UnreadErrors errors;
    run(errors.options(true), [&] { expect_to_be_told_once(errors.after(fail_with_bad_alloc())); });
}

// --- futures of work elsewhere ------------------------------------------------------------------------------------

/// Says by whom it was run.
auto run_elsewhere(Runtime& elsewhere, const std::string& text) {
    return elsewhere.submit([text] { return std::pair(text, std::this_thread::get_id()); });
}

// A task waits for what another runtime does; nothing needs to be wrapped for that.
TEST_P(BaseFutureTests_on_threads, test_wrap_future) {
    Runtime elsewhere(options());
    run([&] {
        auto work = run_elsewhere(elsewhere, "hi");
        auto [text, thread] = work.result();
        EXPECT_EQ(text, "hi");
        EXPECT_NE(thread, std::this_thread::get_id());
    });
}

// What is given a future waits for that one, and gives it back.
TEST_P(BaseFutureTests, test_wrap_future_future) {
    run([] {
        Future<int> future;
        auto setter = create_task([&] { future.set_result(1); });
        auto [done, pending] = weft::wait(std::vector{future});
        ASSERT_EQ(done.size(), 1U);
        EXPECT_EQ(done[0], future);
        EXPECT_EQ(done[0].core(), future.core());
        EXPECT_TRUE(pending.empty());
        await(setter);
    });
}

// A plain thread waits for it, too, by blocking.
TEST_P(BaseFutureTests_on_threads, test_wrap_future_without_loop) {
    Runtime elsewhere(options());
    auto work = run_elsewhere(elsewhere, "hi");
    EXPECT_EQ(work.result().first, "hi");
    EXPECT_NE(work.result().second, std::this_thread::get_id());
}

// In a task, others run meanwhile.
TEST_P(BaseFutureTests_on_threads, test_wrap_future_use_running_loop) {
    Runtime elsewhere(options());
    run([&] {
        Future<int> go;
        auto work = elsewhere.submit([go] { return await(go) + 1; });
        auto setter = create_task([&] { go.set_result(1); });
        EXPECT_EQ(work.result(), 2);
        await(setter);
    });
}

TEST_P(BaseFutureTests_on_threads, test_wrap_future_cancel) {
    Runtime elsewhere(options());
    run([&] {
        auto work = elsewhere.submit([] { wait_for_ever(); });
        auto waiter = create_task([&] { work.result(); });
        EXPECT_TRUE(work.cancel());
        EXPECT_THROW(await(waiter), CancelledError);
        EXPECT_TRUE(work.cancelled());
        EXPECT_TRUE(waiter.cancelled());
    });
}

// A cancel that comes too late changes nothing.
TEST_P(BaseFutureTests_on_threads, test_wrap_future_cancel2) {
    Runtime elsewhere(options());
    run([&] {
        auto work = elsewhere.submit([] { return 42; });
        EXPECT_EQ(work.result(), 42);
        EXPECT_FALSE(work.cancel());
        EXPECT_FALSE(work.cancelled());
        EXPECT_EQ(work.result(), 42);
    });
}

}  // namespace

}  // namespace weft::test
