// ProcessPool as one of the executors: run_in_executor and map.
#include <weft/process.hpp>

#include <csignal>
#include <ranges>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class ProcessMapTest : public Everywhere {};
WEFT_TEST_ON_THREADS(ProcessMapTest);

TEST_P(ProcessMapTest, ResultsComeInOrder) {
    run([] {
        ProcessPool pool({.workers = 2});
        std::vector<int> squares;
        for (int x : pool.map([](int x) { return x * x; }, std::views::iota(0, 20), {.ahead = 4}))
            squares.push_back(x);
        std::vector<int> expected;
        for (int x = 0; x < 20; ++x) expected.push_back(x * x);
        EXPECT_EQ(squares, expected);
        EXPECT_EQ(run_in_executor(pool, [](int x) { return -x; }, 7), -7);
    });
}

TEST_P(ProcessMapTest, AWorkerThatDiesEndsItAtItsTurn) {
    run([] {
        ProcessPool pool({.workers = 2});
        std::vector<int> results;
        auto f = [](int x) {
            if (x == 3) ::raise(SIGKILL);
            return x;
        };
        EXPECT_THROW(
            {
                for (int x : pool.map(f, std::views::iota(0, 10), {.ahead = 2}))
                    results.push_back(x);
            },
            WorkerDied);
        EXPECT_EQ(results, (std::vector{0, 1, 2}));
        EXPECT_EQ(pool.figures().queued, 0U);
    });
}

TEST_P(ProcessMapTest, WhoLeavesEarlyHasTheRestKilled) {
    run([] {
        // As many as calls are under way: any of them may come first.
        ProcessPool pool({.workers = 3});
        auto f = [](int x) {
            for (volatile bool on = x != 0; on;) {
            }
            return x;
        };
        for (int x : pool.map(f, std::views::iota(0, 10), {.ahead = 3})) {
            EXPECT_EQ(x, 0);
            break;
        }
        EXPECT_EQ(pool.run([] { return 5; }), 5);
    });
}

}  // namespace

}  // namespace weft::test
