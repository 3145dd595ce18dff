// map: results in the inputs' order, a bounded number of calls ahead of who takes them.
#include <weft/executor.hpp>

#include <memory>
#include <numeric>
#include <ranges>
#include <semaphore>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class ExecutorMapTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(ExecutorMapTest);

int square(int x) { return x * x; }

TEST_P(ExecutorMapTest, ResultsComeInTheOrderOfTheInputsWhoeverEndsFirst) {
    run([] {
        ThreadPool pool({.threads = 4});
        std::binary_semaphore last_has_run(0);
        auto f = [&](int x) {
            if (x == 0) last_has_run.acquire();
            if (x == 3) last_has_run.release();
            return x * x;
        };
        std::vector<int> squares;
        for (int x : pool.map(f, std::views::iota(0, 20), {.ahead = 4})) squares.push_back(x);
        std::vector<int> expected(20);
        std::ranges::transform(std::views::iota(0, 20), expected.begin(), square);
        EXPECT_EQ(squares, expected);
    });
}

TEST_P(ExecutorMapTest, InputsAreTakenOnlyAsFarAheadAsAllowed) {
    run([] {
        ThreadPool pool({.threads = 4});
        int taken = 0;
        auto inputs = std::views::iota(0, 50) | std::views::transform([&](int x) {
                          ++taken;
                          return x;
                      });
        int given = 0;
        for (int x : pool.map(square, inputs, {.ahead = 3})) {
            EXPECT_EQ(x, given * given);
            EXPECT_LE(taken, given + 3) << "at " << given;
            ++given;
        }
        EXPECT_EQ(given, 50);
        EXPECT_EQ(taken, 50);
    });
}

TEST_P(ExecutorMapTest, NoMoreCallsRunAtOnceThanAllowed) {
    run([] {
        ThreadPool pool({.threads = 8});
        std::atomic<int> inside = 0;
        std::atomic<int> most = 0;
        auto f = [&](int x) {
            int now = ++inside;
            for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
            }
            std::this_thread::yield();
            --inside;
            return x;
        };
        int sum = 0;
        for (int x : pool.map(f, std::views::iota(0, 100), {.ahead = 2})) sum += x;
        EXPECT_EQ(sum, 4950);
        EXPECT_LE(most, 2);
    });
}

TEST_P(ExecutorMapTest, AnErrorComesAtItsTurnAndEndsIt) {
    run([] {
        ThreadPool pool({.threads = 2});
        std::vector<int> results;
        auto f = [](int x) {
            if (x == 2 || x == 3) throw std::runtime_error("at " + std::to_string(x));
            return x;
        };
        EXPECT_EQ(what_of<std::runtime_error>([&] {
                      for (int x : pool.map(f, std::views::iota(0, 10), {.ahead = 5}))
                          results.push_back(x);
                  }),
                  "at 2");
        EXPECT_EQ(results, (std::vector{0, 1}));
    });
}

TEST_P(ExecutorMapTest, WhoLeavesEarlyHasTheRestCancelledAndWaitedFor) {
    run([] {
        ThreadPool pool({.threads = 4});
        std::atomic<int> begun = 0;
        std::atomic<int> stopped = 0;
        auto f = [&](int x) {
            ++begun;
            if (x == 0) return x;
            try {
                for (;;) {
                    checkpoint();
                    std::this_thread::yield();
                }
            } catch (const CancelledError&) {
                ++stopped;
                throw;
            }
        };
        for (int x : pool.map(f, std::views::iota(0, 100), {.ahead = 3})) {
            EXPECT_EQ(x, 0);
            break;
        }
        EXPECT_EQ(pool.figures().running, 0U);
        EXPECT_EQ(pool.figures().queued, 0U);
        EXPECT_LE(begun, 4);
        EXPECT_EQ(stopped, begun - 1);
    });
}

TEST_P(ExecutorMapTest, ACancelOfWhoWalksEndsItAndTheCalls) {
    run([] {
        ThreadPool pool({.threads = 2});
        std::binary_semaphore runs(0);
        auto walker = start([&] {
            auto f = [&](int x) {
                runs.release();
                for (;;) checkpoint();
                return x;
            };
            for (int x : pool.map(f, std::vector{1, 2}, {.ahead = 1})) ADD_FAILURE() << x;
        });
        while (!runs.try_acquire()) yield();
        walker.cancel("enough");
        EXPECT_THROW(await(walker), CancelledError);
        EXPECT_EQ(pool.figures().running, 0U);
    });
}

TEST_P(ExecutorMapTest, NoInputsIsNoResults) {
    run([] {
        ThreadPool pool;
        for (int x : pool.map(square, std::vector<int>{})) ADD_FAILURE() << x;
        EXPECT_EQ(pool.figures().threads, 0U);
    });
}

TEST_P(ExecutorMapTest, InputsAndResultsMayBeMovedAlone) {
    run([] {
        ThreadPool pool;
        std::vector<std::unique_ptr<int>> boxes;
        for (int i = 0; i < 10; ++i) boxes.push_back(std::make_unique<int>(i));
        auto inputs = std::ranges::subrange(std::move_iterator(boxes.begin()),
                                            std::move_iterator(boxes.end()));
        auto twice = [](std::unique_ptr<int> box) { return std::make_unique<int>(*box * 2); };
        int sum = 0;
        for (std::unique_ptr<int>& box : pool.map(twice, inputs)) sum += *std::move(box);
        EXPECT_EQ(sum, 90);
    });
}

TEST_P(ExecutorMapTest, ResultsMayBeTakenByAnAlgorithm) {
    run([] {
        ThreadPool pool;
        auto squares = pool.map(square, std::views::iota(0, 5));
        int sum = 0;
        for (auto i = squares.begin(); i != squares.end(); ++i) sum += *i;
        EXPECT_EQ(sum, 30);
    });
}

}  // namespace

}  // namespace weft::test
