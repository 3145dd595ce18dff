// RunOptions and the environment that sets their defaults.
#include <cstring>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

unsigned workers_of_a_run(const RunOptions& options = {}) {
    return weft::run([] { return current_runtime().workers(); }, options);
}

class RunOptionsTest : public WithWatchdog {
private:
    Environment workers_{"WEFT_WORKERS", nullptr};
    Environment strict_{"WEFT_STRICT", nullptr};
    Environment debug_{"WEFT_DEBUG", nullptr};
    Environment seed_{"WEFT_SEED", nullptr};
};

// --- what cannot be -----------------------------------------------------------------------------------------------

TEST_F(RunOptionsTest, StrictWithMoreThanOneWorkerIsAnInvalidArgument) {
    EXPECT_THROW(workers_of_a_run({.workers = 2, .strict = true}), std::invalid_argument);
    EXPECT_EQ(workers_of_a_run({.workers = 1, .strict = true}), 1U);
    EXPECT_EQ(workers_of_a_run({.strict = true}), 1U);
}

TEST_F(RunOptionsTest, MoreWorkersThanAnyMachineHasAreAnInvalidArgument) {
    EXPECT_THROW(workers_of_a_run({.workers = 1'000'000}), std::invalid_argument);
}

TEST_F(RunOptionsTest, AStackTooSmallForAnythingIsAnInvalidArgument) {
    EXPECT_THROW(workers_of_a_run({.stack_size = 100}), std::invalid_argument);
    EXPECT_THROW(workers_of_a_run({.main_stack_size = 100}), std::invalid_argument);
}

TEST_F(RunOptionsTest, AStackThatFitsNoMachineIsAnInvalidArgument) {
    EXPECT_THROW(workers_of_a_run({.stack_size = std::size_t{1} << 40}), std::invalid_argument);
    EXPECT_THROW(workers_of_a_run({.main_stack_size = std::size_t{1} << 40}),
                 std::invalid_argument);
}

TEST_F(RunOptionsTest, WhatIsRefusedLeavesTheCoroutineToTheCaller) {
    auto one = weft::async([] { return 1; });
    auto coroutine = one();
    EXPECT_THROW(weft::run(std::move(coroutine), {.workers = 2, .strict = true}),
                 std::invalid_argument);
    EXPECT_TRUE(coroutine);
    coroutine.close();
}

// --- defaults -----------------------------------------------------------------------------------------------------

TEST_F(RunOptionsTest, ThereIsAWorkerWithoutBeingAsked) { EXPECT_GE(workers_of_a_run(), 1U); }

TEST_F(RunOptionsTest, WorkersComeFromTheEnvironmentUnlessTheProgramSaysOtherwise) {
    Environment workers("WEFT_WORKERS", "3");
    EXPECT_EQ(workers_of_a_run(), 3U);
    EXPECT_EQ(workers_of_a_run({.workers = 2}), 2U);
}

TEST_F(RunOptionsTest, ANumberOfWorkersThatIsNoneIsAnInvalidArgumentThatNamesTheVariable) {
    for (const char* bad : {"many", "-1", "3x", "99999999999999999999"}) {
        Environment workers("WEFT_WORKERS", bad);
        std::string what = what_of<std::invalid_argument>([] { workers_of_a_run(); });
        EXPECT_NE(what.find("WEFT_WORKERS"), std::string::npos) << bad << ": " << what;
    }
}

TEST_F(RunOptionsTest, AnEmptyVariableIsAsNone) {
    Environment workers("WEFT_WORKERS", "");
    Environment strict("WEFT_STRICT", "");
    EXPECT_GE(workers_of_a_run(), 1U);
    EXPECT_FALSE(RunOptions{}.strict);
}

TEST_F(RunOptionsTest, StrictComesFromTheEnvironment) {
    EXPECT_FALSE(RunOptions{}.strict);
    Environment strict("WEFT_STRICT", "1");
    EXPECT_TRUE(RunOptions{}.strict);
    EXPECT_EQ(workers_of_a_run(), 1U);
    // task-1 tells strict from one worker: nothing runs before its creator waits, not even what is awaited.
    std::string order;
    weft::run([&] {
        create_task([&] { order += "first "; });
        await(create_task([&] { order += "second "; }));
    });
    EXPECT_EQ(order, "first second ");
}

TEST_F(RunOptionsTest, StrictIsOffWhereTheEnvironmentSaysZero) {
    Environment strict("WEFT_STRICT", "0");
    EXPECT_FALSE(RunOptions{}.strict);
}

TEST_F(RunOptionsTest, WhatTheProgramSaysIsHeldAgainstItUnderTheEnvironmentsStrictToo) {
    Environment strict("WEFT_STRICT", "1");
    EXPECT_THROW(workers_of_a_run({.workers = 2, .strict = true}), std::invalid_argument);
    EXPECT_EQ(workers_of_a_run({.workers = 2}), 2U);
    EXPECT_EQ(workers_of_a_run({.workers = 2, .strict = false}), 2U);
}

TEST_F(RunOptionsTest, WhatTheProgramSaysWinsOverTheEnvironmentsStrict) {
    Environment strict("WEFT_STRICT", "1");
    EXPECT_EQ(workers_of_a_run({.workers = 2}), 2U);
    EXPECT_EQ(workers_of_a_run({.workers = 2, .strict = false}), 2U);
}

TEST_F(RunOptionsTest, DebugComesFromTheEnvironment) {
    EXPECT_FALSE(RunOptions{}.debug);
    Environment debug("WEFT_DEBUG", "1");
    EXPECT_TRUE(RunOptions{}.debug);
}

TEST_F(RunOptionsTest, ASeedInTheEnvironmentMakesARunASimulation) {
    Environment seed("WEFT_SEED", "5");
    ::testing::internal::CaptureStderr();
    auto begin = std::chrono::steady_clock::now();
    weft::run([] { weft::sleep(std::chrono::hours(1)); }, {.workers = 2});
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::minutes(1));
    std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("seed 5"), std::string::npos) << said;
}

// --- stacks -------------------------------------------------------------------------------------------------------

// Uses at least `bytes` of stack, all of it.
[[gnu::noinline]] std::size_t use_stack(std::size_t bytes) {
    char block[16 * 1024];
    std::memset(block, static_cast<int>(bytes & 0x7f), sizeof block);
    asm volatile("" ::"r"(block) : "memory");
    std::size_t below = bytes > sizeof block ? use_stack(bytes - sizeof block) : 0;
    asm volatile("" ::"r"(block) : "memory");
    return below + sizeof block;
}

TEST_F(RunOptionsTest, TheMainFunctionHasALargeStack) {
    weft::run([] { EXPECT_GE(use_stack(6 << 20), std::size_t{6} << 20); });
    weft::run([] { EXPECT_GE(use_stack(24 << 20), std::size_t{24} << 20); },
              {.main_stack_size = std::size_t{32} << 20});
}

TEST_F(RunOptionsTest, TasksHaveTheStackThatTheRunGivesThem) {
    RunOptions options{.workers = 2, .stack_size = std::size_t{4} << 20};
    weft::run(
        [] {
            auto deep = [] {
                yield();
                return use_stack(3 << 20);
            };
            for (std::size_t used : gather(std::vector{deep, deep, deep}))
                EXPECT_GE(used, std::size_t{3} << 20);
        },
        options);
}

TEST_F(RunOptionsTest, ATaskMayHaveAStackOfItsOwnSize) {
    for (bool strict : {false, true})
        run_with({.workers = 1, .strict = strict}, [] {
            auto deep = [] {
                std::size_t before = use_stack(3 << 20);
                yield();
                return before + use_stack(3 << 20);
            };
            TaskOptions large{.stack_size = std::size_t{4} << 20};
            EXPECT_GE(await(create_task(deep, large)), std::size_t{6} << 20);
            large.eager = true;
            EXPECT_GE(await(create_task(deep, large)), std::size_t{6} << 20);
            task_group([&](TaskGroup& group) {
                group.create_task(deep, {.stack_size = std::size_t{4} << 20});
            });
        });
}

TEST_F(RunOptionsTest, ATaskWithAStackThatCannotBeIsAnInvalidArgument) {
    run_with({.workers = 1}, [] {
        EXPECT_THROW(create_task([] {}, {.stack_size = 100}), std::invalid_argument);
        EXPECT_THROW(create_task([] {}, {.stack_size = std::size_t{1} << 40}),
                     std::invalid_argument);
    });
}

}  // namespace

}  // namespace weft::test
