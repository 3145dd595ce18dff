// test_free_threading.py, of CPython 3.14: what threads may do at the same time, each in its runtime or all in one.
#include <memory>
#include <set>
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS_ON_THREADS(test_free_threading, TestFreeThreading);

constexpr int kThreads = 10;

using Cores = std::set<const detail::Core*>;

Cores cores_of(const std::vector<AnyTask>& tasks) {
    Cores cores;
    for (const AnyTask& task : tasks) cores.insert(task.core());
    return cores;
}

template <class F>
void run_threads(F f) {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) threads.emplace_back(f);
    for (std::thread& thread : threads) thread.join();
}

TEST_P(TestFreeThreading_on_threads, test_all_tasks_race) {
    auto main = [] {
        constexpr std::size_t kTasks = 100;
        Event go_on;
        std::vector<Task<Runtime*>> tasks;
        task_group([&](TaskGroup& tg) {
            while (tasks.size() < kTasks)
                tasks.push_back(tg.create_task([&] {
                    go_on.wait();
                    return &current_runtime();
                }));
            std::vector<AnyTask> listed = all_tasks();
            EXPECT_EQ(listed.size(), kTasks + 1);
            for (const AnyTask& task : listed) EXPECT_FALSE(task.done());
            std::vector<AnyTask> expected(tasks.begin(), tasks.end());
            expected.push_back(current_task());
            EXPECT_EQ(cores_of(listed), cores_of(expected));
            go_on.set();
        });
        for (const auto& task : tasks) EXPECT_EQ(task.result(), &current_runtime());
    };
    run_threads([&] {
        Runner runner(options());
        runner.run(main);
    });
}

TEST_P(TestFreeThreading_on_threads, test_all_tasks_different_thread) {
    constexpr int kTasks = 300;
    std::mutex mutex;
    std::vector<AnyTask> known;
    Runtime* runtime = nullptr;
    Event started;
    Event checked;
    std::thread runner([&] {
        run([&] {
            runtime = &current_runtime();
            started.set();
            for (int i = 0; i < kTasks; ++i) {
                std::lock_guard guard(mutex);
                create_task(wait_for_ever);
                known = all_tasks();
            }
            checked.wait();
        });
    });
    started.wait();
    run_threads([&] {
        for (int i = 0; i < 20; ++i) {
            std::lock_guard guard(mutex);
            Cores listed = cores_of(runtime->all_tasks());
            for (const AnyTask& task : known) EXPECT_TRUE(listed.contains(task.core()));
        }
    });
    checked.set();
    runner.join();
    EXPECT_EQ(known.size(), kTasks + 1U);
}

TEST_P(TestFreeThreading_on_threads, test_task_different_thread_finalized) {
    AnyTask main;
    Task<std::shared_ptr<int>> task;
    std::weak_ptr<int> value;
    std::thread([&] {
        Runner runner(options());
        runner.run([&] {
            main = current_task();
            task = create_task([] { return std::make_shared<int>(7); });
            value = await(task);
        });
    }).join();
    EXPECT_TRUE(main.done());
    EXPECT_EQ(*task.result(), 7);
    main = {};
    task = {};
    EXPECT_TRUE(value.expired());
}

TEST_P(TestFreeThreading_on_threads, test_run_coroutine_threadsafe) {
    run([] {
        Runtime& runtime = current_runtime();
        std::atomic<int> results = 0;
        auto in_thread = [&] {
            auto future = runtime.submit([] {
                weft::yield();
                return 42;
            });
            EXPECT_EQ(future.result(), 42);
            ++results;
        };
        task_group([&](TaskGroup& tg) {
            for (int i = 0; i < kThreads; ++i) tg.create_task([&] { to_thread(in_thread); });
        });
        EXPECT_EQ(results, kThreads);
    });
}

TEST_P(TestFreeThreading_on_threads, test_run_coroutine_threadsafe_exception) {
    run([] {
        Runtime& runtime = current_runtime();
        auto in_thread = [&] {
            auto future = runtime.submit([] {
                weft::yield();
                throw std::out_of_range("in the task");
            });
            future.result();
        };
        std::vector<Task<void>> tasks;
        for (int i = 0; i < kThreads; ++i)
            tasks.push_back(create_task([&] { to_thread(in_thread); }));
        for (const auto& outcome : gather(return_exceptions, tasks))
            EXPECT_EQ(what_of<std::out_of_range>([&] { outcome.value(); }), "in the task");
    });
}

TEST_P(TestFreeThreading_on_threads, test_all_tasks_from_other_thread_includes_eager_tasks) {
    run([] {
        Runtime& runtime = current_runtime();
        Event go_on;
        std::vector<AnyTask> expected{current_task()};
        std::vector<Task<void>> waiting;
        for (int i = 0; i < kThreads; ++i)
            waiting.push_back(create_task([&] { go_on.wait(); }, {.eager = i % 2 == 0}));
        auto ended = create_task([] {}, {.eager = true});
        EXPECT_TRUE(ended.done());
        expected.insert(expected.end(), waiting.begin(), waiting.end());

        auto listed = to_thread([&] { return runtime.all_tasks(); });
        EXPECT_EQ(cores_of(listed), cores_of(expected));
        go_on.set();
        gather(waiting);
    });
}

}  // namespace

}  // namespace weft::test
