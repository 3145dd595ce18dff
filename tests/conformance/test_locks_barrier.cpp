// test_locks.py: Barrier.
#include <stdexcept>

#include "conformance/awaitable.hpp"
#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_locks, BarrierTests);
WEFT_CONFORMS_IN_ORDER(test_locks, BarrierTests);

constexpr int kParties = 5;

template <class F>
auto make_tasks(int n, F f) {
    std::vector<decltype(create_task(f))> tasks;
    for (int i = 0; i < n; ++i) tasks.push_back(create_task(f));
    return tasks;
}

template <class F>
auto gather_tasks(int n, F f) {
    return gather(make_tasks(n, f));
}

/// As it was made: nobody is in it.
void expect_new(const Barrier& barrier) {
    EXPECT_EQ(barrier.n_waiting(), 0U);
    EXPECT_FALSE(barrier.broken());
}

TEST_P(BarrierTests, test_barrier) {
    static_assert(!Awaitable<Barrier>);
    run([] {
        Barrier barrier(kParties);
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_barrier_parties) {
    EXPECT_THROW(Barrier(0), std::invalid_argument);
    EXPECT_THROW(Barrier(-4), std::invalid_argument);
    EXPECT_EQ(Barrier(kParties).parties(), 5U);
}

TEST_P(BarrierTests, test_context_manager) {
    run([] {
        Barrier barrier(3);
        auto indices = gather_tasks(3, [&] { return barrier.wait(); });
        std::ranges::sort(indices);
        EXPECT_EQ(indices, (std::vector<std::size_t>{0, 1, 2}));
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_filling_one_task) {
    run([] {
        Barrier barrier(1);
        EXPECT_EQ(barrier.wait(), 0U);
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_filling_one_task_twice) {
    run([] {
        Barrier barrier(1);
        auto first = create_task([&] { return barrier.wait(); });
        settle();
        EXPECT_EQ(barrier.n_waiting(), 0U);
        auto second = create_task([&] { return barrier.wait(); });
        settle();
        EXPECT_TRUE(first.done() && second.done());
        EXPECT_EQ(first.result(), second.result());
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_filling_task_by_task) {
    run([] {
        Barrier barrier(3);
        std::vector<Task<std::size_t>> tasks;
        for (std::size_t n : {1U, 2U}) {
            tasks.push_back(create_task([&] { return barrier.wait(); }));
            settle();
            EXPECT_EQ(barrier.n_waiting(), n);
        }
        EXPECT_FALSE(tasks[0].done() || tasks[1].done());
        tasks.push_back(create_task([&] { return barrier.wait(); }));
        EXPECT_EQ(gather(tasks), (std::vector<std::size_t>{0, 1, 2}));
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_filling_tasks_wait_twice) {
    run([] {
        Barrier barrier(kParties);
        int first = 0;
        int second = 0;
        gather_tasks(kParties, [&] {
            barrier.wait();
            ++first;
            barrier.wait();
            EXPECT_EQ(first, kParties);
            ++second;
        });
        EXPECT_EQ(first, kParties);
        EXPECT_EQ(second, kParties);
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_filling_tasks_check_return_value) {
    run([] {
        Barrier barrier(kParties);
        int first = 0;
        int second = 0;
        auto indices = gather_tasks(kParties, [&] {
            barrier.wait();
            ++first;
            std::size_t index = barrier.wait();
            ++second;
            return index;
        });
        EXPECT_EQ(first, kParties);
        EXPECT_EQ(second, kParties);
        std::ranges::sort(indices);
        EXPECT_EQ(indices, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
        expect_new(barrier);
    });
}

// While it drains, who comes is not let in yet; when the last has gone on, it fills again.
TEST_P(BarrierTests_in_order, test_draining_state) {
    run([] {
        Barrier barrier(kParties);
        std::vector<bool> drains;
        std::vector<Task<std::size_t>> newcomers;
        gather_tasks(kParties, [&] {
            barrier.wait();
            newcomers.push_back(start([&] { return barrier.wait(); }));
            drains.push_back(barrier.n_waiting() == 0);
        });
        EXPECT_EQ(drains, (std::vector{true, true, true, true, false}));
        gather(newcomers);
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_blocking_tasks_while_draining) {
    run([] {
        constexpr int kAgain = 2;
        Barrier barrier(kParties);
        Barrier others(kParties - kAgain);
        int again = kAgain;
        int at_others = 0;
        gather_tasks(kParties, [&] {
            barrier.wait();
            if (again > 0) {
                --again;  // comes while the others have not gone on
            } else {
                ++at_others;
                others.wait();
            }
            barrier.wait();
        });
        EXPECT_EQ(at_others, kParties - kAgain);
        expect_new(barrier);
        expect_new(others);
    });
}

TEST_P(BarrierTests, test_filling_tasks_cancel_one) {
    run([] {
        Barrier barrier(3);
        int passed = 0;
        auto pass = [&] {
            barrier.wait();
            ++passed;
        };
        auto first = create_task(pass);
        settle();
        EXPECT_EQ(barrier.n_waiting(), 1U);
        auto second = create_task(pass);
        settle();
        EXPECT_EQ(barrier.n_waiting(), 2U);

        first.cancel();
        settle();
        EXPECT_EQ(barrier.n_waiting(), 1U);
        EXPECT_THROW(await(first), CancelledError);
        EXPECT_TRUE(first.cancelled());

        auto third = create_task(pass);
        settle();
        EXPECT_EQ(barrier.n_waiting(), 2U);
        EXPECT_EQ(passed, 0);
        auto fourth = create_task(pass);
        gather(second, third, fourth);
        EXPECT_EQ(passed, 3);
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_reset_barrier) {
    run([] {
        Barrier barrier(1);
        await(create_task([&] { barrier.reset(); }));
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_reset_barrier_while_tasks_waiting) {
    run([] {
        Barrier barrier(kParties);
        int refused = 0;
        auto tasks = make_tasks(kParties - 1, [&] {
            EXPECT_THROW(barrier.wait(), BrokenBarrierError);
            ++refused;
        });
        settle();
        auto resetter = create_task([&] { barrier.reset(); });
        gather(tasks);
        await(resetter);
        EXPECT_EQ(refused, kParties - 1);
        expect_new(barrier);
        gather_tasks(kParties, [&] { barrier.wait(); });  // it is as new
    });
}

TEST_P(BarrierTests, test_reset_barrier_when_tasks_half_draining) {
    run([] {
        Barrier barrier(kParties);
        int passed = 0;
        int refused = 0;
        gather_tasks(kParties, [&] {
            try {
                barrier.wait();
                if (++passed == kParties - kParties / 2) barrier.reset();
            } catch (const BrokenBarrierError&) {
                ++refused;
            }
        });
        EXPECT_EQ(refused, kParties / 2);
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_reset_barrier_when_tasks_half_draining_half_blocking) {
    run([] {
        Barrier barrier(kParties);
        int passed = 0;
        int refused = 0;
        int refused_again = 0;
        gather_tasks(kParties, [&] {
            try {
                barrier.wait();
            } catch (const BrokenBarrierError&) {
                ++refused;
                barrier.wait();
                return;
            }
            if (++passed > kParties / 2) {
                barrier.reset();
                barrier.wait();
                return;
            }
            try {
                barrier.wait();  // blocked meanwhile: the reset does not concern it
            } catch (const BrokenBarrierError&) {
                ++refused_again;
            }
        });
        EXPECT_EQ(refused, kParties / 2);
        EXPECT_EQ(refused_again, 0);
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_reset_barrier_while_tasks_waiting_and_waiting_again) {
    run([] {
        Barrier barrier(kParties);
        int refused = 0;
        int passed = 0;
        auto tasks = make_tasks(kParties - 1, [&] {
            try {
                barrier.wait();
            } catch (const BrokenBarrierError&) {
                ++refused;
            }
            barrier.wait();
            ++passed;
        });
        settle();
        auto resetter = create_task([&] { barrier.reset(); });
        settle();
        auto last = create_task([&] {
            barrier.wait();
            ++passed;
        });
        gather(tasks);
        gather(resetter, last);
        EXPECT_EQ(refused, kParties - 1);
        EXPECT_EQ(passed, kParties);
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_reset_barrier_while_tasks_draining) {
    run([] {
        Barrier barrier(kParties);
        int gone_on = 0;
        int second_rounds = 0;
        int refused = 0;
        int third_rounds = 0;
        gather_tasks(kParties, [&] {
            barrier.wait();
            if (++gone_on == kParties) {
                barrier.reset();  // nobody is left inside
                barrier.wait();
            } else {
                try {
                    barrier.wait();
                    ++second_rounds;
                } catch (const BrokenBarrierError&) {
                    ++refused;
                }
            }
            barrier.wait();
            ++third_rounds;
        });
        EXPECT_EQ(second_rounds, kParties - 1);
        EXPECT_EQ(refused, 0);
        EXPECT_EQ(third_rounds, kParties);
        expect_new(barrier);
    });
}

TEST_P(BarrierTests, test_abort_barrier) {
    run([] {
        Barrier barrier(1);
        await(create_task([&] { barrier.abort(); }));
        EXPECT_EQ(barrier.n_waiting(), 0U);
        EXPECT_TRUE(barrier.broken());
    });
}

TEST_P(BarrierTests, test_abort_barrier_when_tasks_half_draining_half_blocking) {
    run([] {
        Barrier barrier(kParties);
        int passed = 0;
        int refused_draining = 0;
        int refused_blocked = 0;
        gather_tasks(kParties, [&] {
            try {
                barrier.wait();
            } catch (const BrokenBarrierError&) {
                ++refused_draining;
                return;
            }
            if (++passed > kParties / 2) return barrier.abort();
            try {
                barrier.wait();
            } catch (const BrokenBarrierError&) {
                ++refused_blocked;
            }
        });
        EXPECT_TRUE(barrier.broken());
        EXPECT_EQ(refused_draining, kParties / 2);
        EXPECT_EQ(refused_blocked, kParties - kParties / 2 - 1);
        EXPECT_EQ(barrier.n_waiting(), 0U);
    });
}

TEST_P(BarrierTests, test_abort_barrier_when_exception) {
    run([] {
        Barrier barrier(kParties);
        int passed = 0;
        int refused = 0;
        gather_tasks(kParties, [&] {
            try {
                if (barrier.wait() == kParties / 2) throw std::runtime_error("one fails");
                barrier.wait();
                ++passed;
            } catch (const BrokenBarrierError&) {
                ++refused;
            } catch (const std::runtime_error&) {
                barrier.abort();
            }
        });
        EXPECT_TRUE(barrier.broken());
        EXPECT_EQ(passed, 0);
        EXPECT_EQ(refused, kParties - 1);
        EXPECT_EQ(barrier.n_waiting(), 0U);
    });
}

TEST_P(BarrierTests, test_abort_barrier_when_exception_then_resetting) {
    run([] {
        Barrier work(kParties);
        Barrier repair(kParties);
        int passed = 0;
        int refused = 0;
        int mended = 0;
        gather_tasks(kParties, [&] {
            try {
                if (work.wait() == kParties / 2) throw std::runtime_error("one fails");
                work.wait();
                ++passed;
            } catch (const BrokenBarrierError&) {
                ++refused;
            } catch (const std::runtime_error&) {
                work.abort();
            }
            // All have left when it is mended, and nobody comes before.
            if (repair.wait() == kParties / 2) work.reset();
            repair.wait();
            work.wait();
            ++mended;
        });
        EXPECT_EQ(passed, 0);
        EXPECT_EQ(refused, kParties - 1);
        EXPECT_EQ(mended, kParties);
        expect_new(work);
    });
}

}  // namespace

}  // namespace weft::test
