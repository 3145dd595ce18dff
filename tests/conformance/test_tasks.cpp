// test_tasks.py, BaseTaskTests: making tasks, awaiting them, their names, who runs.
#include "conformance/test_tasks.hpp"

#include <set>

namespace weft::test {

INSTANTIATE_TEST_SUITE_P(test_tasks, BaseTaskTests, ::testing::ValuesIn(kInVirtualTime),
                         name_of_where);

namespace {

template <class A>
concept CanStart = requires(A&& a) { create_task(std::forward<A>(a)); };

template <class T, class Name>
concept CanBeNamed = requires(T task, Name name) { task.set_name(name); };

template <class T, class V>
concept CanBeSet = requires(T handle, V value) { handle.set_result(value); } ||
                   requires(T handle, V) { handle.set_exception(std::exception_ptr()); };

template <class F>
inline constexpr bool kIsCoroutineFunction = false;
template <class F>
    requires requires { typename std::invoke_result_t<F>::result_type; }
inline constexpr bool kIsCoroutineFunction<F> =
    std::is_same_v<std::invoke_result_t<F>,
                   Coroutine<typename std::invoke_result_t<F>::result_type>>;

// --- making -------------------------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_generic_alias) {
    static_assert(std::is_same_v<Task<std::string>::result_type, std::string>);
    run([] {
        Task<std::string> task = create_task([] { return std::string("text"); });
        EXPECT_EQ(await(task), "text");
    });
}

TEST_P(BaseTaskTests, test_task_class) {
    run([] {
        Runtime& here = current_runtime();
        auto task = create_task(weft::coroutine([&] {
            EXPECT_EQ(&current_runtime(), &here);
            return std::string("ok");
        }));
        await(task);
        EXPECT_TRUE(task.done());
        EXPECT_EQ(task.result(), "ok");
    });
}

TEST_P(BaseTaskTests, test_task_basics) {
    run([] {
        auto forty = weft::async([] { return 40; });
        auto two = weft::async([] { return 2; });
        auto sum = weft::async([&] { return await(forty()) + await(two()); });
        EXPECT_EQ(await(create_task(sum())), 42);
    });
}

TEST_P(BaseTaskTests, test_bare_create_task) {
    run([] {
        auto task = create_task(weft::coroutine([] { return 1; }));
        static_assert(std::is_same_v<decltype(task), Task<int>>);
        EXPECT_EQ(await(task), 1);
    });
}

TEST_P(BaseTaskTests, test_bare_create_named_task) {
    run([] {
        auto task = create_task(weft::coroutine([] {}), {.name = "quiet"});
        EXPECT_EQ(task.get_name(), "quiet");
        await(task);
    });
}

TEST_P(BaseTaskTests, test_create_task_with_noncoroutine) {
    static_assert(!CanStart<int>);
    static_assert(!CanStart<int&>);
    static_assert(CanStart<int (*)()>);
    run([] {
        // What gives a number is something to run, a number is not.
        EXPECT_EQ(await(create_task(+[] { return 123; })), 123);
    });
}

TEST_P(BaseTaskTests, test_create_task_with_async_function) {
    run([] {
        auto function = weft::async([] {});
        for (int i = 0; i < 2; ++i) {
            auto task = create_task(function());
            static_assert(std::is_same_v<decltype(task), Task<void>>);
            await(task);
            EXPECT_TRUE(task.done());
        }
    });
}

TEST_P(BaseTaskTests, test_create_task_with_asynclike_function) {
    struct LikeACoroutine {
        int operator()() { return 42; }
    };
    run([] {
        for (int i = 0; i < 2; ++i) EXPECT_EQ(await(create_task(LikeACoroutine())), 42);
    });
}

// --- whatever can be awaited --------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_ensure_future_coroutine) {
    auto work = weft::async([] { return std::string("ok"); });
    auto coroutine = work();
    EXPECT_NE(what_of<UsageError>([&] { create_task(std::move(coroutine)); }).find("no running"),
              std::string::npos);
    EXPECT_TRUE(coroutine) << "it can still be awaited";
    coroutine.close();
    run([&] {
        auto make = weft::async([&] { return create_task(work()); });
        Task<std::string> task = await(make());
        await(task);
        EXPECT_TRUE(task.done());
        EXPECT_EQ(task.result(), "ok");
    });
}

TEST_P(BaseTaskTests, test_ensure_future_future) {
    run([] {
        Future<std::string> done;
        done.set_result("ko");
        EXPECT_EQ(gather(done), std::tuple(std::string("ko")));
        EXPECT_EQ(shield(done), "ko");

        Future<std::string> future;
        auto waiter = create_task([&] { return gather(future, future); });
        settle();
        EXPECT_EQ(all_tasks().size(), 2U) << "a future needs no task";
        waiter.cancel();
        EXPECT_THROW(await(waiter), CancelledError);
        EXPECT_TRUE(future.cancelled()) << "it is the future itself that was waited for";
    });
}

TEST_P(BaseTaskTests, test_ensure_future_task) {
    run([] {
        auto done = create_task([] { return std::string("ok"); });
        await(done);
        EXPECT_EQ(gather(done), std::tuple(std::string("ok")));
        EXPECT_EQ(shield(done), "ok");

        auto task = create_task([] { wait_for_ever(); });
        auto waiter = create_task([&] { gather(task, task); });
        settle();
        EXPECT_EQ(all_tasks().size(), 3U) << "a task needs no other";
        waiter.cancel();
        EXPECT_THROW(await(waiter), CancelledError);
        EXPECT_TRUE(task.cancelled()) << "it is the task itself that was waited for";
    });
}

TEST_P(BaseTaskTests, test_ensure_future_awaitable) {
    struct Awaitable {
        Coroutine<std::string> coroutine;
        std::string operator()() { return await(coroutine); }
    };
    run([] {
        auto work = weft::async([] { return std::string("ok"); });
        EXPECT_EQ(await(create_task(Awaitable{work()})), "ok");
    });
}

TEST_P(BaseTaskTests, test_ensure_future_task_awaitable) {
    struct Awaitable {
        std::string operator()() const {
            weft::sleep(0s);
            return "ok";
        }
    };
    run([] {
        auto task = create_task(Awaitable());
        await(task);
        EXPECT_TRUE(task.done());
        EXPECT_EQ(task.result(), "ok");
    });
}

TEST_P(BaseTaskTests, test_ensure_future_neither) {
    static_assert(!CanStart<const char(&)[3]>);
    static_assert(!CanStart<std::string>);
    run([] { EXPECT_EQ(await(create_task([text = std::string("ok")] { return text; })), "ok"); });
}

TEST_P(BaseTaskTests, test_task_awaits_on_itself) {
    run([] {
        Task<void> task;
        task = create_task([&] { await(task); }, {.name = "narcissus"});
        std::string what = what_of<UsageError>([&] { await(task); });
        EXPECT_NE(what.find("'narcissus'"), std::string::npos) << what;
    });
}

// --- names --------------------------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_task_repr_autogenerated) {
    run([] {
        auto number_in = [](const std::string& name) {
            EXPECT_EQ(name.rfind("Task-", 0), 0U) << name;
            std::size_t end = 0;
            int number = std::stoi(name.substr(5), &end);
            EXPECT_EQ(end + 5, name.size()) << name;
            return number;
        };
        auto first = create_task([] { return 123; });
        auto second = create_task([] { return 123; });
        int number = number_in(first.get_name());
        EXPECT_LT(number, number_in(second.get_name()));
        EXPECT_EQ(number, number_in(first.get_name())) << "it stays the same";
        await(first);
        await(second);
    });
}

TEST_P(BaseTaskTests, test_task_set_name_pylong) {
    run([] {
        auto task = create_task([] { return 123; }, {.name = "987654321"});
        EXPECT_EQ(task.get_name(), "987654321") << "not taken for the number of a task";
        task.set_name("123456789");
        EXPECT_EQ(task.get_name(), "123456789");
        await(task);
    });
}

TEST_P(BaseTaskTests, test_task_repr_name_not_str) {
    static_assert(CanBeNamed<Task<int>, std::string>);
    static_assert(!CanBeNamed<Task<int>, std::set<int>>);
    static_assert(!CanBeNamed<Task<int>, int>);
    run([] {
        auto task = create_task([] { return 123; });
        task.set_name("{6}");
        EXPECT_EQ(task.get_name(), "{6}");
        await(task);
    });
}

// --- results ------------------------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_task_set_methods) {
    static_assert(CanBeSet<Future<std::string>, std::string>);
    static_assert(!CanBeSet<Task<std::string>, std::string>);
    run([] {
        auto task = create_task([] { return std::string("ko"); });
        EXPECT_EQ(await(task), "ko");
    });
}

TEST_P(BaseTaskTests, test_step_result_future) {
    run([] {
        Future<std::string> future;
        const std::string* seen = nullptr;
        auto task = create_task([&] { seen = &await(future); });
        settle();
        EXPECT_FALSE(task.done());
        future.set_result("value");
        settle();
        EXPECT_TRUE(task.done());
        EXPECT_EQ(seen, &future.result()) << "the very object";
    });
}

TEST_P(BaseTaskTests, test_iscoroutinefunction) {
    auto plain = [] {};
    auto gives_a_future = [] { return Future<int>(); };
    auto function = weft::async([] {});
    auto gives_a_coroutine = [] { return weft::coroutine([] {}); };
    static_assert(!kIsCoroutineFunction<decltype(plain)>);
    static_assert(!kIsCoroutineFunction<decltype(gives_a_future)>);
    static_assert(kIsCoroutineFunction<decltype(function)>);
    static_assert(kIsCoroutineFunction<decltype(gives_a_coroutine)>);
    run([&] {
        await(function());
        await(gives_a_coroutine());
        plain();
        EXPECT_FALSE(gives_a_future().done());
    });
}

TEST_P(BaseTaskTests, test_coroutine_non_gen_function) {
    auto function = weft::async([] { return std::string("test"); });
    static_assert(kIsCoroutineFunction<decltype(function)>);
    run([&] {
        auto coroutine = function();
        static_assert(std::is_same_v<decltype(coroutine), Coroutine<std::string>>);
        EXPECT_EQ(await(coroutine), "test");
    });
}

TEST_P(BaseTaskTests, test_coroutine_non_gen_function_return_future) {
    run([] {
        Future<std::string> future;
        auto gives = create_task(weft::coroutine([&] { return future; }));
        auto sets = create_task(weft::coroutine([&] { future.set_result("test"); }));
        EXPECT_EQ(await(gives), future) << "what it gives is not awaited";
        await(sets);
        EXPECT_EQ(future.result(), "test");
    });
}

// --- who runs -----------------------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_current_task) {
    EXPECT_FALSE(current_task());
    run([] {
        Task<void> task;
        task = create_task([&] {
            EXPECT_EQ(current_task(), task);
            yield();
            EXPECT_EQ(current_task(), task);
        });
        EXPECT_NE(current_task(), task);
        await(task);
    });
    EXPECT_FALSE(current_task());
}

TEST_P(BaseTaskTests, test_current_task_with_interleaving_tasks) {
    EXPECT_FALSE(current_task());
    run([] {
        Future<bool> first;
        Future<bool> second;
        Task<void> one;
        Task<void> two;
        one = create_task([&] {
            EXPECT_EQ(current_task(), one);
            await(first);
            EXPECT_EQ(current_task(), one);
            second.set_result(true);
        });
        two = create_task([&] {
            EXPECT_EQ(current_task(), two);
            first.set_result(true);
            await(second);
            EXPECT_EQ(current_task(), two);
        });
        gather(one, two);
    });
    EXPECT_FALSE(current_task());
}

// --- errors that nobody reads -------------------------------------------------------------------------------------

TEST_P(BaseTaskTests, test_tb_logger_not_called_after_cancel) {
    // The fixture fails a test in which an error is reported.
    run([] {
        {
            auto task = create_task([] { throw std::invalid_argument("unread"); });
            weft::sleep(50ms);
            EXPECT_FALSE(task.cancel());
        }
        settle();
    });
}

TEST_P(BaseTaskTests, test_task_source_traceback) {
    ::testing::internal::CaptureStderr();
    unsigned line = 0;
    run_with({.workers = workers(), .strict = strict()}, [&] {
        line = std::source_location::current().line() + 1;
        auto task = create_task([] { throw std::runtime_error("unread"); });
        yield_until([&] { return task.done(); });
    });
    std::string said = ::testing::internal::GetCapturedStderr();
    std::string place = "test_tasks.cpp:" + std::to_string(line);
    EXPECT_NE(said.find(place), std::string::npos) << place << " is not in: " << said;
}

}  // namespace

}  // namespace weft::test
