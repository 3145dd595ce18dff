// Values whose move constructor throws: the exception comes out where the value was to go, and the value is where it was.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

struct Broken : std::runtime_error {
    Broken() : std::runtime_error("move") {}
};

/// Of its moves, the one that it is told to throws.
struct Fragile {
    static inline std::atomic<int> alive{0};
    static inline std::atomic<int> moves_until_failure{0};  // 0: none fails

    int value;

    explicit Fragile(int v) : value(v) { ++alive; }
    Fragile(Fragile&& other) : value(other.value) {
        int left = moves_until_failure.load();
        while (left > 0 && !moves_until_failure.compare_exchange_weak(left, left - 1)) {
        }
        if (left == 1) throw Broken();
        other.value = -1;
        ++alive;
    }
    ~Fragile() { --alive; }
    bool operator<(const Fragile& other) const { return value < other.value; }
};

/// While it lives, the n-th move from now on throws.
class FailAt {
public:
    explicit FailAt(int n) { Fragile::moves_until_failure = n; }
    ~FailAt() { Fragile::moves_until_failure = 0; }
    FailAt(const FailAt&) = delete;
    FailAt& operator=(const FailAt&) = delete;
};

/// Calls f with its first move failing, its second, and so on, until none is left to fail. How many there were.
template <class F>
int with_each_move_failing(F&& f) {
    for (int n = 1;; ++n) {
        FailAt fail(n);
        try {
            f();
            return n - 1;
        } catch (const Broken&) {
        } catch (const ExceptionGroup& group) {
            EXPECT_EQ(group.exceptions().size(), 1U);
            EXPECT_EQ(text_of(group.exceptions().at(0)), "move");
        }
    }
}

/// A callable with a Fragile in it.
auto giving(int value) {
    return [held = Fragile(value)]() mutable { return Fragile(std::move(held)); };
}

class ThrowingMovesTest : public Everywhere {
protected:
    void SetUp() override {
        Everywhere::SetUp();
        Fragile::alive = 0;
        Fragile::moves_until_failure = 0;
    }
    void TearDown() override {
        EXPECT_EQ(Fragile::alive, 0) << "values were leaked, or destroyed twice";
        Everywhere::TearDown();
    }
};
WEFT_TEST_EVERYWHERE(ThrowingMovesTest);

// --- tasks and futures --------------------------------------------------------------------------------------------

TEST_P(ThrowingMovesTest, AResultThatCouldNotBeTakenCanBeTakenAgain) {
    run([] {
        auto task = create_task([] { return Fragile(7); });
        weft::wait({task});
        Future<Fragile> future;
        future.set_result(Fragile(8));
        {
            FailAt fail(1);
            EXPECT_THROW(await(Task<Fragile>(task)), Broken);
        }
        {
            FailAt fail(1);
            EXPECT_THROW(await(Future<Fragile>(future)), Broken);
        }
        EXPECT_EQ(task.result().value, 7);
        EXPECT_EQ(await(std::move(task)).value, 7);
        EXPECT_EQ(await(std::move(future)).value, 8);
    });
}

TEST_P(ThrowingMovesTest, WhatThrowsInATaskIsTheTasksError) {
    run([] {
        FailAt fail(1);
        auto task = create_task([] {
            Fragile local(1);
            return Fragile(std::move(local));
        });
        EXPECT_THROW(await(task), Broken);
    });
}

TEST_P(ThrowingMovesTest, ACallableThatCouldNotBeMovedMakesNoTask) {
    run([] {
        auto callable = giving(1);
        FailAt fail(1);
        EXPECT_THROW(create_task(std::move(callable)), Broken);
        EXPECT_TRUE(weft::all_tasks().size() == 1);
    });
    run([] { EXPECT_GT(with_each_move_failing([] { await(create_task(giving(1))); }), 2); });
    run([] {
        auto large = [] {
            return [held = Fragile(1), more = std::array<char, 2000>{}] { return more[0]; };
        };
        EXPECT_GT(with_each_move_failing([&] { await(create_task(large())); }), 0);
    });
}

TEST_P(ThrowingMovesTest, AFutureWhoseValueCouldNotBeMadeIsNotSet) {
    run([] {
        Future<Fragile> future;
        auto waiter = start([&] { EXPECT_EQ(await(future).value, 2); });
        {
            FailAt fail(1);
            EXPECT_THROW(future.set_result(Fragile(1)), Broken);
        }
        EXPECT_FALSE(future.done());
        EXPECT_THROW(future.result(), InvalidStateError);
        future.set_result(Fragile(2));
        await(waiter);
    });
}

TEST_P(ThrowingMovesTest, OneThatCouldNotBeSetCanBeCancelled) {
    run([] {
        Future<Fragile> future;
        FailAt fail(1);
        EXPECT_THROW(future.try_set_result(Fragile(1)), Broken);
        EXPECT_TRUE(future.cancel());
        EXPECT_TRUE(future.cancelled());
    });
}

// --- several at once ----------------------------------------------------------------------------------------------

TEST_P(ThrowingMovesTest, ItComesOutOfEveryKindOfGather) {
    run([] {
        auto two = [] {
            auto [a, b] = gather([] { return Fragile(1); }, [] { return Fragile(2); });
            EXPECT_EQ(a.value + b.value, 3);
        };
        EXPECT_GT(with_each_move_failing(two), 0);
        auto outcomes = [] {
            auto [a, b] =
                gather(return_exceptions, [] { return Fragile(1); }, [] { return Fragile(2); });
            EXPECT_EQ(a.value().value + b.value().value, 3);
        };
        EXPECT_GT(with_each_move_failing(outcomes), 0);
        auto jobs = [] { return std::vector(3, [] { return Fragile(1); }); };
        EXPECT_GT(with_each_move_failing([&] { EXPECT_EQ(gather(jobs()).size(), 3U); }), 0);
        EXPECT_GT(with_each_move_failing(
                      [&] { EXPECT_EQ(gather(at_most(2), return_exceptions, jobs()).size(), 3U); }),
                  0);
    });
}

TEST_P(ThrowingMovesTest, GatherDoesNotLoseWhatItCouldNotTakeFromATaskOfTheCallers) {
    run([] {
        auto task = create_task([] { return Fragile(5); });
        {
            FailAt fail(1);
            EXPECT_THROW(gather(task), Broken);
        }
        EXPECT_EQ(await(std::move(task)).value, 5);
    });
}

TEST_P(ThrowingMovesTest, WaitAndAsCompletedLeaveTheValuesInTheTasks) {
    run([] {
        std::vector<Task<Fragile>> tasks;
        for (int i = 1; i <= 3; ++i) tasks.push_back(create_task([i] { return Fragile(i); }));
        FailAt fail(1);
        auto [done, pending] = weft::wait(tasks);
        EXPECT_EQ(done.size(), 3U);
        int sum = 0;
        int failures = 0;
        for (auto task : as_completed(tasks)) {
            try {
                sum += await(Task<Fragile>(task)).value;
            } catch (const Broken&) {
                ++failures;
                sum += await(Task<Fragile>(task)).value;
            }
        }
        EXPECT_EQ(sum, 6);
        EXPECT_EQ(failures, 1);
    });
}

TEST_P(ThrowingMovesTest, ItComesOutOfATaskGroup) {
    run([] {
        auto value = [] {
            return task_group([](TaskGroup& tg) {
                       tg.create_task(giving(1));
                       return Fragile(2);
                   })
                .value;
        };
        EXPECT_GT(with_each_move_failing([&] { EXPECT_EQ(value(), 2); }), 2);
    });
}

TEST_P(ThrowingMovesTest, AChildWhoseValueCouldNotBeSaidHasNotSaidIt) {
    run([] {
        task_group([](TaskGroup& tg) {
            Fragile value = tg.start<Fragile>([](TaskStatus<Fragile>& status) {
                FailAt fail(1);
                EXPECT_THROW(status.started(Fragile(1)), Broken);
                status.started(Fragile(2));
            });
            EXPECT_EQ(value.value, 2);
        });
    });
}

TEST_P(ThrowingMovesTest, ItComesOutOfTheWaysToWaitForOne) {
    run([] {
        auto make = [] { return Fragile(1); };
        EXPECT_GT(with_each_move_failing([&] { weft::shield(make); }), 0);
        with_each_move_failing([&] { weft::timeout(1h, make); });
        EXPECT_GT(with_each_move_failing([&] { weft::wait_for(create_task(make), 1h); }), 0);
        EXPECT_GT(with_each_move_failing([&] { await(coroutine(giving(1))); }), 0);
        EXPECT_GT(with_each_move_failing([&] { staggered_race(std::vector(2, make)); }), 0);
    });
}

TEST_P(ThrowingMovesTest, AContextVariableThatCouldNotBeSetIsAsItWas) {
    static ContextVar<std::shared_ptr<Fragile>> pointer{"pointer", nullptr};
    struct Value {
        std::shared_ptr<int> number;
        explicit Value(std::shared_ptr<int> n) : number(std::move(n)) {}
        Value(const Value& other) : number(other.number) {
            if (*number < 0) throw Broken();
        }
    };
    static ContextVar<Value> var{"var"};
    run([] {
        auto number = std::make_shared<int>(1);
        var.set(Value(number));
        auto bad = std::make_shared<int>(-1);
        EXPECT_THROW(var.set(Value(bad)), Broken);
        EXPECT_EQ(*var.get().number, 1);
        *number = -1;
        EXPECT_THROW(var.get(), Broken);
        *number = 2;
        EXPECT_EQ(*var.get().number, 2);
    });
}

// --- queues -------------------------------------------------------------------------------------------------------

template <class Q>
class ThrowingItemsTest : public WithWatchdog {
protected:
    void SetUp() override {
        Fragile::alive = 0;
        Fragile::moves_until_failure = 0;
    }
    template <class F>
    void everywhere(F f) {
        for (unsigned workers : {1U, 2U, 4U}) {
            SCOPED_TRACE(workers);
            run_with({.workers = workers}, f);
        }
        run_strict(f);
        EXPECT_EQ(Fragile::alive, 0) << "items were leaked, or destroyed twice";
    }
};
using Queues = ::testing::Types<Queue<Fragile>, LifoQueue<Fragile>, PriorityQueue<Fragile>>;
TYPED_TEST_SUITE(ThrowingItemsTest, Queues);

template <class Q>
int get_in_spite(Q& queue, int failing_move) {
    FailAt fail(failing_move);
    EXPECT_THROW(queue.get(), Broken);
    return queue.get().value;
}

TYPED_TEST(ThrowingItemsTest, OneThatCouldNotBePutIsNotInTheQueue) {
    this->everywhere([] {
        TypeParam queue(1);
        {
            FailAt fail(1);
            EXPECT_THROW(queue.put(Fragile(1)), Broken);
        }
        {
            FailAt fail(1);
            EXPECT_THROW(queue.put_nowait(Fragile(1)), Broken);
        }
        EXPECT_TRUE(queue.empty());
        EXPECT_FALSE(queue.full());
        queue.put_nowait(Fragile(2));
        EXPECT_EQ(queue.get().value, 2);
    });
}

TYPED_TEST(ThrowingItemsTest, OneThatCouldNotBeTakenIsTheNextToBeTaken) {
    this->everywhere([] {
        TypeParam queue(2);
        queue.put(Fragile(1));
        EXPECT_EQ(get_in_spite(queue, 1), 1);
        EXPECT_TRUE(queue.empty());
        queue.put(Fragile(2));
        {
            FailAt fail(1);
            EXPECT_THROW(queue.get_nowait(), Broken);
        }
        EXPECT_EQ(queue.qsize(), 1U);
        queue.put(Fragile(3));
        EXPECT_TRUE(queue.full());
        EXPECT_EQ(queue.get().value, 2);
        EXPECT_EQ(queue.get().value, 3);
    });
}

TYPED_TEST(ThrowingItemsTest, OneThatCouldNotBeTakenGoesToTheNextInLine) {
    this->everywhere([] {
        TypeParam queue(1);
        std::atomic<int> failures = 0;
        std::atomic<int> sum = 0;
        auto getter = [&] {
            try {
                sum += queue.get().value;
            } catch (const Broken&) {
                ++failures;
            }
        };
        auto first = start(getter);
        auto second = start(getter);
        {
            Fragile item(5);
            FailAt fail(2);  // the first move takes it in
            queue.put(std::move(item));
            await(first);
            await(second);
        }
        EXPECT_EQ(failures, 1);
        EXPECT_EQ(sum, 5);
        EXPECT_TRUE(queue.empty());
        EXPECT_FALSE(queue.full());
    });
}

TYPED_TEST(ThrowingItemsTest, WhoeverGotTheRoomInTheMeantimeKeepsIt) {
    this->everywhere([] {
        TypeParam queue(1);
        queue.put(Fragile(1));
        auto putter = start([&] { queue.put(Fragile(2)); });
        {
            FailAt fail(1);
            EXPECT_THROW(queue.get(), Broken);
        }
        await(putter);
        EXPECT_EQ(queue.qsize(), 2U);
        auto later = start([&] { queue.put(Fragile(3)); });
        EXPECT_EQ(queue.get().value, 1);
        EXPECT_TRUE(queue.full());
        EXPECT_FALSE(later.done());
        EXPECT_EQ(queue.get().value, 2);
        EXPECT_EQ(queue.get().value, 3);
        await(later);
        EXPECT_FALSE(queue.full());
    });
}

TYPED_TEST(ThrowingItemsTest, ALoopOverTheQueueLosesNone) {
    this->everywhere([] {
        TypeParam queue;
        for (int i = 1; i <= 3; ++i) queue.put(Fragile(i));
        queue.shutdown();
        int sum = 0;
        {
            FailAt fail(2);
            EXPECT_THROW(
                {
                    for (auto& item : queue) sum += item.value;
                },
                Broken);
        }
        for (auto& item : queue) sum += item.value;
        EXPECT_EQ(sum, 6);
    });
}

TYPED_TEST(ThrowingItemsTest, WhatCameBackIsDroppedWithTheRest) {
    this->everywhere([] {
        TypeParam queue;
        auto put_back = [&] {
            FailAt fail(1);
            EXPECT_THROW(queue.get(), Broken);
        };
        queue.put(Fragile(1));
        queue.put(Fragile(2));
        put_back();
        queue.shutdown(immediate);
        EXPECT_EQ(Fragile::alive, 0);
        queue.join();
        TypeParam destroyed;
        destroyed.put(Fragile(1));
        FailAt fail(1);
        EXPECT_THROW(destroyed.get(), Broken);
    });
}

TYPED_TEST(ThrowingItemsTest, SelectTakesNothingAndPutsNothing) {
    this->everywhere([] {
        TypeParam queue(1);
        int got = 0;
        auto get = [&] {
            return weft::select(on_get(queue, [&](Fragile item) { got = item.value; }));
        };
        Fragile mine(1);
        {
            FailAt fail(1);
            EXPECT_THROW(weft::select(on_put(queue, std::move(mine))), Broken);
        }
        EXPECT_EQ(mine.value, 1);
        EXPECT_TRUE(queue.empty());
        weft::select(on_put(queue, std::move(mine)));
        {
            FailAt fail(1);
            EXPECT_THROW(get(), Broken);
        }
        EXPECT_EQ(queue.qsize(), 1U);
        get();
        EXPECT_EQ(got, 1);

        auto waiting = start([&] { EXPECT_THROW(get(), Broken); });
        Fragile item(2);
        {
            FailAt fail(2);
            queue.put(std::move(item));
            await(waiting);
        }
        get();
        EXPECT_EQ(got, 2);
    });
}

// --- other threads ------------------------------------------------------------------------------------------------

class ThrowingMovesOutsideTest : public ThrowingMovesTest {};
WEFT_TEST_ON_THREADS(ThrowingMovesOutsideTest);

TEST_P(ThrowingMovesOutsideTest, ItComesOutOfToThread) {
    run([] {
        EXPECT_GT(with_each_move_failing([] { to_thread([] { return Fragile(1); }); }), 0);
        EXPECT_GT(with_each_move_failing([] { to_thread(abandon_on_cancel, giving(1)); }), 2);
    });
}

TEST_P(ThrowingMovesOutsideTest, ItComesOutOfSubmitAndPost) {
    Runtime runtime(options());
    EXPECT_GT(
        with_each_move_failing([&] { EXPECT_EQ(runtime.submit(giving(1)).result().value, 1); }), 2);
    auto callable = giving(1);
    {
        FailAt fail(1);
        EXPECT_THROW(runtime.post(std::move(callable)), Broken);
    }
    EXPECT_TRUE(runtime.shutdown());
}

TEST_P(ThrowingMovesOutsideTest, ItComesOutOfRun) {
    EXPECT_GT(with_each_move_failing([&] { EXPECT_EQ(weft::run(giving(1), options()).value, 1); }),
              2);
}

}  // namespace

}  // namespace weft::test
