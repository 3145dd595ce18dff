// test_tasks.py, BaseTaskTests: wait and as_completed.
#include <ranges>
#include <set>
#include <stdexcept>

#include "conformance/test_tasks.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS_IN_ORDER(test_tasks, BaseTaskTests);

Task<void> sleeper(Duration duration) {
    return create_task([=] { weft::sleep(duration); });
}

Task<void> failing_sleeper(Duration duration) {
    return create_task([=] {
        weft::sleep(duration);
        throw std::domain_error("division by zero");
    });
}

/// After a test that is over while they still sleep.
template <class... H>
void sleep_it_out(const H&... handles) {
    auto [done, pending] = weft::wait({AnyTask(handles)...});
    EXPECT_EQ(done.size(), sizeof...(H));
    EXPECT_TRUE(pending.empty());
}

using Tasks = std::vector<Task<void>>;

// --- wait ---------------------------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_wait) {
    run([] {
        TimePoint begin = now();
        auto a = sleeper(100ms);
        auto b = sleeper(150ms);
        for (int i = 0; i < 2; ++i) {
            auto task = create_task([&] {
                auto [done, pending] = weft::wait({b, a});
                EXPECT_EQ(done, (Tasks{b, a}));
                EXPECT_EQ(pending, Tasks{});
                return 42;
            });
            EXPECT_EQ(await(task), 42);
            EXPECT_EQ(now() - begin, 150ms) << "the second one takes no time";
        }
    });
}

TEST_P(BaseTaskTests, test_wait_duplicate_coroutines) {
    run([] {
        auto word = weft::async([](std::string s) { return s; });
        auto c = create_task(word("test"));
        auto [done, pending] = weft::wait({c, c, create_task(word("spam"))});
        EXPECT_TRUE(pending.empty());
        ASSERT_EQ(done.size(), 2U);
        EXPECT_EQ(done[0].result(), "test");
        EXPECT_EQ(done[1].result(), "spam");
    });
}

TEST_P(BaseTaskTests, test_wait_errors) {
    using When = std::remove_const_t<decltype(weft::ALL_COMPLETED)>;
    run([] {
        EXPECT_THROW(weft::wait(Tasks{}), std::invalid_argument);
        auto task = sleeper(10s);
        EXPECT_THROW(weft::wait({task}, static_cast<When>(77)), std::invalid_argument);
        EXPECT_FALSE(task.done());
        task.cancel();
    });
}

TEST_P(BaseTaskTests, test_wait_first_completed) {
    run([] {
        TimePoint begin = now();
        auto a = sleeper(10s);
        auto b = sleeper(100ms);
        auto [done, pending] = weft::wait({b, a}, FIRST_COMPLETED);
        EXPECT_EQ(done, Tasks{b});
        EXPECT_EQ(pending, Tasks{a});
        EXPECT_FALSE(a.done());
        EXPECT_TRUE(b.done());
        b.result();
        EXPECT_EQ(now() - begin, 100ms);
        sleep_it_out(a, b);
    });
}

TEST_P(BaseTaskTests_in_order, test_wait_really_done) {
    run([] {
        auto a = create_task([] { yield(); });
        auto b = create_task([] {
            yield();
            yield();
        });
        auto task = create_task([&] { return weft::wait({b, a}, FIRST_COMPLETED); });
        // The second one ends between the end of the first and the next turn of who waits.
        auto [done, pending] = await(task);
        EXPECT_EQ(done, (Tasks{b, a}));
        EXPECT_TRUE(pending.empty());
        EXPECT_TRUE(a.done());
        EXPECT_TRUE(b.done());
        a.result();
        b.result();
    });
}

TEST_P(BaseTaskTests, test_wait_first_exception) {
    run([] {
        TimePoint begin = now();
        auto a = sleeper(10s);
        auto b = create_task([] { throw std::domain_error("division by zero"); });
        auto [done, pending] = weft::wait({b, a}, FIRST_EXCEPTION);
        EXPECT_EQ(done, Tasks{b});
        EXPECT_EQ(pending, Tasks{a});
        EXPECT_EQ(now(), begin);
        EXPECT_EQ(text_of(b.exception()), "division by zero");
        sleep_it_out(a, b);
    });
}

TEST_P(BaseTaskTests, test_wait_first_exception_in_wait) {
    run([] {
        TimePoint begin = now();
        auto a = sleeper(10s);
        auto b = failing_sleeper(10ms);
        auto [done, pending] = weft::wait({b, a}, FIRST_EXCEPTION);
        EXPECT_EQ(done, Tasks{b});
        EXPECT_EQ(pending, Tasks{a});
        EXPECT_EQ(now() - begin, 10ms);
        EXPECT_EQ(text_of(b.exception()), "division by zero");
        sleep_it_out(a, b);
    });
}

TEST_P(BaseTaskTests, test_wait_with_exception) {
    run([] {
        TimePoint begin = now();
        auto a = sleeper(100ms);
        auto b = failing_sleeper(150ms);
        for (int i = 0; i < 2; ++i) {
            auto [done, pending] = weft::wait({b, a});
            EXPECT_EQ(done.size(), 2U);
            EXPECT_TRUE(pending.empty());
            auto failed = [](const Task<void>& task) { return task.exception() != nullptr; };
            EXPECT_EQ(std::count_if(done.begin(), done.end(), failed), 1);
            EXPECT_EQ(now() - begin, 150ms);
        }
    });
}

TEST_P(BaseTaskTests, test_wait_with_timeout) {
    run([] {
        TimePoint begin = now();
        auto a = sleeper(100ms);
        auto b = sleeper(150ms);
        auto [done, pending] = weft::wait({b, a}, {.timeout = 110ms});
        EXPECT_EQ(done, Tasks{a});
        EXPECT_EQ(pending, Tasks{b});
        EXPECT_EQ(now() - begin, 110ms);
        EXPECT_EQ(b.cancelling(), 0);
        sleep_it_out(a, b);
    });
}

TEST_P(BaseTaskTests_in_order, test_wait_concurrent_complete) {
    run([] {
        TimePoint begin = now();
        auto a = sleeper(100ms);
        auto b = sleeper(150ms);
        auto task = create_task([&] { return weft::wait({b, a}, {.timeout = 100ms}); });
        auto [done, pending] = await(task);
        EXPECT_EQ(done, Tasks{a}) << "it ends as time is up";
        EXPECT_EQ(pending, Tasks{b});
        EXPECT_EQ(now() - begin, 100ms);
        sleep_it_out(a, b);
    });
}

TEST_P(BaseTaskTests, test_wait_with_iterator_of_tasks) {
    run([] {
        TimePoint begin = now();
        Tasks tasks{sleeper(150ms), sleeper(100ms)};
        auto task = create_task([&] {
            auto [done, pending] = weft::wait(std::ranges::subrange(tasks.begin(), tasks.end()));
            EXPECT_EQ(done, tasks);
            EXPECT_TRUE(pending.empty());
            return 42;
        });
        EXPECT_EQ(await(task), 42);
        EXPECT_EQ(now() - begin, 150ms);
    });
}

TEST_P(BaseTaskTests, test_wait_generator) {
    run([] {
        int made = 0;
        auto tasks = std::views::iota(0, 10) | std::views::transform([&](int i) {
                         ++made;
                         return create_task([i] { return i; });
                     });
        auto [done, pending] = weft::wait(tasks, ALL_COMPLETED);
        EXPECT_EQ(made, 10);
        ASSERT_EQ(done.size(), 10U);
        EXPECT_TRUE(pending.empty());
        for (int i = 0; i < 10; ++i) EXPECT_EQ(done[static_cast<std::size_t>(i)].result(), i);
    });
}

TEST_P(BaseTaskTests, test_yield_wait_does_not_shield_cancel) {
    run([] {
        int proof = 0;
        Future<void> waiter;
        auto outer = create_task([&] {
            weft::wait({create_task([&] {
                await(waiter);
                proof += 1;
            })});
            proof += 100;
        });
        settle();
        outer.cancel();
        EXPECT_THROW(await(outer), CancelledError);
        EXPECT_FALSE(waiter.cancelled());
        waiter.set_result();
        settle();
        EXPECT_EQ(proof, 1);
    });
}

template <class A>
concept CanWait = requires(A&& a) { weft::wait(std::forward<A>(a)); };

TEST_P(BaseTaskTests, test_wait_invalid_args) {
    static_assert(CanWait<std::vector<Future<int>>&>);
    static_assert(!CanWait<Future<int>&>);
    static_assert(!CanWait<Coroutine<int>>);
    run([] {
        EXPECT_THROW(weft::wait(std::vector<Future<int>>()), std::invalid_argument);
        EXPECT_THROW(weft::wait(std::vector<AnyTask>()), std::invalid_argument);
    });
}

// --- as_completed -------------------------------------------------------------------------------------------------

/// Coroutine objects of function, called with each of the values.
template <class F, class T>
auto coroutines(const F& function, std::initializer_list<T> values) {
    std::vector<decltype(function(*values.begin()))> made;
    for (const T& value : values) made.push_back(function(value));
    return made;
}

/// What they give, in the order in which they end.
template <class... A>
auto values_of(A&&... arguments) {
    std::vector<int> values;
    for (auto&& task : weft::as_completed(std::forward<A>(arguments)...))
        values.push_back(await(task));
    return values;
}

/// Sleeps so many milliseconds, and gives the number.
const auto kSleeps = weft::async([](int ms) {
    weft::sleep(std::chrono::milliseconds(ms));
    return ms;
});

TEST_P(BaseTaskTests, test_as_completed) {
    run([] {
        TimePoint begin = now();
        EXPECT_EQ(values_of(coroutines(kSleeps, {11, 150, 10})), (std::vector{10, 11, 150}));
        EXPECT_EQ(now() - begin, 150ms);
        auto equal = values_of(coroutines(kSleeps, {10, 150, 10}));
        EXPECT_EQ(equal, (std::vector{10, 10, 150}));
        EXPECT_EQ(now() - begin, 300ms);
    });
}

TEST_P(BaseTaskTests, test_as_completed_same_tasks_in_as_out) {
    run([] {
        for (auto&& out : weft::as_completed(coroutines(kSleeps, {0, 1, 2, 3})))
            static_assert(std::is_same_v<std::remove_cvref_t<decltype(out)>, Task<int>>);

        std::vector<Task<int>> in;
        for (int i = 0; i < 4; ++i) in.push_back(create_task(kSleeps(i)));
        std::vector<Task<int>> out;
        for (auto&& task : weft::as_completed(in)) out.push_back(task);
        EXPECT_TRUE(std::is_permutation(out.begin(), out.end(), in.begin(), in.end()));

        std::vector<Future<int>> futures(3);
        for (auto& future : futures) future.set_result(1);
        std::vector<Future<int>> done;
        for (auto&& future : weft::as_completed(futures)) done.push_back(future);
        EXPECT_TRUE(std::is_permutation(done.begin(), done.end(), futures.begin(), futures.end()));
    });
}

TEST_P(BaseTaskTests, test_as_completed_with_timeout) {
    run([] {
        TimePoint begin = now();
        auto a = create_task(kSleeps(100));
        auto b = create_task(kSleeps(150));
        std::vector<int> values;
        bool timed_out = false;
        try {
            for (auto&& task : weft::as_completed(std::vector{a, b}, {.timeout = 120ms}))
                values.push_back(await(task));
        } catch (const TimeoutError&) {
            timed_out = true;
        }
        EXPECT_TRUE(timed_out);
        EXPECT_EQ(values, std::vector{100});
        EXPECT_EQ(now() - begin, 120ms);
        EXPECT_FALSE(b.done());
        EXPECT_EQ(b.cancelling(), 0);
        sleep_it_out(a, b);
    });
}

TEST_P(BaseTaskTests, test_as_completed_with_unused_timeout) {
    run([] {
        std::vector<int> values;
        for (auto&& task : weft::as_completed(coroutines(kSleeps, {10}), {.timeout = 1s}))
            values.push_back(await(task));
        EXPECT_EQ(values, std::vector{10});
        weft::sleep(2s);  // the limit was for the loop alone
    });
}

TEST_P(BaseTaskTests, test_as_completed_resume_iterator) {
    run([] {
        auto completed = weft::as_completed(coroutines(kSleeps, {0, 1, 2, 3}));
        std::set<int> values;
        for (auto&& task : completed) {
            values.insert(await(task));
            if (values.size() == 2) break;
        }
        EXPECT_EQ(values.size(), 2U);
        for (auto&& task : completed) values.insert(await(task));
        EXPECT_EQ(values, (std::set{0, 1, 2, 3}));
    });
}

TEST_P(BaseTaskTests, test_as_completed_concurrent) {
    run([] {
        TimePoint begin = now();
        std::vector<Task<int>> tasks;
        for (auto&& task : weft::as_completed(coroutines(kSleeps, {50, 50}))) tasks.push_back(task);
        ASSERT_EQ(tasks.size(), 2U);
        EXPECT_NE(tasks[0], tasks[1]);
        auto [done, pending] = weft::wait(tasks);
        EXPECT_EQ(done, tasks);
        EXPECT_TRUE(pending.empty());
        EXPECT_EQ(done[0].result() + done[1].result(), 100);
        EXPECT_EQ(now() - begin, 50ms) << "they slept side by side";
    });
}

TEST_P(BaseTaskTests, test_as_completed_duplicate_coroutines) {
    run([] {
        auto ham = create_task(kSleeps(1));
        auto spam = create_task(kSleeps(2));
        EXPECT_EQ(values_of(std::vector{ham, ham, spam}), (std::vector{1, 2}));
    });
}

TEST_P(BaseTaskTests, test_as_completed_coroutine_without_loop) {
    auto given = coroutines(kSleeps, {42});
    EXPECT_THROW(weft::as_completed(std::move(given)), UsageError);
    ASSERT_EQ(given.size(), 1U);
    EXPECT_TRUE(given[0]) << "it can still be awaited";
    given[0].close();
}

TEST_P(BaseTaskTests, test_as_completed_coroutine_use_running_loop) {
    run([] { EXPECT_EQ(values_of(coroutines(kSleeps, {42})), std::vector{42}); });
}

template <class A>
concept CanComplete = requires(A&& a) { weft::as_completed(std::forward<A>(a)); };

TEST_P(BaseTaskTests, test_as_completed_invalid_args) {
    static_assert(CanComplete<std::vector<Future<int>>&>);
    static_assert(CanComplete<std::vector<Coroutine<int>>>);
    static_assert(!CanComplete<Future<int>&>);
    static_assert(!CanComplete<Coroutine<int>>);
    run([] {
        // No items, though, are no error.
        for (auto&& task : weft::as_completed(std::vector<Future<int>>())) {
            ADD_FAILURE();
            await(task);
        }
    });
}

}  // namespace

}  // namespace weft::test
