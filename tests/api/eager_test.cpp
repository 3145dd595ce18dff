// create_task with {.eager = true}: on the creator's turn until the first wait. The ids are those of asyncio's
// semantics.
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class EagerTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(EagerTest);

class EagerOrderTest : public Everywhere {};
WEFT_TEST_ON_ONE_WORKER(EagerOrderTest);

// eager-1
TEST_P(EagerTest, OneThatDoesNotWaitIsDoneWhenItsCreationReturns) {
    run([] {
        auto task = create_task([] { return 5; }, {.eager = true});
        EXPECT_TRUE(task.done());
        EXPECT_EQ(task.result(), 5);
    });
}

// eager-1
TEST_P(EagerTest, ItHasRunUpToItsFirstWaitWhenItsCreationReturns) {
    run([] {
        Event go;
        bool begun = false;
        auto task = create_task(
            [&] {
                begun = true;
                go.wait();
                return 1;
            },
            {.eager = true});
        EXPECT_TRUE(begun);
        EXPECT_FALSE(task.done());
        go.set();
        EXPECT_EQ(await(task), 1);
    });
}

// eager-1
TEST_P(EagerOrderTest, ItsCreatorGoesOnBeforeAnythingElseThatIsReady) {
    run([&] {
        std::string order;
        auto other = create_task([&] { order += "other "; });
        auto task = create_task(
            [&] {
                order += "task ";
                yield();
                order += "again ";
            },
            {.eager = true});
        order += "creator ";
        EXPECT_EQ(order, "task creator ");
        await(task);
        await(other);
        EXPECT_EQ(order, "task creator other again ");
    });
}

// eager-1
TEST_P(EagerTest, CurrentTaskIsTheNewOneInsideAndTheCreatorAfterwards) {
    run([] {
        AnyTask creator = current_task();
        AnyTask seen;
        AnyTask seen_later;
        auto task = create_task(
            [&] {
                seen = current_task();
                yield();
                seen_later = current_task();
            },
            {.name = "eager", .eager = true});
        EXPECT_EQ(current_task(), creator);
        await(task);
        EXPECT_EQ(seen, AnyTask(task));
        EXPECT_EQ(seen_later, AnyTask(task));
        EXPECT_EQ(current_task(), creator);
        EXPECT_EQ(task.get_name(), "eager");
    });
}

TEST_P(EagerTest, ItsErrorIsInTheTaskAndNotThrownToItsCreator) {
    run([] {
        Task<void> task;
        EXPECT_NO_THROW(
            task = create_task([] { throw std::runtime_error("eager"); }, {.eager = true}));
        EXPECT_TRUE(task.done());
        EXPECT_EQ(text_of(task.exception()), "eager");
    });
}

TEST_P(EagerTest, TheyMayNest) {
    run([] {
        std::string order;
        auto outer = create_task(
            [&] {
                order += "outer ";
                auto inner = create_task(
                    [&] {
                        order += "inner ";
                        yield();
                    },
                    {.eager = true});
                order += "outer again ";
                await(inner);
                return 1;
            },
            {.eager = true});
        EXPECT_EQ(order, "outer inner outer again ");
        EXPECT_EQ(await(outer), 1);
    });
}

TEST_P(EagerTest, ItsSetsOfContextVariablesAreInvisibleToItsCreator) {
    static ContextVar<int> number{"number", 0};
    run([] {
        number.set(1);
        auto task = create_task(
            [] {
                int seen = number.get();
                number.set(2);
                return seen;
            },
            {.eager = true});
        EXPECT_EQ(task.result(), 1);
        EXPECT_EQ(number.get(), 1);
    });
}

TEST_P(EagerTest, ACancelThatIsDueAtItsCreatorIsNotItsOwn) {
    run([] {
        current_task().cancel("mine");
        auto task = create_task(
            [] {
                yield();
                return 1;
            },
            {.eager = true});
        EXPECT_EQ(cancel_message_of([] { yield(); }), "mine");
        EXPECT_EQ(await(task), 1);
        EXPECT_EQ(current_task().uncancel(), 0);
    });
}

TEST_P(EagerTest, ItMayBeCancelledWhereItWaits) {
    run([] {
        auto task = create_task([] { wait_for_ever(); }, {.eager = true});
        EXPECT_TRUE(task.cancel("stop"));
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "stop");
    });
}

TEST_P(EagerTest, ManyMayWaitAtOnce) {
    run([] {
        Event go;
        std::vector<Task<int>> tasks;
        for (int i = 0; i < 200; ++i)
            tasks.push_back(create_task(
                [&, i] {
                    go.wait();
                    return i;
                },
                {.eager = true}));
        go.set();
        for (int i = 0; i < 200; ++i) EXPECT_EQ(await(tasks[static_cast<std::size_t>(i)]), i);
    });
}

TEST_P(EagerTest, AGroupsTasksMayBeEager) {
    run([] {
        task_group([](TaskGroup& group) {
            auto done = group.create_task([] { return 1; }, {.eager = true});
            EXPECT_TRUE(done.done());
            Event go;
            auto waits = group.create_task([&] { go.wait(); }, {.eager = true});
            EXPECT_FALSE(waits.done());
            go.set();
            await(waits);
        });
    });
}

TEST_P(EagerTest, ItMayBeMadeInACatchBlockAndInADoneCallback) {
    run([] {
        try {
            throw std::runtime_error("outer");
        } catch (const std::exception&) {
            auto task = create_task(
                [] {
                    EXPECT_EQ(std::current_exception(), nullptr);
                    yield();
                    return 1;
                },
                {.eager = true});
            EXPECT_EQ(text_of(std::current_exception()), "outer");
            EXPECT_EQ(await(task), 1);
        }
        Future<int> future;
        Future<int> from_callback;
        future.add_done_callback([&](const Future<int>&) {
            auto task = create_task([] { return 2; }, {.eager = true});
            from_callback.set_result(task.result());
        });
        future.set_result(1);
        EXPECT_EQ(await(from_callback), 2);
    });
}

}  // namespace

}  // namespace weft::test
