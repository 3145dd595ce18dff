// Where there is no memory for one more stack: who it concerns hears of it, and nothing else is lost.

#include <weft/weft.hpp>

#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "core_support.hpp"
#include "support/limit.hpp"

#ifdef WEFT_TEST_CAN_LIMIT_MEMORY

namespace weft::test {

namespace {

class MemoryTest : public Everywhere {};
WEFT_TEST_ON_THREADS(MemoryTest);

TEST_P(MemoryTest, RunThrowsWhereItsWorkersGetNoStack) {
    RunOptions options{.workers = workers(), .strict = strict()};
    options.stack_size = new_stack_size();
    {
        NoMoreStacks none;
        EXPECT_THROW(weft::run([] {}, options), std::bad_alloc);
    }
    EXPECT_EQ(weft::run([] { return 1; }, options), 1);
}

TEST_P(MemoryTest, RunThrowsWhereMainGetsNoStack) {
    RunOptions options{.workers = workers(), .strict = strict()};
    weft::run([] {}, options);  // so that there are stacks for the workers
    options.main_stack_size = std::size_t{16} << 20;
    NoMoreStacks none;
    EXPECT_THROW(weft::run([] {}, options), std::bad_alloc);
}

// Those that sleep have all the stacks, and are to be ended.
TEST_P(MemoryTest, ARuntimeEndsThoughItsTasksHaveAllTheStacks) {
    constexpr int kTasks = 300;
    RunOptions options = this->options({.stack_size = new_stack_size()});
    options.exception_handler = [](const ExceptionContext&) {};  // of those that got none
    std::atomic<int> ended = 0;
    auto sleep_until_the_end = [&] {
        for (int i = 0; i < kTasks; ++i)
            create_task([&] {
                try {
                    weft::sleep(1h);
                } catch (const CancelledError&) {
                    ++ended;
                    throw;
                }
            });
        weft::sleep(50ms);
    };
    std::optional<NoMoreStacks> none;
    {
        Runner runner(options);
        runner.run([] {});  // so that main has its stack
        none.emplace();
        runner.run(sleep_until_the_end);
    }
    EXPECT_GT(ended.exchange(0), 0);
    none.reset();
    options.stack_size = new_stack_size();
    {
        Runtime runtime(options);
        none.emplace();
        runtime.submit(sleep_until_the_end).result();
    }
    EXPECT_GT(ended, 0);
}

// What was to be told by a callback of the engine's own had the last hold of the task, and so destroys its result: outside
// of a task, since there is no stack for it to wait on.
TEST_P(MemoryTest, AResultIsDestroyedWhereItsTaskIsToldOfWithoutAStack) {
    if (!strict()) GTEST_SKIP() << "a group is told at once";
    struct Waits {
        std::atomic<int>* destroyed = nullptr;
        explicit Waits(std::atomic<int>* count) : destroyed(count) {}
        Waits(Waits&& other) noexcept : destroyed(std::exchange(other.destroyed, nullptr)) {}
        ~Waits() {
            if (destroyed == nullptr) return;
            if (lowlevel::in_task()) weft::sleep(1ms);
            ++*destroyed;
        }
    };
    std::atomic<int> destroyed = 0;
    RunOptions options{.stack_size = new_stack_size(),
                       .exception_handler = [](const ExceptionContext&) {}};
    run(options, [&] {
        NoMoreStacks none;
        Event over;
        std::vector<Task<void>> waiters;
        do {
            waiters.push_back(create_task([&] { over.wait(); }));
            settle();
        } while (!waiters.back().done());
        // One stack is free again: for the child, and after it for the task that it makes, which runs before the callback.
        waiters.front().cancel();
        EXPECT_THROW(await(waiters.front()), CancelledError);
        task_group([&](TaskGroup& tg) {
            tg.create_task([&] {
                waiters.push_back(create_task([&] { over.wait(); }));
                return Waits(&destroyed);
            });
        });
        over.set();
        for (Task<void>& waiter : waiters) gather(return_exceptions, waiter);
    });
    EXPECT_EQ(destroyed, 1);
}

// The tasks that could not begin end where each next one could not either: what tells of their end must not need a stack.
TEST_P(MemoryTest, TasksThatGetNoStackFailAndOthersHearOfIt) {
    constexpr int kTasks = 300;
    run({.stack_size = new_stack_size()}, [&] {
        std::vector<Task<int>> tasks;
        std::vector<Outcome<int>> results;
        {
            NoMoreStacks none;
            for (int i = 0; i < kTasks; ++i)
                tasks.push_back(create_task([] {
                    weft::sleep(50ms);
                    return 1;
                }));
            results = gather(return_exceptions, tasks);
        }
        int failed = 0;
        for (const Outcome<int>& result : results) failed += result.error() != nullptr ? 1 : 0;
        EXPECT_GT(failed, 0);
        EXPECT_LT(failed, kTasks);
    });
}

TEST_P(MemoryTest, ATaskGroupWhoseChildGetsNoStackEndsWithThat) {
    constexpr int kTasks = 300;
    run({.stack_size = new_stack_size()}, [&] {
        NoMoreStacks none;
        std::atomic<int> ended = 0;
        try {
            task_group([&](TaskGroup& tg) {
                for (int i = 0; i < kTasks; ++i)
                    tg.create_task([&] {
                        try {
                            weft::sleep(1h);
                        } catch (const CancelledError&) {
                            ++ended;
                            throw;
                        }
                    });
            });
            ADD_FAILURE() << "the group has not failed";
        } catch (const ExceptionGroup& group) {
            for (const std::exception_ptr& error : group.exceptions())
                EXPECT_THROW(std::rethrow_exception(error), std::bad_alloc);
        }
        EXPECT_GT(ended, 0);
    });
}

}  // namespace

}  // namespace weft::test

#endif
