// test_tasks.py: gather, of futures and of coroutine objects.
#include <map>
#include <stdexcept>

#include "conformance/test_tasks.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_tasks, GatherTestsBase);
WEFT_CONFORMS(test_tasks, FutureGatherTests);
WEFT_CONFORMS(test_tasks, CoroutineGatherTests);

/// Calls test(wrap) twice: wrap gives the future as it is, or a coroutine object that awaits it.
template <class F>
void with_futures_and_coroutines(F test) {
    {
        SCOPED_TRACE("futures");
        test([](const Future<int>& future) { return future; });
    }
    {
        SCOPED_TRACE("coroutines");
        test([](const Future<int>& future) {
            return weft::coroutine([future] { return int(await(future)); });
        });
    }
}

/// How often a task was found done.
template <class R>
auto count_ends(const Task<R>& task) {
    auto count = std::make_shared<std::atomic<int>>(0);
    task.add_done_callback([count](const Task<R>&) { ++*count; });
    return count;
}

// --- both ---------------------------------------------------------------------------------------------------------

TEST_P(GatherTestsBase, test_success) {
    run([] {
        with_futures_and_coroutines([](auto wrap) {
            Future<int> a, b, c;
            auto task = create_task([&] { return gather(wrap(a), wrap(b), wrap(c)); });
            auto ends = count_ends(task);
            settle();
            b.set_result(1);
            a.set_result(2);
            settle();
            EXPECT_EQ(*ends, 0);
            EXPECT_FALSE(task.done());
            c.set_result(3);
            settle();
            EXPECT_EQ(*ends, 1);
            EXPECT_EQ(task.result(), std::tuple(2, 1, 3));
        });
    });
}

TEST_P(GatherTestsBase, test_result_exception_success) {
    run([] {
        with_futures_and_coroutines([](auto wrap) {
            Future<int> a, b, c;
            auto task =
                create_task([&] { return gather(return_exceptions, wrap(a), wrap(b), wrap(c)); });
            auto ends = count_ends(task);
            settle();
            b.set_result(1);
            a.set_result(2);
            settle();
            EXPECT_EQ(*ends, 0);
            c.set_result(3);
            settle();
            EXPECT_EQ(*ends, 1);
            const auto& [first, second, third] = task.result();
            EXPECT_EQ(first.value(), 2);
            EXPECT_EQ(second.value(), 1);
            EXPECT_EQ(third.value(), 3);
        });
    });
}

TEST_P(GatherTestsBase, test_one_exception) {
    run([] {
        with_futures_and_coroutines([](auto wrap) {
            Future<int> a, b, c, d, e;
            auto task =
                create_task([&] { return gather(wrap(a), wrap(b), wrap(c), wrap(d), wrap(e)); });
            auto ends = count_ends(task);
            settle();
            auto error = std::make_exception_ptr(std::domain_error("division by zero"));
            a.set_result(1);
            b.set_exception(error);
            settle();
            EXPECT_TRUE(task.done());
            EXPECT_EQ(*ends, 1);
            EXPECT_EQ(task.exception(), error);
            // What comes later changes nothing, and is not reported.
            c.set_result(3);
            d.cancel();
            e.set_exception(std::runtime_error("late"));
            EXPECT_NE(e.exception(), nullptr);
            settle();
            EXPECT_EQ(*ends, 1);
            EXPECT_EQ(task.exception(), error);
        });
    });
}

TEST_P(GatherTestsBase, test_return_exceptions) {
    run([] {
        with_futures_and_coroutines([](auto wrap) {
            Future<int> a, b, c, d;
            auto task = create_task(
                [&] { return gather(return_exceptions, wrap(a), wrap(b), wrap(c), wrap(d)); });
            auto ends = count_ends(task);
            settle();
            auto error = std::make_exception_ptr(std::domain_error("division by zero"));
            auto another = std::make_exception_ptr(std::runtime_error("another"));
            b.set_result(1);
            c.set_exception(error);
            a.set_result(3);
            settle();
            EXPECT_FALSE(task.done());
            d.set_exception(another);
            settle();
            EXPECT_TRUE(task.done());
            EXPECT_EQ(*ends, 1);
            const auto& [first, second, third, fourth] = task.result();
            EXPECT_EQ(first.value(), 3);
            EXPECT_EQ(second.value(), 1);
            EXPECT_EQ(third.error(), error);
            EXPECT_EQ(fourth.error(), another);
        });
    });
}

TEST_P(GatherTestsBase, test_env_var_debug) {
    {
        Environment unset("WEFT_DEBUG", nullptr);
        EXPECT_FALSE(RunOptions().debug);
    }
    {
        Environment empty("WEFT_DEBUG", "");
        EXPECT_FALSE(RunOptions().debug);
    }
    Environment on("WEFT_DEBUG", "1");
    EXPECT_TRUE(RunOptions().debug);
    EXPECT_FALSE(RunOptions{.debug = false}.debug) << "what the program says wins";
}

// --- futures ------------------------------------------------------------------------------------------------------

TEST_P(FutureGatherTests, test_constructor_empty_sequence_without_loop) {
    EXPECT_THROW(gather(), UsageError);
    EXPECT_THROW(gather(std::vector<Future<int>>()), UsageError);
}

TEST_P(FutureGatherTests, test_constructor_empty_sequence_use_running_loop) {
    run([] {
        EXPECT_EQ(gather(), std::tuple());
        EXPECT_EQ(gather(std::vector<Future<int>>()), std::vector<int>());
    });
}

TEST_P(FutureGatherTests, test_constructor_homogenous_futures) {
    run([] {
        std::vector<Future<int>> children(3);
        auto first = create_task([&] { return gather(children); });
        settle();
        EXPECT_FALSE(first.done());
        auto second = create_task([&] { return gather(children); });
        settle();
        EXPECT_FALSE(second.done());
        for (int i = 0; i < 3; ++i) children[static_cast<std::size_t>(i)].set_result(i);
        EXPECT_EQ(await(first), (std::vector{0, 1, 2}));
        EXPECT_EQ(await(second), (std::vector{0, 1, 2})) << "both had the same ones";
    });
}

TEST_P(FutureGatherTests, test_one_cancellation) {
    run([] {
        Future<int> a, b, c, d, e;
        auto task = create_task([&] {
            EXPECT_EQ(cancel_message_of([&] { gather(a, b, c, d, e); }), "only one");
            EXPECT_EQ(current_task().cancelling(), 0);
        });
        auto ends = count_ends(task);
        settle();
        a.set_result(1);
        b.cancel("only one");
        settle();
        EXPECT_TRUE(task.done());
        EXPECT_EQ(*ends, 1);
        EXPECT_FALSE(task.cancelled()) << "it can catch that as an error like others";
        // What comes later changes nothing.
        c.set_result(3);
        d.cancel();
        e.set_exception(std::runtime_error("late"));
        EXPECT_NE(e.exception(), nullptr);
        settle();
        EXPECT_EQ(*ends, 1);
    });
}

TEST_P(FutureGatherTests, test_result_exception_one_cancellation) {
    run([] {
        Future<int> a, b, c, d, e, f;
        auto task = create_task([&] { return gather(return_exceptions, a, b, c, d, e, f); });
        auto ends = count_ends(task);
        settle();
        auto error = std::make_exception_ptr(std::domain_error("division by zero"));
        a.set_result(1);
        b.set_exception(error);
        c.cancel("third");
        settle();
        EXPECT_FALSE(task.done());
        d.set_result(3);
        e.cancel("fifth");
        auto another = std::make_exception_ptr(std::runtime_error("another"));
        f.set_exception(another);
        const auto& [first, second, third, fourth, fifth, sixth] = await(task);
        EXPECT_EQ(first.value(), 1);
        EXPECT_EQ(second.error(), error);
        EXPECT_EQ(cancel_message_of([&] { (void)std::get<2>(task.result()).value(); }), "third");
        EXPECT_EQ(fourth.value(), 3);
        EXPECT_EQ(cancel_message_of([&] { (void)std::get<4>(task.result()).value(); }), "fifth");
        EXPECT_EQ(sixth.error(), another);
        EXPECT_FALSE(third.has_value());
        EXPECT_FALSE(fifth.has_value());
        settle();
        EXPECT_EQ(*ends, 1);
    });
}

// --- coroutines ---------------------------------------------------------------------------------------------------

TEST_P(CoroutineGatherTests, test_constructor_without_loop) {
    auto word = weft::async([] { return std::string("abc"); });
    auto first = word();
    auto second = word();
    EXPECT_THROW(gather(std::move(first), std::move(second)), UsageError);
    EXPECT_TRUE(first) << "it can still be awaited";
    EXPECT_TRUE(second) << "it can still be awaited";
    first.close();
    second.close();
}

TEST_P(CoroutineGatherTests, test_constructor_use_running_loop) {
    run([] {
        Runtime& here = current_runtime();
        auto word = weft::async([&] {
            EXPECT_EQ(&current_runtime(), &here);
            return std::string("abc");
        });
        EXPECT_EQ(gather(word(), word()), std::tuple(std::string("abc"), std::string("abc")));
    });
}

TEST_P(CoroutineGatherTests, test_duplicate_coroutines) {
    // A coroutine object is its caller's only one; what may be given twice is its task.
    static_assert(!std::is_copy_constructible_v<Coroutine<std::string>>);
    run([] {
        int calls = 0;
        auto word = weft::async([&](std::string s) {
            ++calls;
            return s;
        });
        auto c = create_task(word("abc"));
        auto [first, second, third, fourth] = gather(c, c, word("def"), c);
        EXPECT_EQ(first, "abc");
        EXPECT_EQ(second, "abc");
        EXPECT_EQ(third, "def");
        EXPECT_EQ(fourth, "abc");
        EXPECT_EQ(calls, 2);
    });
}

TEST_P(CoroutineGatherTests, test_cancellation_broadcast) {
    run([] {
        int proof = 0;
        Future<void> waiter;
        auto inner = weft::async([&] {
            await(waiter);
            proof += 1;
        });
        auto first = create_task(inner());
        auto second = create_task(inner());
        auto outer = create_task([&] {
            gather(first, second);
            proof += 100;
        });
        settle();
        EXPECT_TRUE(outer.cancel());
        EXPECT_THROW(await(outer), CancelledError);
        EXPECT_TRUE(waiter.cancelled());
        EXPECT_TRUE(first.cancelled());
        EXPECT_TRUE(second.cancelled());
        settle();
        EXPECT_EQ(proof, 0);
    });
}

TEST_P(CoroutineGatherTests, test_exception_marking) {
    // The fixture fails a test in which an error is reported.
    run([] {
        Future<void> a, b;
        auto inner = weft::async([](Future<void> future) {
            await(future);
            throw std::runtime_error("one of two");
        });
        auto outer = create_task([&] { gather(inner(a), inner(b)); });
        settle();
        a.set_result();
        settle();
        b.set_result();
        settle();
        EXPECT_EQ(text_of(outer.exception()), "one of two");
    });
}

template <class... A>
concept CanGather = requires(A&&... a) { gather(std::forward<A>(a)...); };

TEST_P(CoroutineGatherTests, test_issue46672) {
    static_assert(CanGather<Coroutine<int>, Coroutine<int>>);
    static_assert(!CanGather<Coroutine<int>, std::map<int, int>>);
    static_assert(!CanGather<std::map<int, int>, Coroutine<int>>);
    run([] {
        // What is no awaitable is refused before anything has begun.
        auto c = weft::coroutine([] { return std::string("abc"); });
        EXPECT_EQ(gather(std::move(c)), std::tuple(std::string("abc")));
    });
}

// --- cancelled by somebody ----------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_cancel_gather_2) {
    run([] {
        for (const char* message : {"", "my message"}) {
            auto loop = create_task([] {
                for (Duration time{}; time <= 1s; time += 50ms)
                    gather(return_exceptions, [] { weft::sleep(50ms); });
            });
            weft::sleep(200ms);
            loop.cancel(message);
            EXPECT_EQ(cancel_message_of([&] { await(loop); }), message);
            EXPECT_TRUE(loop.cancelled());
        }
    });
}

}  // namespace

}  // namespace weft::test
