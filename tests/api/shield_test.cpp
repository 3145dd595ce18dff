// shield, which protects what is awaited, and ShieldScope, which protects who waits. The ids are those of asyncio's
// semantics.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class ShieldTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(ShieldTest);

class ShieldScopeTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(ShieldScopeTest);

// --- shield -------------------------------------------------------------------------------------------------------

TEST_P(ShieldTest, ItGivesTheValueOrTheErrorOfWhateverItIsGiven) {
    run([] {
        EXPECT_EQ(shield([] { return 1; }), 1);
        EXPECT_EQ(shield(weft::coroutine([] {
                      yield();
                      return 2;
                  })),
                  2);
        auto task = create_task([] { return std::string("three"); });
        EXPECT_EQ(shield(task), "three");
        EXPECT_EQ(shield(task), "three") << "the task keeps its value";
        Future<int> future;
        future.set_result(4);
        EXPECT_EQ(shield(future), 4);
        EXPECT_EQ(*shield([] { return std::make_unique<int>(5); }), 5);
        shield([] {});
        EXPECT_EQ(
            what_of<std::runtime_error>([] { shield([] { throw std::runtime_error("inner"); }); }),
            "inner");
    });
}

TEST_P(ShieldTest, AReferenceStaysAReference) {
    run([] {
        int here = 0;
        auto task = create_task([&]() -> int& { return here; });
        EXPECT_EQ(&await(task), &here);
        decltype(auto) seen = shield(task);
        EXPECT_TRUE((std::is_same_v<decltype(seen), int&>));
        EXPECT_EQ(&seen, &here);
    });
}

// sh-1
TEST_P(ShieldTest, ACancelOfTheWaiterIsRaisedThereAndTheInnerGoesOn) {
    run([] {
        Event go;
        auto inner = create_task([&] {
            go.wait();
            return 3;
        });
        auto outer = create_task([&] { return shield(inner); });
        settle();
        outer.cancel("the waiter");
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "the waiter");
        EXPECT_FALSE(inner.done());
        EXPECT_EQ(inner.cancelling(), 0);
        go.set();
        EXPECT_EQ(await(inner), 3);
    });
}

// sh-1
TEST_P(ShieldTest, ACoroutineGoesOnWhenItsWaiterIsCancelled) {
    run([] {
        Event go;
        std::atomic<bool> ended = false;
        auto outer = create_task([&] {
            shield(weft::coroutine([&] {
                go.wait();
                ended = true;
            }));
        });
        settle();
        outer.cancel();
        EXPECT_THROW(await(outer), CancelledError);
        go.set();
        yield_until([&] { return ended.load(); });
    });
}

// sh-2
TEST_P(ShieldTest, ACancelledInnerCancelsTheShield) {
    run([] {
        auto inner = create_task([] { wait_for_ever(); });
        auto outer = create_task([&] {
            std::string message = cancel_message_of([&] { shield(inner); });
            EXPECT_EQ(current_task().cancelling(), 0);
            return message;
        });
        settle();
        inner.cancel("the inner one");
        EXPECT_EQ(await(outer), "the inner one");
    });
}

TEST_P(ShieldTest, ADoneInnerLetsNothingElseRun) {
    run([&] {
        auto done = create_task([] { return 1; });
        await(done);
        HoldOtherWorkers hold(workers());
        bool other_ran = false;
        auto other = create_task([&] { other_ran = true; });
        EXPECT_EQ(shield(done), 1);
        EXPECT_FALSE(other_ran);
        hold.release();
        await(other);
    });
}

// Since Python 3.14.
TEST_P(ShieldTest, AnInnerThatFailsAfterItsWaiterWasCancelledIsReportedOnce) {
    Reports reports;
    run({.exception_handler = reports.handler()}, [&] {
        reports.take();
        Event go;
        auto outer = create_task([&] {
            shield([&] {
                go.wait();
                throw std::runtime_error("nobody waits");
            });
        });
        settle();
        outer.cancel();
        EXPECT_THROW(await(outer), CancelledError);
        go.set();
        yield_until([&] { return reports.size() > 0; });
        settle();
        auto told = reports.take();
        EXPECT_EQ(told.size(), 1U);
        EXPECT_NE(told[0].find("nobody waits"), std::string::npos) << told[0];
    });
}

TEST_P(ShieldTest, GatherOfShieldedOnesLeavesThemAloneWhenItIsCancelled) {
    run([] {
        Future<int> first;
        Future<int> second;
        auto outer = create_task(
            [&] { gather([&] { return shield(first); }, [&] { return shield(second); }); });
        settle();
        outer.cancel();
        EXPECT_THROW(await(outer), CancelledError);
        EXPECT_FALSE(first.done());
        EXPECT_FALSE(second.done());
    });
}

// --- ShieldScope: {normal exit, unwinding} x {with, without} ------------------------------------------------------

/// Waits in its destructor, as one that flushes or closes.
struct WaitsWithoutScope {
    Event& event;
    bool& waited;
    ~WaitsWithoutScope() noexcept(false) {
        event.wait();
        waited = true;
    }
};
struct WaitsInScope {
    Event& event;
    bool& waited;
    ~WaitsInScope() {
        ShieldScope shield;
        event.wait();
        waited = true;
    }
};

/// A task that ends a scope with a Waits in it while a cancel is due; the event is set once it waits there.
template <class Waits>
std::string end_scope(bool unwinding, bool& waited) {
    Event event;
    auto task = create_task([&] {
        std::string message = cancel_message_of([&] {
            {
                Waits waits{event, waited};
                if (unwinding) {
                    wait_for_ever();
                } else {
                    current_task().cancel("due");
                }
            }
            yield();
        });
        return message + (waited ? ", waited" : ", did not wait");
    });
    settle();
    task.cancel("due");
    settle();
    event.set();
    return await(task);
}

TEST_P(ShieldScopeTest,
       ADestructorThatRunsNormallyWithAScopeWaitsAndTheCancelIsKeptForTheNextWait) {
    run([] {
        bool waited = false;
        EXPECT_EQ(end_scope<WaitsInScope>(false, waited), "due, waited");
    });
}

TEST_P(ShieldScopeTest, ADestructorThatRunsNormallyWithoutAScopeIsACancelPoint) {
    run([] {
        bool waited = false;
        EXPECT_EQ(end_scope<WaitsWithoutScope>(false, waited), "due, did not wait");
    });
}

TEST_P(ShieldScopeTest, ADestructorThatUnwindsWithAScopeWaits) {
    run([] {
        bool waited = false;
        EXPECT_EQ(end_scope<WaitsInScope>(true, waited), "due, waited");
    });
}

TEST_P(ShieldScopeTest, ADestructorThatUnwindsWithoutAScopeIsShieldedToo) {
    run([] {
        bool waited = false;
        EXPECT_EQ(end_scope<WaitsWithoutScope>(true, waited), "due, waited");
    });
}

// --- ShieldScope elsewhere ----------------------------------------------------------------------------------------

TEST_P(ShieldScopeTest, ACancelInAScopeIsKeptForTheFirstWaitAfterIt) {
    run([] {
        Event go;
        auto task = create_task([&] {
            {
                ShieldScope shield;
                go.wait();
                yield();
                weft::sleep(0s);
                EXPECT_EQ(current_task().cancelling(), 1);
            }
            return cancel_message_of([] { yield(); });
        });
        settle();
        task.cancel("kept");
        settle();
        EXPECT_FALSE(task.done());
        go.set();
        EXPECT_EQ(await(task), "kept");
    });
}

TEST_P(ShieldScopeTest, ScopesNest) {
    run([] {
        auto task = create_task([] {
            current_task().cancel("outermost");
            {
                ShieldScope outer;
                {
                    ShieldScope inner;
                    yield();
                }
                yield();
            }
            return cancel_message_of([] { yield(); });
        });
        EXPECT_EQ(await(task), "outermost");
    });
}

TEST_P(ShieldScopeTest, InAScopeWhatIsAwaitedIsNotCancelled) {
    run([] {
        Event go;
        auto inner = create_task([&] {
            go.wait();
            return 2;
        });
        Future<int> future;
        auto task = create_task([&] {
            ShieldScope shield;
            int sum = await(inner) + await(future);
            auto [a, b] = gather(inner, future);
            return sum + a + b;
        });
        settle();
        task.cancel("later");
        settle();
        EXPECT_FALSE(inner.cancelled());
        go.set();
        settle();
        EXPECT_FALSE(future.cancelled());
        future.set_result(3);
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "later")
            << "cancel-7: it ends with a cancel due";
        EXPECT_EQ(inner.result(), 2);
        EXPECT_EQ(inner.cancelling(), 0);
    });
}

TEST_P(ShieldScopeTest, AScopeProtectsItsOwnTaskAndNotTheTasksItStarts) {
    run([] {
        ShieldScope shield;
        auto child = create_task([] { wait_for_ever(); });
        settle();
        child.cancel("the child");
        EXPECT_EQ(cancel_message_of([&] { await(child); }), "the child");
    });
}

TEST_P(ShieldScopeTest, ATaskGroupInAScopeEndsByItself) {
    run([] {
        Event go;
        auto task = create_task([&] {
            int value = 0;
            {
                ShieldScope shield;
                value = task_group([&](TaskGroup& group) {
                    auto child = group.create_task([&] {
                        go.wait();
                        return 6;
                    });
                    return await(child);
                });
            }
            EXPECT_THROW(yield(), CancelledError);
            return value;
        });
        settle();
        task.cancel();
        settle();
        EXPECT_FALSE(task.done());
        go.set();
        EXPECT_EQ(await(task), 6);
    });
}

TEST_P(ShieldScopeTest, ATimeoutInAScopeDoesNotEndItsWaits) {
    run([] {
        Event go;
        auto task = create_task([&] {
            return timeout(0s, [&] {
                ShieldScope shield;
                go.wait();
                return 7;
            });
        });
        settle();
        go.set();
        EXPECT_EQ(await(task), 7);
    });
}

TEST(ShieldScopeOutsideTest, OutsideOfATaskItDoesNothing) {
    ShieldScope shield;
    EXPECT_EQ(weft::run([] { return 1; }), 1);
}

}  // namespace

}  // namespace weft::test
