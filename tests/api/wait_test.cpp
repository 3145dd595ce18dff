// wait and as_completed, and bounds on how many run at once. The ids are those of asyncio's semantics.
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class WaitTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(WaitTest);

Task<int> sleeper(Duration duration, int value = 0) {
    return create_task([=] {
        weft::sleep(duration);
        return value;
    });
}
Task<int> failing(Duration duration) {
    return create_task([=]() -> int {
        weft::sleep(duration);
        throw std::runtime_error("failed");
    });
}
Duration rounded(TimePoint begin) {
    return std::chrono::round<std::chrono::milliseconds>(now() - begin);
}

// --- wait ---------------------------------------------------------------------------------------------------------

TEST_P(WaitTest, ItReturnsWhenAllAreDoneAndReadsNoResult) {
    Reports reports;
    run({.exception_handler = reports.handler()}, [&] {
        std::vector tasks{sleeper(2s, 1), failing(1s), sleeper(3s, 3)};
        TimePoint begin = now();
        auto [done, pending] = weft::wait(tasks);
        EXPECT_EQ(rounded(begin), 3s);
        EXPECT_EQ(done, tasks);
        EXPECT_TRUE(pending.empty());
        EXPECT_EQ(reports.size(), 0U);
        tasks.clear();
        done.clear();
        EXPECT_EQ(reports.take().size(), 1U);
    });
}

// wait-3
TEST_P(WaitTest, FirstCompletedReturnsAtTheFirst) {
    run([&] {
        std::vector tasks{sleeper(5s), sleeper(2s), sleeper(9s)};
        TimePoint begin = now();
        auto [done, pending] = weft::wait(tasks, FIRST_COMPLETED);
        EXPECT_EQ(rounded(begin), 2s);
        EXPECT_EQ(done, std::vector{tasks[1]});
        EXPECT_EQ(pending, (std::vector{tasks[0], tasks[2]}));
        // What is done already counts at once.
        EXPECT_EQ(weft::wait(tasks, FIRST_COMPLETED).done.size(), 1U);
        EXPECT_EQ(rounded(begin), 2s);
        gather(tasks);
    });
}

// wait-5, wait-6
TEST_P(WaitTest, FirstExceptionIsNotMetByACancel) {
    run([&] {
        std::vector tasks{sleeper(5s), sleeper(1s), failing(3s), sleeper(9s)};
        TimePoint begin = now();
        auto canceller = create_task([&] {
            weft::sleep(2s);
            tasks[0].cancel();
        });
        auto [done, pending] = weft::wait(tasks, FIRST_EXCEPTION);
        EXPECT_EQ(rounded(begin), 3s);
        EXPECT_EQ(done, (std::vector{tasks[0], tasks[1], tasks[2]}));
        EXPECT_EQ(what_of([&] { tasks[2].result(); }), "failed");
        std::vector<Task<int>> rest{tasks[3]};
        EXPECT_EQ(weft::wait(rest, FIRST_EXCEPTION).done, rest);  // none fails: all of them
        EXPECT_EQ(rounded(begin), 9s);
    });
}

// wait-4
TEST_P(WaitTest, WhenTimeIsUpNothingIsThrownAndNothingCancelled) {
    run([&] {
        std::vector tasks{sleeper(1s, 1), sleeper(5s, 5)};
        TimePoint begin = now();
        auto [done, pending] = weft::wait(tasks, {.timeout = 2s});
        EXPECT_EQ(rounded(begin), 2s);
        EXPECT_EQ(done, std::vector{tasks[0]});
        EXPECT_EQ(pending, std::vector{tasks[1]});
        EXPECT_EQ(weft::wait(tasks, {.timeout = 0s, .return_when = FIRST_EXCEPTION}).done.size(),
                  1U);
        EXPECT_EQ(rounded(begin), 2s);
        EXPECT_EQ(weft::wait(tasks, {.timeout = std::chrono::hours::max()}).done, tasks);
        EXPECT_EQ(await(tasks[1]), 5);
    });
}

// wait-7
TEST_P(WaitTest, ACancelOfTheWaiterLeavesTheMembersAlone) {
    run([&] {
        std::vector tasks{sleeper(2s, 2), sleeper(3s, 3)};
        auto waiter = create_task([&] { weft::wait(tasks); });
        weft::sleep(1s);
        waiter.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(waiter); }), "enough");
        EXPECT_EQ(gather(tasks), (std::vector{2, 3}));
    });
}

TEST_P(WaitTest, EachCountsOnceAndFuturesAndUntypedTasksAreFine) {
    run([&] {
        Future<int> set;
        Future<int> unset;
        set.set_result(1);
        auto [done, pending] = weft::wait({set, unset, set, unset, unset}, FIRST_COMPLETED);
        EXPECT_EQ(done, std::vector{set});
        EXPECT_EQ(pending, std::vector{unset});
        AnyTask task = sleeper(1s);
        EXPECT_EQ(weft::wait({task, task}).done, std::vector{task});
    });
}

// wait-1
TEST_P(WaitTest, MisuseIsAnError) {
    run([&] {
        EXPECT_THROW(weft::wait(std::vector<Task<int>>{}), std::invalid_argument);
        EXPECT_THROW(weft::wait(std::vector<Task<int>>(1)), InvalidStateError);
        Future<int> future;
        EXPECT_THROW(weft::wait({future}, static_cast<ReturnWhen>(7)), std::invalid_argument);
    });
    EXPECT_THROW(weft::wait(std::vector<Task<int>>{}), UsageError);
    EXPECT_THROW(as_completed(std::vector<Task<int>>{}), UsageError);
}

// --- as_completed -------------------------------------------------------------------------------------------------

// ac-1, ac-2
TEST_P(WaitTest, AsCompletedGivesTheSameHandlesAsTheyEnd) {
    run([&] {
        std::vector tasks{sleeper(3s, 0), sleeper(1s, 1), sleeper(2s, 2)};
        std::vector<Task<int>> order;
        for (auto&& task : as_completed(tasks)) {
            EXPECT_TRUE(task.done());
            order.push_back(task);
        }
        EXPECT_EQ(order, (std::vector{tasks[1], tasks[2], tasks[0]}));
        for (auto&& task : as_completed(std::vector<Task<int>>{})) FAIL() << task.get_name();
        int times = 0;
        for (auto&& task : as_completed(std::vector{tasks[0], tasks[1], tasks[0]})) {
            EXPECT_TRUE(task.done());
            ++times;
        }
        EXPECT_EQ(times, 2);
    });
}

TEST_P(WaitTest, AsCompletedStartsWhatIsNotATask) {
    run([&] {
        auto job = weft::async("job", [](int seconds) {
            weft::sleep(seconds * 1s);
            return seconds;
        });
        std::vector<Coroutine<int>> jobs;
        for (int seconds : {3, 1, 2}) jobs.push_back(job(seconds));
        std::vector<int> order;
        for (auto&& task : as_completed(std::move(jobs))) order.push_back(task.result());
        EXPECT_EQ(order, (std::vector{1, 2, 3}));
    });
}

// ac-3
TEST_P(WaitTest, AsCompletedThrowsWhenTimeIsUpAndCancelsNothing) {
    run([&] {
        std::vector tasks{sleeper(1s, 1), sleeper(5s, 5)};
        auto completed = as_completed(tasks, {.timeout = 2s});
        EXPECT_EQ(completed.next(), tasks[0]);
        TimePoint begin = now();
        EXPECT_THROW(completed.next(), TimeoutError);
        EXPECT_EQ(rounded(begin), 1s);
        EXPECT_THROW(completed.next(), TimeoutError);
        EXPECT_EQ(await(tasks[1]), 5);
        EXPECT_EQ(completed.next(), tasks[1]);  // what has ended is given all the same
        EXPECT_FALSE(completed.next().has_value());
    });
}

TEST_P(WaitTest, ACancelInAsCompletedLeavesTheMembersAlone) {
    run([&] {
        std::vector tasks{sleeper(2s, 2)};
        auto waiter = create_task([&] {
            for (auto&& task : as_completed(tasks)) ADD_FAILURE() << task.get_name();
        });
        weft::sleep(1s);
        waiter.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(waiter); }), "enough");
        EXPECT_EQ(await(tasks[0]), 2);
    });
}

TEST_P(WaitTest, TheLoopMayBeLeftEarly) {
    run([&] {
        std::vector tasks{sleeper(1s, 1), sleeper(2s, 2), sleeper(2s, 3)};
        for (auto&& task : as_completed(tasks)) {
            EXPECT_EQ(task.result(), 1);
            break;
        }
        EXPECT_EQ(gather(tasks), (std::vector{1, 2, 3}));
    });
}

// --- no more than so many at once ---------------------------------------------------------------------------------

struct Load {
    std::atomic<int> now{0};
    std::atomic<int> most{0};
    std::atomic<int> begun{0};
    int work(Duration duration, int value) {
        ++begun;
        int running = ++now;
        for (int seen = most; seen < running && !most.compare_exchange_weak(seen, running);) {
        }
        weft::sleep(duration);
        --now;
        return value;
    }
    auto jobs(int n) {
        std::vector<std::function<int()>> jobs;
        for (int i = 0; i < n; ++i) jobs.push_back([this, i] { return work((i % 3 + 1) * 1s, i); });
        return jobs;
    }
};

TEST_P(WaitTest, ABoundedGatherGivesAllValuesInOrder) {
    run([&] {
        Load load;
        std::vector<int> values = gather(at_most(3), load.jobs(20));
        ASSERT_EQ(values.size(), 20U);
        for (int i = 0; i < 20; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], i);
        EXPECT_EQ(load.most, 3);
        EXPECT_EQ(gather(at_most(100), load.jobs(7)).size(), 7U);
        EXPECT_TRUE(gather(at_most(1), load.jobs(0)).empty());
        EXPECT_THROW(at_most(0), std::invalid_argument);
    });
}

TEST_P(WaitTest, ABoundedGatherInheritsContextFromItsCallerAlone) {
    run([&] {
        static ContextVar<int> number{"number", 0};
        std::vector<std::function<int()>> jobs;
        for (int i = 0; i < 4; ++i)
            jobs.push_back([] {
                int inherited = number.get();
                number.set(99);
                weft::sleep(1s);
                return inherited;
            });
        EXPECT_EQ(gather(at_most(1), jobs), (std::vector{0, 0, 0, 0}));
        number.set(7);
        EXPECT_EQ(gather(at_most(1), jobs), (std::vector{7, 7, 7, 7}));
    });
}

TEST_P(WaitTest, AFailureOfABoundedGatherStartsNoMore) {
    run([&] {
        Load load;
        auto jobs = load.jobs(10);
        jobs[1] = []() -> int { throw std::runtime_error("failed"); };
        EXPECT_EQ(what_of([&] { gather(at_most(2), jobs); }), "failed");
        weft::sleep(1min);
        EXPECT_EQ(load.begun, 1);  // the one beside it, which began before
        EXPECT_EQ(load.now, 0);
    });
}

TEST_P(WaitTest, AFailureMayBeFollowedByOthersBeforeItIsHeard) {
    run([&] {
        std::vector<std::function<int()>> jobs(8,
                                               []() -> int { throw std::runtime_error("failed"); });
        for (std::size_t n : {1U, 2U, 7U, 8U})
            EXPECT_EQ(what_of([&] { gather(at_most(n), jobs); }), "failed");
        settle();
    });
}

TEST_P(WaitTest, ABoundedGatherKeepsErrorsInTheirPlacesIfAsked) {
    run([&] {
        Load load;
        auto jobs = load.jobs(5);
        jobs[1] = []() -> int { throw std::runtime_error("failed"); };
        auto outcomes = gather(at_most(2), return_exceptions, jobs);
        ASSERT_EQ(outcomes.size(), 5U);
        EXPECT_EQ(text_of(outcomes[1].error()), "failed");
        EXPECT_EQ(outcomes[4].value(), 4);
        EXPECT_LE(load.most, 2);
    });
}

TEST_P(WaitTest, ACancelOfABoundedGatherEndsAllAndStartsNoMore) {
    run([&] {
        Load load;
        auto task = create_task([&] { gather(at_most(2), load.jobs(10)); });
        weft::sleep(1500ms);
        task.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "enough");
        int begun = load.begun;
        EXPECT_LE(begun, 4);
        weft::sleep(1min);
        EXPECT_EQ(load.begun, begun);
    });
}

TEST_P(WaitTest, ABoundedAsCompletedStartsOneAsOneEnds) {
    run([&] {
        Load load;
        int sum = 0;
        for (auto&& task : as_completed(load.jobs(10), {.at_most = 4})) sum += task.result();
        EXPECT_EQ(sum, 45);
        EXPECT_EQ(load.most, 4);
        load.begun = 0;
        for (auto&& task : as_completed(load.jobs(10), {.at_most = 2})) {
            EXPECT_TRUE(task.done());
            break;
        }
        weft::sleep(1min);
        EXPECT_LE(load.begun,
                  4);  // two at first, and one for each that ended before the loop was left
    });
}

}  // namespace

}  // namespace weft::test
