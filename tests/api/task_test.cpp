// Tasks: what their handles tell, awaiting them, names, introspection. The ids are those of asyncio's semantics.
#include <memory>
#include <set>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class TaskTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(TaskTest);

// --- awaiting -----------------------------------------------------------------------------------------------------

TEST_P(TaskTest, AwaitGivesTheValueOrTheErrorAsOftenAsOneLikes) {
    run([] {
        auto good = create_task([] { return 1; });
        auto bad = create_task([] { throw std::out_of_range("bad"); });
        for (int i = 0; i < 3; ++i) {
            EXPECT_EQ(await(good), 1);
            EXPECT_EQ(what_of<std::out_of_range>([&] { await(bad); }), "bad");
        }
    });
}

TEST_P(TaskTest, ManyMayAwaitTheSameOne) {
    run([] {
        Event go;
        auto task = create_task([&] {
            go.wait();
            return std::string("value");
        });
        std::vector<Task<std::size_t>> waiters;
        for (int i = 0; i < 50; ++i)
            waiters.push_back(create_task([&] { return await(task).size(); }));
        settle();
        go.set();
        for (auto& waiter : waiters) EXPECT_EQ(await(waiter), 5U);
    });
}

TEST_P(TaskTest, AwaitOfADoneOneLetsNothingElseRun) {
    run([&] {
        auto done = create_task([] { return 1; });
        await(done);
        HoldOtherWorkers hold(workers());
        bool other_ran = false;
        auto other = create_task([&] { other_ran = true; });
        EXPECT_EQ(await(done), 1);
        EXPECT_FALSE(other_ran);
        hold.release();
        await(other);
    });
}

TEST_P(TaskTest, AwaitingOneselfIsAUsageErrorThatNamesTheTask) {
    run([] {
        auto task = create_task(
            [] {
                EXPECT_NE(what_of<UsageError>([] { await(current_task()); }).find("'self'"),
                          std::string::npos);
            },
            {.name = "self"});
        await(task);
    });
}

TEST_P(TaskTest, AnEmptyHandleIsAnInvalidStateError) {
    run([] {
        Task<int> none;
        EXPECT_FALSE(none);
        EXPECT_FALSE(none.done());
        EXPECT_FALSE(none.cancelled());
        EXPECT_THROW(await(none), InvalidStateError);
        EXPECT_THROW(none.result(), InvalidStateError);
        EXPECT_THROW((void)none.exception(), InvalidStateError);
        EXPECT_THROW(none.cancel(), InvalidStateError);
        EXPECT_THROW((void)none.get_name(), InvalidStateError);
        EXPECT_THROW(none.add_done_callback([](const Task<int>&) {}), InvalidStateError);
        EXPECT_THROW(await(AnyTask()), InvalidStateError);
    });
}

TEST_P(TaskTest, AChainOfAwaitsMayBeLong) {
    run([] {
        constexpr int kLength = 3000;
        std::vector<Task<int>> chain;
        chain.reserve(kLength);
        chain.push_back(create_task([] { return 0; }));
        for (int i = 1; i < kLength; ++i)
            chain.push_back(create_task([&, before = chain.back()] { return await(before) + 1; }));
        EXPECT_EQ(await(chain.back()), kLength - 1);
    });
}

int tree(int depth) {
    if (depth == 0) return 1;
    auto left = create_task([=] { return tree(depth - 1); });
    auto right = create_task([=] { return tree(depth - 1); });
    return await(left) + await(right);
}

TEST_P(TaskTest, ATreeOfTasksAddsUp) {
    run([] { EXPECT_EQ(tree(10), 1024); });
}

TEST_P(TaskTest, AnAwaitInACatchBlockLeavesItsExceptionAlone) {
    run([] {
        try {
            throw std::runtime_error("outer");
        } catch (const std::exception&) {
            auto child = create_task([] {
                EXPECT_EQ(std::current_exception(), nullptr) << "a task begins clean";
                EXPECT_EQ(std::uncaught_exceptions(), 0);
                try {
                    throw std::logic_error("inner");
                } catch (...) {
                    yield();
                }
            });
            await(child);
            EXPECT_EQ(text_of(std::current_exception()), "outer");
            EXPECT_EQ(what_of([] { throw; }), "outer");
        }
    });
}

// --- what a handle tells ------------------------------------------------------------------------------------------

TEST_P(TaskTest, AHandleTellsPendingFromDone) {
    run([] {
        Event go;
        auto task = create_task([&] {
            go.wait();
            return 3;
        });
        EXPECT_FALSE(task.done());
        EXPECT_FALSE(task.cancelled());
        EXPECT_THROW(task.result(), InvalidStateError);           // fu-1
        EXPECT_THROW((void)task.exception(), InvalidStateError);  // fu-1
        go.set();
        await(task);
        EXPECT_TRUE(task.done());
        EXPECT_FALSE(task.cancelled());
        EXPECT_EQ(task.result(), 3);
        EXPECT_EQ(task.exception(), nullptr);
    });
}

TEST_P(TaskTest, AFailedOneHasItsError) {
    run([] {
        auto task = create_task([]() -> int { throw std::runtime_error("failed"); });
        EXPECT_THROW(await(task), std::runtime_error);
        EXPECT_TRUE(task.done());
        EXPECT_FALSE(task.cancelled());
        EXPECT_EQ(text_of(task.exception()), "failed");
        EXPECT_EQ(what_of<std::runtime_error>([&] { task.result(); }), "failed");
    });
}

TEST_P(TaskTest, AnErrorNeedNotBeAStdException) {
    run([] {
        auto task = create_task([] { throw 42; });
        EXPECT_THROW(await(task), int);
        EXPECT_NE(task.exception(), nullptr);
    });
}

TEST_P(TaskTest, AHandleWithoutItsTypeDoesAllButTheValue) {
    run([] {
        auto task = create_task([] { return 1; });
        AnyTask any = task;
        EXPECT_TRUE(any);
        EXPECT_EQ(any, AnyTask(task));
        await(any);
        EXPECT_TRUE(any.done());
        AnyTask failed = create_task([] { throw std::runtime_error("failed"); });
        EXPECT_EQ(what_of<std::runtime_error>([&] { await(failed); }), "failed");
        EXPECT_NE(any, failed);
    });
}

TEST_P(TaskTest, ATaskWhoseHandleIsDroppedRunsOn) {
    run([] {
        std::atomic<int> ran = 0;
        for (int i = 0; i < 10; ++i)
            create_task([&] {
                yield();
                ++ran;
            });
        yield_until([&] { return ran == 10; });
    });
}

// --- names --------------------------------------------------------------------------------------------------------

TEST_P(TaskTest, NamesByDefaultAreTaskAndANumberAndUnique) {
    run([] {
        std::set<std::string> names;
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 20; ++i) tasks.push_back(create_task([] {}));
        for (auto& task : tasks) {
            std::string name = task.get_name();
            EXPECT_EQ(name.rfind("Task-", 0), 0U) << name;
            EXPECT_EQ(name, task.get_name()) << "it stays the same";
            names.insert(name);
            await(task);
            EXPECT_EQ(name, task.get_name());
        }
        EXPECT_EQ(names.size(), 20U);
    });
}

TEST_P(TaskTest, ANameMayBeGivenAndChanged) {
    run([] {
        auto task =
            create_task([] { EXPECT_EQ(current_task().get_name(), "mine"); }, {.name = "mine"});
        EXPECT_EQ(task.get_name(), "mine");
        await(task);
        task.set_name("other");
        EXPECT_EQ(task.get_name(), "other");
        current_task().set_name("main");
        EXPECT_EQ(current_task().get_name(), "main");
    });
}

TEST_P(TaskTest, ANameMayBeSetWhileOthersReadIt) {
    run([] {
        auto task = create_task([] { wait_for_ever(); });
        std::vector<Task<void>> readers;
        for (int i = 0; i < 4; ++i)
            readers.push_back(create_task([&, i] {
                for (int turn = 0; turn < 100; ++turn) {
                    if (i == 0) task.set_name("name " + std::to_string(turn));
                    EXPECT_FALSE(task.get_name().empty());
                    if (turn % 10 == 0) yield();
                }
            }));
        for (auto& reader : readers) await(reader);
        EXPECT_EQ(task.get_name(), "name 99");
    });
}

// --- who runs -----------------------------------------------------------------------------------------------------

// intro-1
TEST_P(TaskTest, CurrentTaskIsTheOneThatRunsAlsoWhenItRunsInline) {
    run([] {
        AnyTask main = current_task();
        AnyTask seen;
        AnyTask seen_later;
        auto task = create_task([&] {
            seen = current_task();
            yield();
            seen_later = current_task();
        });
        await(task);
        EXPECT_EQ(seen, AnyTask(task));
        EXPECT_EQ(seen_later, AnyTask(task));
        EXPECT_EQ(current_task(), main);
    });
}

// intro-1
TEST(TaskOutsideTest, CurrentTaskIsEmptyOutsideOfTasks) {
    EXPECT_FALSE(current_task());
    weft::run([] {
        to_thread([] { EXPECT_FALSE(current_task()); });
        std::thread([] { EXPECT_FALSE(current_task()); }).join();
    });
    EXPECT_FALSE(current_task());
}

// intro-1
TEST_P(TaskTest, AllTasksAreThoseThatAreNotDone) {
    run([] {
        Event go;
        std::vector<Task<void>> waiting;
        for (int i = 0; i < 5; ++i) waiting.push_back(create_task([&] { go.wait(); }));
        auto done = create_task([] {});
        await(done);
        auto has = [](const AnyTask& task) {
            auto tasks = all_tasks();
            return std::find(tasks.begin(), tasks.end(), task) != tasks.end();
        };
        EXPECT_EQ(all_tasks().size(), 6U);
        EXPECT_TRUE(has(current_task()));
        EXPECT_FALSE(has(done));
        for (auto& task : waiting) EXPECT_TRUE(has(task));
        go.set();
        for (auto& task : waiting) await(task);
        EXPECT_EQ(all_tasks().size(), 1U);
    });
}

TEST_P(TaskTest, AllTasksMayBeAskedWhileTasksComeAndGo) {
    run([] {
        std::atomic<bool> stop = false;
        auto churn = create_task([&] {
            while (!stop) {
                auto a = create_task([] { yield(); });
                auto b = create_task([] {});
                await(a);
                await(b);
                yield();
                if (is_simulated) weft::sleep(1ns);
            }
        });
        for (int i = 0; i < 200; ++i) {
            for (const AnyTask& task : all_tasks()) EXPECT_TRUE(task);
            yield();
            if (is_simulated) weft::sleep(1ns);
        }
        stop = true;
        await(churn);
    });
}

// --- errors that nobody reads -------------------------------------------------------------------------------------

TEST_P(TaskTest, AnErrorThatNobodyReadIsReportedOnceWithTheTasksName) {
    Reports reports;
    int runs = 0;
    run({.exception_handler = reports.handler()}, [&] {
        ++runs;
        create_task([] { throw std::runtime_error("unread"); }, {.name = "careless"});
        std::size_t before = static_cast<std::size_t>(runs) - 1;
        yield_until([&] { return reports.size() > before; });
    });
    std::vector<std::string> told = reports.take();
    ASSERT_EQ(told.size(), static_cast<std::size_t>(runs));
    EXPECT_NE(told[0].find("'careless'"), std::string::npos) << told[0];
    EXPECT_NE(told[0].find("never retrieved"), std::string::npos) << told[0];
    EXPECT_NE(told[0].find("unread"), std::string::npos) << told[0];
}

TEST_P(TaskTest, AnErrorIsReportedWhenTheLastHandleGoesAndNotBefore) {
    Reports reports;
    run({.exception_handler = reports.handler()}, [&] {
        reports.take();
        auto task = create_task([] { throw std::runtime_error("unread"); });
        yield_until([&] { return task.done(); });
        auto copy = task;
        task = {};
        EXPECT_EQ(reports.size(), 0U);
        copy = {};
        yield_until([&] { return reports.size() > 0; });
        settle();
        EXPECT_EQ(reports.size(), 1U);
    });
}

TEST_P(TaskTest, AnErrorThatWasReadIsNotReported) {
    run([] {
        auto fail = [] { throw std::runtime_error("read"); };
        auto awaited = create_task(fail);
        EXPECT_THROW(await(awaited), std::runtime_error);
        auto asked = create_task(fail);
        yield_until([&] { return asked.done(); });
        EXPECT_NE(asked.exception(), nullptr);
        auto by_result = create_task(fail);
        yield_until([&] { return by_result.done(); });
        EXPECT_THROW(by_result.result(), std::runtime_error);
        auto by_any = create_task(fail);
        EXPECT_THROW(await(AnyTask(by_any)), std::runtime_error);
    });
}

TEST_P(TaskTest, AnErrorWithoutAReaderIsNotReportedIfWhatFailedWasCancelledAfterwards) {
    run([] {
        auto task = create_task([] { throw std::runtime_error("unread"); });
        yield_until([&] { return task.done(); });
        EXPECT_FALSE(task.cancel());
        Future<int> future;
        future.set_exception(std::runtime_error("unread"));
        EXPECT_FALSE(future.cancel());
    });
}

TEST_P(TaskTest, ACancelledTaskThatNobodyReadIsNotReported) {
    run([] {
        auto task = create_task([] { wait_for_ever(); });
        settle();
        task.cancel();
        settle();
        EXPECT_TRUE(task.cancelled());
    });
}

TEST(TaskReportTest, WithoutAHandlerTheReportIsALineOnStderr) {
    ::testing::internal::CaptureStderr();
    weft::run(
        [] {
            create_task([] { throw std::runtime_error("boom"); }, {.name = "careless"});
            yield();
        },
        {.workers = 1});
    std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("exception of task 'careless' was never retrieved"), std::string::npos)
        << said;
    EXPECT_NE(said.find("boom"), std::string::npos) << said;
    EXPECT_NE(said.find("task_test.cpp"), std::string::npos) << "where it was created: " << said;
    EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
}

}  // namespace

}  // namespace weft::test
