// Where there is no memory for one more stack: who it concerns hears of it, and nothing else is lost.

#include <weft/weft.hpp>

#include <new>
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
