// gather: values in order, failures, cancels. The ids are those of asyncio's semantics.
#include <memory>
#include <stdexcept>
#include <variant>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class GatherTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(GatherTest);

// --- values -------------------------------------------------------------------------------------------------------

// gather-1
TEST_P(GatherTest, ValuesComeInTheOrderOfTheArgumentsWhateverEndsFirst) {
    run([] {
        Event first;
        Event second;
        auto [a, b, c] = gather(
            [&] {
                first.wait();
                return 1;
            },
            [&] {
                second.wait();
                first.set();
                return std::string("two");
            },
            [&] {
                second.set();
                return 3.0;
            });
        EXPECT_EQ(a, 1);
        EXPECT_EQ(b, "two");
        EXPECT_EQ(c, 3.0);
    });
}

// gather-1
TEST_P(GatherTest, ARangeGivesAVectorInItsOrder) {
    run([] {
        std::vector<Coroutine<int>> coroutines;
        auto square = weft::async([](int x) {
            for (int i = 0; i < x % 4; ++i) yield();
            return x * x;
        });
        for (int i = 0; i < 50; ++i) coroutines.push_back(square(i));
        std::vector<int> values = gather(std::move(coroutines));
        ASSERT_EQ(values.size(), 50U);
        for (int i = 0; i < 50; ++i) EXPECT_EQ(values[static_cast<std::size_t>(i)], i * i);
    });
}

// gather-2
TEST_P(GatherTest, NothingToGatherGivesNothingAtOnce) {
    run([&] {
        HoldOtherWorkers hold(workers());
        bool other_ran = false;
        auto other = create_task([&] { other_ran = true; });
        static_assert(std::is_same_v<decltype(gather()), std::tuple<>>);
        gather();
        EXPECT_TRUE(gather(std::vector<Task<int>>()).empty());
        EXPECT_TRUE(gather(return_exceptions, std::vector<Task<int>>()).empty());
        EXPECT_FALSE(other_ran);
        hold.release();
        await(other);
    });
}

TEST_P(GatherTest, TasksFuturesCoroutinesAndCallablesMayBeMixed) {
    run([] {
        auto task = create_task([] { return 1; });
        Future<int> future;
        auto [a, b, c, d] = gather(task, future, weft::coroutine([] { return 3; }), [&] {
            future.set_result(2);
            return 4;
        });
        EXPECT_EQ(a + 10 * b + 100 * c + 1000 * d, 4321);
        EXPECT_EQ(task.result(), 1) << "the caller's handle keeps its value";
        EXPECT_EQ(future.result(), 2);
    });
}

TEST_P(GatherTest, VoidIsMonostateAndMoveOnlyValuesAndReferencesCome) {
    run([] {
        int here = 0;
        auto results = gather([] { yield(); }, [] { return std::make_unique<int>(5); },
                              [&]() -> int& { return here; });
        static_assert(std::is_same_v<std::tuple_element_t<0, decltype(results)>, std::monostate>);
        EXPECT_EQ(*std::get<1>(results), 5);
        EXPECT_EQ(&std::get<2>(results), &here);
        auto boxes = gather(std::vector{+[] { return std::make_unique<int>(6); }});
        EXPECT_EQ(*boxes.at(0), 6);
        EXPECT_EQ(gather(std::vector{+[] {}, +[] {}}).size(), 2U);
    });
}

// gather-8
TEST_P(GatherTest, AnAwaitableGivenTwiceRunsOnceAndItsValueIsRepeated) {
    run([] {
        std::atomic<int> runs = 0;
        auto task = create_task([&] { return ++runs; });
        auto [a, b, c] = gather(task, task, task);
        EXPECT_EQ(a + b + c, 3);
        EXPECT_EQ(gather(std::vector{task, task}), (std::vector{1, 1}));
        auto outcomes = gather(return_exceptions, task, task);
        EXPECT_EQ(std::get<1>(outcomes).value(), 1);
        EXPECT_EQ(runs, 1);
    });
}

TEST_P(GatherTest, DoneOnesDoNotWait) {
    run([&] {
        auto done = create_task([] { return 1; });
        await(done);
        Future<int> set;
        set.set_result(2);
        auto [a, b] = gather(done, set);
        EXPECT_EQ(a + b, 3);
    });
}

TEST_P(GatherTest, TheyRunSideBySide) {
    run([] {
        Barrier barrier(10);
        auto meet = [&] { return barrier.wait(); };
        auto indices = gather(std::vector(10, meet));
        EXPECT_EQ(indices.size(), 10U);
    });
}

TEST_P(GatherTest, MayBeNestedAndWide) {
    run([] {
        auto ten = [] {
            int sum = 0;
            for (int value : gather(std::vector(10, [] {
                     yield();
                     return 1;
                 })))
                sum += value;
            return sum;
        };
        int sum = 0;
        for (int value : gather(std::vector(100, ten))) sum += value;
        EXPECT_EQ(sum, 1000);
    });
}

// --- failures -----------------------------------------------------------------------------------------------------

// gather-3
TEST_P(GatherTest, TheFirstErrorComesAtOnceAndTheOthersRunOn) {
    run([] {
        Event go_on;
        auto slow = create_task([&] {
            go_on.wait();
            return 1;
        });
        auto fail = [] { throw std::runtime_error("first"); };
        EXPECT_EQ(what_of<std::runtime_error>([&] { gather(slow, fail); }), "first");
        EXPECT_FALSE(slow.done());
        EXPECT_EQ(slow.cancelling(), 0);
        go_on.set();
        EXPECT_EQ(await(slow), 1);
    });
}

// gather-3b: the fixture fails a test in which an error is reported.
TEST_P(GatherTest, LaterErrorsCountAsRead) {
    run([] {
        Event go_on;
        Event failed;
        auto later = [&] {
            go_on.wait();
            failed.set();
            throw std::runtime_error("later");
        };
        auto fail = [] { throw std::runtime_error("first"); };
        EXPECT_EQ(what_of<std::runtime_error>([&] { gather(later, fail, later); }), "first");
        go_on.set();
        failed.wait();
        settle();
    });
}

TEST_P(GatherTest, AChildThatHasFailedBeforeThrowsAtOnce) {
    run([] {
        auto failed = create_task([]() -> int { throw std::runtime_error("before"); });
        EXPECT_THROW(await(failed), std::runtime_error);
        Future<int> pending;
        EXPECT_EQ(what_of<std::runtime_error>([&] { gather(pending, failed); }), "before");
        EXPECT_FALSE(pending.done());
    });
}

// gather-4
TEST_P(GatherTest, WithReturnExceptionsErrorsAreInTheirPlaces) {
    run([] {
        auto [good, bad, nothing] = gather(
            return_exceptions, [] { return 1; },
            []() -> int {
                yield();
                throw std::out_of_range("in place");
            },
            [] {});
        EXPECT_TRUE(good.has_value());
        EXPECT_EQ(good.value(), 1);
        EXPECT_EQ(good.error(), nullptr);
        EXPECT_FALSE(bad.has_value());
        EXPECT_FALSE(bad);
        EXPECT_EQ(text_of(bad.error()), "in place");
        EXPECT_THROW((void)bad.value(), std::out_of_range);
        EXPECT_TRUE(nothing.has_value());
        nothing.value();
    });
}

// gather-4
TEST_P(GatherTest, WithReturnExceptionsARangeGivesOutcomesAndWaitsForAll) {
    run([] {
        std::atomic<int> ended = 0;
        auto work = weft::async([&](int i) {
            if (i % 3 == 0) yield();
            ++ended;
            if (i % 2 == 1) throw std::runtime_error(std::to_string(i));
            return i;
        });
        std::vector<Coroutine<int>> coroutines;
        for (int i = 0; i < 20; ++i) coroutines.push_back(work(i));
        auto outcomes = gather(return_exceptions, std::move(coroutines));
        EXPECT_EQ(ended, 20);
        ASSERT_EQ(outcomes.size(), 20U);
        for (int i = 0; i < 20; ++i) {
            auto& outcome = outcomes[static_cast<std::size_t>(i)];
            if (i % 2 == 0)
                EXPECT_EQ(outcome.value(), i);
            else
                EXPECT_EQ(text_of(outcome.error()), std::to_string(i));
        }
    });
}

TEST_P(GatherTest, OutcomesMayBeMoveOnlyAndReferences) {
    run([] {
        int here = 0;
        auto [box, reference] = gather(
            return_exceptions, [] { return std::make_unique<int>(5); },
            [&]() -> int& { return here; });
        std::unique_ptr<int> taken = std::move(box).value();
        EXPECT_EQ(*taken, 5);
        EXPECT_EQ(&reference.value(), &here);
    });
}

// gather-7
TEST_P(GatherTest, WithReturnExceptionsACancelledChildIsInItsPlaceToo) {
    run([] {
        auto victim = create_task([] { wait_for_ever(); });
        auto outer = create_task([&] {
            auto [first, second] = gather(return_exceptions, victim, [] { return 2; });
            EXPECT_EQ(second.value(), 2);
            return cancel_message_of([&] { first.value(); });
        });
        settle();
        victim.cancel("the child");
        EXPECT_EQ(await(outer), "the child");
    });
}

// --- cancels ------------------------------------------------------------------------------------------------------

// gather-5
TEST_P(GatherTest, CancellingItCancelsEveryChildThatIsNotDone) {
    run([] {
        auto done = create_task([] { return 1; });
        await(done);
        auto first = create_task([] { wait_for_ever(); });
        auto second = create_task([] { wait_for_ever(); });
        Future<int> future;
        auto outer = create_task([&] { gather(done, first, second, future); });
        settle();
        outer.cancel();
        EXPECT_THROW(await(outer), CancelledError);
        settle();
        EXPECT_TRUE(first.cancelled());
        EXPECT_TRUE(second.cancelled());
        EXPECT_TRUE(future.cancelled());
        EXPECT_FALSE(done.cancelled());
    });
}

// gather-5
TEST_P(GatherTest, CancellingItIsACancelledErrorEvenWithReturnExceptions) {
    run([] {
        auto outer = create_task(
            [] { gather(return_exceptions, [] { wait_for_ever(); }, [] { wait_for_ever(); }); });
        settle();
        outer.cancel("all of it");
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "all of it");
    });
}

// gather-5
TEST_P(GatherTest, CancellingItIsACancelledErrorThoughTheChildrenSwallowIt) {
    run([] {
        auto swallow = [] {
            cancel_message_of([] { wait_for_ever(); });
            return 1;
        };
        auto plain = create_task([&] { gather(swallow, swallow); });
        auto outcomes = create_task([&] { gather(return_exceptions, swallow, swallow); });
        settle();
        plain.cancel("plain");
        outcomes.cancel("outcomes");
        EXPECT_EQ(cancel_message_of([&] { await(plain); }), "plain");
        EXPECT_EQ(cancel_message_of([&] { await(outcomes); }), "outcomes");
    });
}

// weft waits for all that it cancelled; asyncio goes on at the first.
TEST_P(GatherTest, ACancelledOneWaitsForTheCleanupOfAllItsChildren) {
    run([] {
        Event go_on;
        std::atomic<int> cleaned = 0;
        auto quick = [] { wait_for_ever(); };
        auto slow = [&] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                go_on.wait();
                ++cleaned;
                throw;
            }
        };
        auto plain = create_task([&] { gather(quick, slow); });
        auto outcomes = create_task([&] { gather(return_exceptions, quick, slow); });
        settle();
        plain.cancel();
        outcomes.cancel();
        settle();
        EXPECT_FALSE(plain.done());
        EXPECT_FALSE(outcomes.done());
        go_on.set();
        EXPECT_THROW(await(plain), CancelledError);
        EXPECT_THROW(await(outcomes), CancelledError);
        EXPECT_EQ(cleaned, 2);
    });
}

// gather-6
TEST_P(GatherTest, ACancelledChildIsACancelledErrorHereAndItsSiblingsSurvive) {
    run([] {
        auto victim = create_task([] { wait_for_ever(); });
        auto sibling = create_task([] { wait_for_ever(); });
        auto outer = create_task([&] {
            EXPECT_EQ(cancel_message_of([&] { gather(victim, sibling); }), "only one");
            EXPECT_EQ(current_task().cancelling(), 0) << "nobody cancelled the gathering task";
            yield();
        });
        settle();
        victim.cancel("only one");
        await(outer);
        EXPECT_FALSE(sibling.done());
        EXPECT_EQ(sibling.cancelling(), 0);
        sibling.cancel();
        EXPECT_THROW(await(sibling), CancelledError);
    });
}

TEST_P(GatherTest, ACancelAfterItHasThrownCancelsNobody) {
    run([] {
        auto sibling = create_task([] { wait_for_ever(); });
        auto outer = create_task([&] {
            EXPECT_THROW(gather(sibling, [] { throw std::runtime_error("first"); }),
                         std::runtime_error);
            wait_for_ever();
        });
        settle();
        outer.cancel();
        EXPECT_THROW(await(outer), CancelledError);
        EXPECT_FALSE(sibling.done());
        EXPECT_EQ(sibling.cancelling(), 0);
        sibling.cancel();
        EXPECT_THROW(await(sibling), CancelledError);
    });
}

TEST_P(GatherTest, ChildrenHaveCopiesOfTheContext) {
    static ContextVar<int> number{"number", 0};
    run([] {
        number.set(1);
        auto child = [] {
            int seen = number.get();
            number.set(seen + 1);
            yield();
            return seen;
        };
        auto [a, b] = gather(child, child);
        EXPECT_EQ(a + b, 2);
        auto outcomes = gather(return_exceptions, child);
        EXPECT_EQ(std::get<0>(outcomes).value(), 1);
        EXPECT_EQ(number.get(), 1);
    });
}

}  // namespace

}  // namespace weft::test
