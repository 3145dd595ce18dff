// test_eager_task_factory.py: tasks that start at once. Here each task says so by itself, with {.eager = true}.
#include <memory>
#include <set>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_eager_task_factory, EagerTaskFactoryLoopTests);
WEFT_CONFORMS(test_eager_task_factory, CEagerTaskFactoryLoopTests);
WEFT_CONFORMS(test_eager_task_factory, BaseTaskCountingTests);

template <class F>
auto create_eagerly(F&& f) {
    return create_task(std::forward<F>(f), {.eager = true});
}

bool is_listed(const AnyTask& task, const std::vector<AnyTask>& tasks) {
    return std::find(tasks.begin(), tasks.end(), task) != tasks.end();
}

// --- completion ---------------------------------------------------------------------------------------------------

TEST_P(EagerTaskFactoryLoopTests, test_eager_task_factory_set) {
    run([] {
        bool begun = false;
        auto eager = create_eagerly([&] { begun = true; });
        EXPECT_TRUE(begun);
        static_assert(std::is_same_v<decltype(eager), Task<void>>, "a task like others");
        await(eager);
    });
}

TEST_P(EagerTaskFactoryLoopTests, test_await_future_during_eager_step) {
    run([] {
        Future<std::string> future;
        auto setter = create_eagerly([&] { future.set_result("my message"); });
        EXPECT_TRUE(setter.done());
        EXPECT_EQ(await(future), "my message");
    });
}

TEST_P(EagerTaskFactoryLoopTests, test_eager_completion) {
    run([] {
        auto task = create_eagerly(weft::coroutine([] { return std::string("hello"); }));
        EXPECT_TRUE(task.done());
        EXPECT_EQ(await(task), "hello");
    });
}

TEST_P(EagerTaskFactoryLoopTests, test_block_after_eager_step) {
    run([] {
        auto task = create_eagerly([] {
            weft::sleep(100ms);
            return std::string("finished");
        });
        EXPECT_FALSE(task.done());
        EXPECT_EQ(await(task), "finished");
        EXPECT_TRUE(task.done());
    });
}

// --- cancels ------------------------------------------------------------------------------------------------------

TEST_P(EagerTaskFactoryLoopTests, test_cancellation_after_eager_completion) {
    run([] {
        auto task = create_eagerly([] { return std::string("finished"); });
        EXPECT_FALSE(task.cancel());
        EXPECT_EQ(await(task), "finished");
        EXPECT_FALSE(task.cancelled());
    });
}

TEST_P(EagerTaskFactoryLoopTests, test_cancellation_after_eager_step_blocks) {
    run([] {
        auto task = create_eagerly([] { weft::sleep(100ms); });
        EXPECT_TRUE(task.cancel("cancellation message"));
        EXPECT_GT(task.cancelling(), 0);
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "cancellation message");
    });
}

// --- what it sees -------------------------------------------------------------------------------------------------

TEST_P(EagerTaskFactoryLoopTests, test_current_task) {
    run([] {
        AnyTask creator = current_task();
        AnyTask seen;
        auto task = create_eagerly([&] {
            seen = current_task();
            weft::sleep(100ms);
            EXPECT_EQ(current_task(), seen);
        });
        EXPECT_EQ(seen, AnyTask(task));
        EXPECT_EQ(current_task(), creator);
        await(task);
    });
}

TEST_P(EagerTaskFactoryLoopTests, test_all_tasks_with_eager_completion) {
    run([] {
        std::vector<AnyTask> seen;
        auto task = create_eagerly([&] { seen = all_tasks(); });
        EXPECT_TRUE(is_listed(task, seen));
        EXPECT_FALSE(is_listed(task, all_tasks()));
    });
}

TEST_P(EagerTaskFactoryLoopTests, test_all_tasks_with_blocking) {
    run([] {
        std::vector<AnyTask> seen;
        Future<void> go;
        auto task = create_eagerly([&] {
            seen = all_tasks();
            await(go);
        });
        EXPECT_TRUE(is_listed(task, seen));
        EXPECT_TRUE(is_listed(task, all_tasks()));
        go.set_result();
        await(task);
        EXPECT_FALSE(is_listed(task, all_tasks()));
    });
}

TEST_P(EagerTaskFactoryLoopTests, test_context_vars) {
    static ContextVar<int> number{"number", 0};
    run([] {
        int steps = 0;
        number.set(1);
        auto task = create_eagerly([&] {
            EXPECT_EQ(number.get(), 1);
            number.set(2);
            EXPECT_EQ(number.get(), 2);
            ++steps;
            weft::sleep(100ms);
            EXPECT_EQ(number.get(), 2);
            number.set(3);
            EXPECT_EQ(number.get(), 3);
            ++steps;
        });
        EXPECT_EQ(steps, 1);
        EXPECT_EQ(number.get(), 1);
        await(task);
        EXPECT_EQ(steps, 2);
        EXPECT_EQ(number.get(), 1);
    });
}

// A task that is done has let go of its function, whoever still has the task.
TEST_P(CEagerTaskFactoryLoopTests, test_issue122332) {
    run([] {
        auto captured = std::make_shared<int>();
        auto task = create_eagerly([captured] { return captured.use_count(); });
        EXPECT_GT(await(task), 1);
        EXPECT_EQ(captured.use_count(), 1);
    });
}

// --- counting -----------------------------------------------------------------------------------------------------

/// The tasks in which it was called.
class Census {
public:
    void note() {
        std::lock_guard guard(mutex_);
        AnyTask task = current_task();
        if (seen_.insert(task.core()).second) kept_.push_back(task);
    }
    std::size_t size() const { return kept_.size(); }

private:
    std::mutex mutex_;
    std::set<const detail::Core*> seen_;
    std::vector<AnyTask> kept_;  // so that no address is used twice
};

Coroutine<int> chain(Census& census, int depth) {
    return weft::coroutine([&census, depth] {
        census.note();
        return depth == 0 ? 0 : 1 + await(chain(census, depth - 1));
    });
}

void groups_in_groups(Census& census, int width, int depth, bool eager) {
    census.note();
    if (depth == 0) return;
    task_group([&](TaskGroup& group) {
        for (int i = 0; i < width; ++i) {
            auto below = [&, width, depth, eager] {
                groups_in_groups(census, width, depth - 1, eager);
            };
            auto task = group.create_task(below, {.eager = eager});
            if (eager) {
                EXPECT_TRUE(task.done());
            }
        }
    });
}

void gathers_in_gathers(Census& census, int width, int depth, bool eager) {
    census.note();
    if (depth == 0) return;
    std::vector<Task<void>> tasks;
    for (int i = 0; i < width; ++i) {
        auto below = [&, width, depth, eager] {
            gathers_in_gathers(census, width, depth - 1, eager);
        };
        tasks.push_back(create_task(below, {.eager = eager}));
        if (eager) {
            EXPECT_TRUE(tasks.back().done());
        }
    }
    gather(tasks);
}

constexpr std::size_t kTasks = 1 + 5 + 25 + 125 + 625;

/// Eager ones that never wait are never scheduled: where there is one worker, nothing else has a turn in between.
template <class F>
void expect_to_run_at_once(bool alone, F&& f) {
    std::atomic<bool> bystander_ran = false;
    auto bystander = create_task([&] { bystander_ran = true; });
    f();
    if (alone) {
        EXPECT_FALSE(bystander_ran);
    }
    await(bystander);
}

// Awaiting a coroutine makes no task.
TEST_P(BaseTaskCountingTests, test_awaitables_chain) {
    run([&] {
        Census census;
        expect_to_run_at_once(alone(), [&] { EXPECT_EQ(await(chain(census, 100)), 100); });
        EXPECT_EQ(census.size(), 1U);
    });
}

TEST_P(BaseTaskCountingTests, test_recursive_taskgroups) {
    run([&] {
        Census census;
        groups_in_groups(census, 5, 4, false);
        EXPECT_EQ(census.size(), kTasks);
        Census at_once;
        expect_to_run_at_once(alone(), [&] { groups_in_groups(at_once, 5, 4, true); });
        EXPECT_EQ(at_once.size(), kTasks);
    });
}

TEST_P(BaseTaskCountingTests, test_recursive_gather) {
    run([&] {
        Census census;
        gathers_in_gathers(census, 5, 4, false);
        EXPECT_EQ(census.size(), kTasks);
        Census at_once;
        expect_to_run_at_once(alone(), [&] { gathers_in_gathers(at_once, 5, 4, true); });
        EXPECT_EQ(at_once.size(), kTasks);
    });
}

}  // namespace

}  // namespace weft::test
