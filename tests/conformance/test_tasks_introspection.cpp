// test_tasks.py: which tasks there are and which one runs; what a task is not; work from other threads.
#include <memory>
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_tasks, BaseTaskIntrospectionTests);
WEFT_CONFORMS(test_tasks, BaseCurrentLoopTests);
WEFT_CONFORMS(test_tasks, SetMethodsTest);
WEFT_CONFORMS(test_tasks, CTask_CFuture_Tests);
WEFT_CONFORMS_ON_THREADS(test_tasks, RunCoroutineThreadsafeTests);

/// All tasks but this one.
std::vector<AnyTask> others() {
    std::vector<AnyTask> tasks = all_tasks();
    std::erase(tasks, current_task());
    return tasks;
}

// --- all_tasks, current_task --------------------------------------------------------------------------------------

TEST_P(BaseTaskIntrospectionTests, test__register_task_1) {
    run([] {
        EXPECT_TRUE(others().empty());
        auto task = create_task([] { wait_for_ever(); });
        EXPECT_EQ(others(), std::vector<AnyTask>{task});
        settle();
        EXPECT_EQ(others(), std::vector<AnyTask>{task});
        task.cancel();
        await_end(task);
    });
}

TEST_P(BaseTaskIntrospectionTests, test__register_task_3) {
    run([] {
        EXPECT_TRUE(others().empty());
        auto done = create_task([] {}, {.eager = true});
        EXPECT_TRUE(done.done());
        EXPECT_TRUE(others().empty());
    });
}

TEST_P(BaseTaskIntrospectionTests, test__unregister_task) {
    run([] {
        auto task = create_task([] { yield(); });
        EXPECT_EQ(others().size(), 1U);
        await(task);
        EXPECT_TRUE(others().empty());
    });
}

TEST_P(BaseTaskIntrospectionTests, test__enter_task) {
    EXPECT_FALSE(current_task());
    run([] {
        AnyTask main = current_task();
        EXPECT_TRUE(main);
        AnyTask inside;
        auto task = start([&] { inside = current_task(); });
        EXPECT_EQ(inside, task);
        EXPECT_EQ(current_task(), main) << "as before, where the other one ran on top";
    });
}

TEST_P(BaseTaskIntrospectionTests, test__leave_task) {
    run([] { EXPECT_TRUE(current_task()); });
    EXPECT_FALSE(current_task());
}

TEST_P(BaseCurrentLoopTests, test_current_task_no_running_loop) {
    EXPECT_FALSE(current_task());
    run([] { to_thread([] { EXPECT_FALSE(current_task()); }); });
}

TEST_P(BaseCurrentLoopTests, test_current_task_with_implicit_loop) {
    run([] {
        Task<void> task;
        task = create_task([&] {
            EXPECT_EQ(current_task(), task);
            weft::sleep(1ms);
            EXPECT_EQ(current_task(), task);
        });
        await(task);
    });
    EXPECT_FALSE(current_task());
}

// --- a task is set by nobody --------------------------------------------------------------------------------------

template <class To, class From>
inline constexpr bool kCanBeTakenFor =
    std::is_convertible_v<From, To> || std::is_constructible_v<To, From>;

template <class T>
concept CanTrySetResult = requires(T handle) { handle.try_set_result(1); };
template <class T>
concept CanTrySetException = requires(T handle) { handle.try_set_exception(std::exception_ptr()); };

TEST_P(SetMethodsTest, test_set_result_causes_invalid_state) {
    static_assert(!kCanBeTakenFor<Future<int>, Task<int>>);
    static_assert(!kCanBeTakenFor<Future<int>&, Task<int>&>);
    static_assert(CanTrySetResult<Future<int>> && !CanTrySetResult<Task<int>>);
    run([] {
        auto task = create_task([] {
            weft::sleep(100ms);
            return 10;
        });
        EXPECT_EQ(await(task), 10);
    });
}

TEST_P(SetMethodsTest, test_set_exception_causes_invalid_state) {
    static_assert(CanTrySetException<Future<int>> && !CanTrySetException<Task<int>>);
    run([] {
        struct Mine : std::exception {};
        auto task = create_task([]() -> int {
            weft::sleep(100ms);
            throw Mine();
        });
        EXPECT_THROW(await(task), Mine);
        EXPECT_FALSE(task.cancelled());
    });
}

TEST_P(CTask_CFuture_Tests, test_refleaks_in_task___init__) {
    run([] {
        auto counted = std::make_shared<int>();
        Task<void> task = create_task([] {});
        await(task);
        for (int i = 0; i < 100; ++i) {
            task = create_task([counted] {});
            await(task);
        }
        EXPECT_EQ(counted.use_count(), 1);
        EXPECT_EQ(all_tasks().size(), 1U);
    });
}

// --- work from other threads --------------------------------------------------------------------------------------

struct Sum {
    bool fails = false;
    bool cancels = false;
    int operator()() const {
        yield();
        if (fails) throw std::runtime_error("no sum");
        if (cancels) {
            current_task().cancel("by itself");
            yield();
        }
        return 40 + 2;
    }
};

TEST_P(RunCoroutineThreadsafeTests_on_threads, test_run_coroutine_threadsafe) {
    run([] {
        Runtime& runtime = current_runtime();
        EXPECT_EQ(to_thread([&] { return int(runtime.submit(Sum()).result()); }), 42);
    });
}

TEST_P(RunCoroutineThreadsafeTests_on_threads, test_run_coroutine_threadsafe_with_exception) {
    run([] {
        Runtime& runtime = current_runtime();
        auto call = [&] { runtime.submit(Sum{.fails = true}).result(); };
        EXPECT_EQ(what_of<std::runtime_error>([&] { to_thread(call); }), "no sum");
    });
}

TEST_P(RunCoroutineThreadsafeTests_on_threads, test_run_coroutine_threadsafe_with_timeout) {
    run([] {
        Runtime& runtime = current_runtime();
        auto call = [&] {
            auto future = runtime.submit([] { wait_for_ever(); });
            try {
                future.result(0s);
            } catch (const TimeoutError&) {
                EXPECT_FALSE(future.done()) << "the work goes on";
                EXPECT_TRUE(future.cancel());
                throw;
            }
        };
        EXPECT_THROW(to_thread(call), TimeoutError);
        yield_until([] { return others().empty(); });
    });
}

TEST_P(RunCoroutineThreadsafeTests_on_threads, test_run_coroutine_threadsafe_task_cancelled) {
    run([] {
        Runtime& runtime = current_runtime();
        auto call = [&] { runtime.submit(Sum{.cancels = true}).result(); };
        EXPECT_EQ(cancel_message_of([&] { to_thread(call); }), "by itself");
    });
}

}  // namespace

}  // namespace weft::test
