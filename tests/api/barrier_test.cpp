// Barrier. The ids are those of asyncio's semantics; most cases are those of its own tests.
#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "api/support.hpp"

namespace {

using weft::Barrier;
using weft::BrokenBarrierError;
using weft::CancelledError;

constexpr std::ptrdiff_t kParties = 5;

class BarrierTest : public OnWorkers {};
WEFT_ON_WORKERS(BarrierTest);
class BarrierStrictTest : public WithWatchdog {};

template <class F>
void run_parties(std::ptrdiff_t n, F f) {
    weft::task_group([&](weft::TaskGroup& tg) {
        for (std::ptrdiff_t i = 0; i < n; ++i) tg.create_task(f);
    });
}

// ba-1
TEST_P(BarrierTest, GivesEachPartyAnIndexOfItsOwn) {
    std::vector<std::size_t> indices;
    run([&] {
        Barrier barrier(kParties);
        weft::Lock lock;
        for (int round = 0; round < 3; ++round) {
            indices.clear();
            run_parties(kParties, [&] {
                std::size_t index = barrier.wait();
                std::lock_guard guard(lock);
                indices.push_back(index);
            });
            std::ranges::sort(indices);
            EXPECT_EQ(indices, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
        }
        EXPECT_EQ(barrier.n_waiting(), 0U);
        EXPECT_FALSE(barrier.broken());
    });
}

TEST_P(BarrierTest, NobodyPassesBeforeAllHaveCome) {
    run([] {
        Barrier barrier(3);
        EXPECT_EQ(barrier.parties(), 3U);
        auto first = start([&] { return barrier.wait(); });
        EXPECT_EQ(barrier.n_waiting(), 1U);
        auto second = start([&] { return barrier.wait(); });
        EXPECT_EQ(barrier.n_waiting(), 2U);
        EXPECT_FALSE(first.done() || second.done());
        EXPECT_EQ(barrier.wait(), 2U);
        EXPECT_EQ(weft::await(first), 0U);
        EXPECT_EQ(weft::await(second), 1U);
        EXPECT_EQ(barrier.n_waiting(), 0U);
    });
}

TEST_P(BarrierTest, OfOnePartyNeverWaits) {
    run([] {
        Barrier barrier(1);
        EXPECT_EQ(barrier.wait(), 0U);
        EXPECT_EQ(barrier.wait(), 0U);
    });
}

TEST(Barrier, RefusesToHaveNoParties) {
    EXPECT_THROW(Barrier(0), std::invalid_argument);
    EXPECT_THROW(Barrier(-4), std::invalid_argument);
}

TEST_P(BarrierTest, ServesRoundAfterRound) {
    run([] {
        Barrier barrier(kParties);
        std::atomic<int> arrived{0};
        run_parties(kParties, [&] {
            for (int round = 1; round <= 100; ++round) {
                ++arrived;
                barrier.wait();
                EXPECT_GE(arrived, round * kParties);
            }
        });
        EXPECT_EQ(arrived, 100 * kParties);
    });
}

// asyncio's test_blocking_tasks_while_draining
TEST_P(BarrierTest, WhoComesWhileItDrainsWaitsForTheNextRound) {
    run([] {
        constexpr int kAgain = 2;
        Barrier barrier(kParties);
        Barrier others(kParties - kAgain);
        std::atomic<int> again{kAgain};
        run_parties(kParties, [&] {
            barrier.wait();
            if (again.fetch_sub(1) <= 0) others.wait();
            barrier.wait();
        });
        EXPECT_EQ(barrier.n_waiting(), 0U);
    });
}

// ba-2
TEST_P(BarrierTest, AbortBreaksItForAllWhoWaitAndAllWhoCome) {
    run([] {
        Barrier barrier(3);
        auto task = start([&] { barrier.wait(); });
        barrier.abort();
        EXPECT_TRUE(barrier.broken());
        EXPECT_THROW(weft::await(task), BrokenBarrierError);
        EXPECT_THROW(barrier.wait(), BrokenBarrierError);
        EXPECT_EQ(barrier.n_waiting(), 0U);
    });
}

// ba-3
TEST_P(BarrierTest, ResetMendsABrokenOne) {
    run([] {
        Barrier barrier(2);
        barrier.abort();
        barrier.reset();
        EXPECT_FALSE(barrier.broken());
        auto task = start([&] { return barrier.wait(); });
        EXPECT_EQ(barrier.wait(), 1U);
        EXPECT_EQ(weft::await(task), 0U);
    });
}

TEST_P(BarrierTest, ResetFailsThoseWhoWaitButNotThoseWhoCome) {
    run([] {
        Barrier barrier(kParties);
        std::vector<weft::Task<bool>> tasks;
        for (int i = 0; i < kParties - 1; ++i) {
            tasks.push_back(start([&] {
                bool failed = false;
                try {
                    barrier.wait();
                } catch (const BrokenBarrierError&) {
                    failed = true;
                }
                barrier.wait();
                return failed;
            }));
        }
        barrier.reset();
        EXPECT_FALSE(barrier.broken());
        barrier.wait();
        for (auto& task : tasks) EXPECT_TRUE(weft::await(task));
    });
}

// ba-4
TEST_P(BarrierTest, ACancelledWaiterLeavesWithoutBreakingIt) {
    run([] {
        Barrier barrier(3);
        auto first = start([&] { return barrier.wait(); });
        auto second = start([&] { return barrier.wait(); });
        first.cancel();
        EXPECT_THROW(weft::await(first), CancelledError);
        EXPECT_EQ(barrier.n_waiting(), 1U);
        EXPECT_FALSE(barrier.broken());
        auto third = start([&] { return barrier.wait(); });
        EXPECT_EQ(barrier.n_waiting(), 2U);
        barrier.wait();
        weft::await(second);
        weft::await(third);
        EXPECT_EQ(barrier.n_waiting(), 0U);
    });
}

// asyncio's test_reset_barrier_when_tasks_half_draining_half_blocking
TEST_F(BarrierStrictTest, ResetWhileItDrainsFailsOnlyThoseWhoHaveNotLeftYet) {
    int failed_draining = 0;
    int failed_blocked = 0;
    run_strict([&] {
        Barrier barrier(kParties);
        int passed = 0;
        run_parties(kParties, [&] {
            try {
                barrier.wait();
            } catch (const BrokenBarrierError&) {
                ++failed_draining;
                barrier.wait();
                return;
            }
            if (++passed > kParties / 2) {
                barrier.reset();
                barrier.wait();
                return;
            }
            try {
                barrier.wait();
            } catch (const BrokenBarrierError&) {
                ++failed_blocked;
            }
        });
        EXPECT_EQ(barrier.n_waiting(), 0U);
        EXPECT_FALSE(barrier.broken());
    });
    EXPECT_EQ(failed_draining, kParties / 2);
    EXPECT_EQ(failed_blocked, 0);
}

// asyncio's test_abort_barrier_when_tasks_half_draining_half_blocking
TEST_F(BarrierStrictTest, AbortWhileItDrainsFailsThoseWhoHaveNotLeftAndThoseBlocked) {
    int failed_draining = 0;
    int failed_blocked = 0;
    run_strict([&] {
        Barrier barrier(kParties);
        int passed = 0;
        run_parties(kParties, [&] {
            try {
                barrier.wait();
            } catch (const BrokenBarrierError&) {
                ++failed_draining;
                return;
            }
            if (++passed > kParties / 2) {
                barrier.abort();
                return;
            }
            try {
                barrier.wait();
            } catch (const BrokenBarrierError&) {
                ++failed_blocked;
            }
        });
        EXPECT_TRUE(barrier.broken());
        EXPECT_EQ(barrier.n_waiting(), 0U);
    });
    EXPECT_EQ(failed_draining, kParties / 2);
    EXPECT_EQ(failed_blocked, kParties - kParties / 2 - 1);
}

// asyncio's test_reset_barrier_while_tasks_draining
TEST_F(BarrierStrictTest, ResetByTheLastOneOutDisturbsNobody) {
    int second_rounds = 0;
    int third_rounds = 0;
    run_strict([&] {
        Barrier barrier(kParties);
        int count = 0;
        run_parties(kParties, [&] {
            barrier.wait();
            if (++count == kParties) {
                barrier.reset();
                barrier.wait();
            } else {
                barrier.wait();
                ++second_rounds;
            }
            barrier.wait();
            ++third_rounds;
        });
        EXPECT_FALSE(barrier.broken());
    });
    EXPECT_EQ(second_rounds, kParties - 1);
    EXPECT_EQ(third_rounds, kParties);
}

// asyncio's test_abort_barrier_when_exception_then_resetting
TEST_P(BarrierTest, CanBeMendedByThoseWhoMeetAtAnother) {
    std::atomic<int> passed{0};
    std::atomic<int> broken{0};
    std::atomic<int> mended{0};
    run([&] {
        Barrier work(kParties);
        Barrier repair(kParties);
        run_parties(kParties, [&] {
            try {
                if (work.wait() == kParties / 2) throw std::runtime_error("no");
                work.wait();
                ++passed;
            } catch (const BrokenBarrierError&) {
                ++broken;
            } catch (const std::runtime_error&) {
                work.abort();
            }
            if (repair.wait() == kParties / 2) work.reset();
            repair.wait();
            work.wait();
            ++mended;
        });
        EXPECT_FALSE(work.broken());
    });
    EXPECT_EQ(passed, 0);
    EXPECT_EQ(broken, kParties - 1);
    EXPECT_EQ(mended, kParties);
}

TEST_P(BarrierTest, MayBeDestroyedByWhoeverHasPassed) {
    run([] {
        for (int i = 0; i < 300; ++i) {
            auto barrier = std::make_unique<Barrier>(2);
            auto other = weft::create_task([shared = barrier.get()] { shared->wait(); });
            barrier->wait();
            barrier.reset();
            weft::await(other);
        }
    });
}

TEST_P(BarrierTest, TasksAndPlainThreadsMeet) {
    Barrier barrier(3);
    std::atomic<int> rounds{0};
    auto play = [&] {
        for (int i = 0; i < 50; ++i) {
            if (barrier.wait() == 0) ++rounds;
        }
    };
    std::thread thread(play);
    run([&] { run_parties(2, play); });
    thread.join();
    EXPECT_EQ(rounds, 50);
}

}  // namespace
