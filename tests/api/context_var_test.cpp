// Context variables: who sees what is set. The ids are those of asyncio's semantics.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class ContextVarTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(ContextVarTest);

ContextVar<int> number{"number", 0};
ContextVar<std::string> text{"text"};

// --- values -------------------------------------------------------------------------------------------------------

TEST_P(ContextVarTest, AnUnsetOneHasItsDefaultOrThrowsWithItsName) {
    run([] {
        EXPECT_EQ(number.get(), 0);
        EXPECT_EQ(number.get(9), 9);
        EXPECT_STREQ(number.name(), "number");
        EXPECT_NE(what_of<std::out_of_range>([] { (void)text.get(); }).find("'text'"),
                  std::string::npos);
        EXPECT_EQ(text.get("fallback"), "fallback");
        text.set("value");
        EXPECT_EQ(text.get(), "value");
        EXPECT_EQ(text.get("fallback"), "value");
    });
}

TEST_P(ContextVarTest, ATokenPutsBackWhatWasThereBefore) {
    run([] {
        auto first = text.set("one");
        EXPECT_FALSE(first.old_value());
        auto second = text.set("two");
        EXPECT_EQ(second.old_value(), "one");
        EXPECT_EQ(text.get(), "two");
        text.reset(second);
        EXPECT_EQ(text.get(), "one");
        text.reset(first);
        EXPECT_THROW((void)text.get(), std::out_of_range) << "unset again";
    });
}

TEST_P(ContextVarTest, ATokenIsGoodOnceAndForItsOwnVariable) {
    run([] {
        static ContextVar<int> other{"other", 0};
        auto token = number.set(1);
        EXPECT_THROW(other.reset(token), std::invalid_argument);
        EXPECT_EQ(number.get(), 1);
        number.reset(token);
        EXPECT_THROW(number.reset(token), UsageError);
        EXPECT_EQ(number.get(), 0);
        number.reset(number.set(5));
        EXPECT_EQ(number.get(), 0);
    });
}

TEST_P(ContextVarTest, ManyVariablesKeepTheirOwnValues) {
    run([] {
        std::vector<std::unique_ptr<ContextVar<int>>> variables;
        for (int i = 0; i < 100; ++i)
            variables.push_back(std::make_unique<ContextVar<int>>("one of many", -1));
        for (int i = 99; i >= 0; --i) variables[static_cast<std::size_t>(i)]->set(i);
        auto child = create_task([&] {
            for (int i = 0; i < 100; ++i)
                EXPECT_EQ(variables[static_cast<std::size_t>(i)]->get(), i);
        });
        await(child);
    });
}

TEST_P(ContextVarTest, AValueLivesAsLongAsSomebodySeesIt) {
    run([] {
        static ContextVar<std::shared_ptr<int>> shared{"shared", nullptr};
        auto tracked = std::make_shared<int>();
        Event go;
        auto token = shared.set(tracked);
        auto child = create_task([&] {
            go.wait();
            EXPECT_EQ(shared.get(), tracked);
        });
        settle();
        shared.reset(token);
        EXPECT_EQ(shared.get(), nullptr);
        EXPECT_GE(tracked.use_count(), 2) << "the child sees it";
        go.set();
        await(child);
        token = {};
        yield_until([&] { return tracked.use_count() == 1; });
    });
}

// --- tasks --------------------------------------------------------------------------------------------------------

// ctx-1
TEST_P(ContextVarTest, ATaskHasACopyOfItsCreatorsContext) {
    run([] {
        number.set(1);
        auto child = create_task([] {
            EXPECT_EQ(number.get(), 1);
            number.set(2);
            yield();
            EXPECT_EQ(number.get(), 2);
            return await(create_task([] { return number.get(); }));
        });
        number.set(3);
        EXPECT_EQ(await(child), 2);
        EXPECT_EQ(number.get(), 3);
    });
}

// ctx-1
TEST_P(ContextVarTest, TheCopyIsTakenWhenTheTaskIsCreated) {
    run([&] {
        HoldOtherWorkers hold(workers());
        number.set(1);
        auto child = create_task([] { return number.get(); });
        number.set(2);
        EXPECT_EQ(await(child), 1);
    });
}

// ctx-2
TEST_P(ContextVarTest, AnAwaitedCoroutineSharesItsCallersContext) {
    run([] {
        number.set(1);
        await(weft::coroutine([] {
            EXPECT_EQ(number.get(), 1);
            number.set(2);
            yield();
        }));
        EXPECT_EQ(number.get(), 2);
        timeout(1h, [] { number.set(3); });
        EXPECT_EQ(number.get(), 3);
        task_group([](TaskGroup&) { number.set(4); });
        EXPECT_EQ(number.get(), 4);
    });
}

TEST_P(ContextVarTest, ValuesFollowATaskThroughItsWaits) {
    run([] {
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 20; ++i)
            tasks.push_back(create_task([i] {
                number.set(i);
                for (int turn = 0; turn < 20; ++turn) {
                    yield();
                    EXPECT_EQ(number.get(), i);
                }
            }));
        for (auto& task : tasks) await(task);
        EXPECT_EQ(number.get(), 0);
    });
}

TEST_P(ContextVarTest, ATaskThatRunsInlineLeavesItsAwaitersContextAlone) {
    run([] {
        number.set(1);
        for (int i = 0; i < 10; ++i) {
            auto child = create_task([i] {
                number.set(100 + i);
                if (i % 2 == 0) yield();
                return number.get();
            });
            EXPECT_EQ(await(child), 100 + i);
            EXPECT_EQ(number.get(), 1);
        }
    });
}

// create_task(context=ctx) uses that object itself.
TEST_P(ContextVarTest, ATaskMayBeGivenAContextAndUsesItItself) {
    run([] {
        number.set(1);
        Context context = copy_context();
        number.set(2);
        auto child = create_task(
            [] {
                EXPECT_EQ(number.get(), 1);
                number.set(5);
                yield();
                number.set(6);
            },
            {.context = &context});
        await(child);
        EXPECT_EQ(number.get(), 2);
        EXPECT_EQ(context.run([] { return number.get(); }), 6);
        auto second = create_task([] { return number.get(); }, {.context = &context});
        EXPECT_EQ(await(second), 6);
        auto eager = create_task([] { return number.get(); }, {.context = &context, .eager = true});
        EXPECT_EQ(await(eager), 6);
    });
}

TEST_P(ContextVarTest, ATaskInAGivenContextGivesItsChildrenCopies) {
    run([] {
        Context context;
        auto task = create_task(
            [] {
                number.set(1);
                auto child = create_task([] {
                    EXPECT_EQ(number.get(), 1);
                    number.set(2);
                });
                await(child);
                EXPECT_EQ(number.get(), 1);
            },
            {.context = &context});
        await(task);
        EXPECT_EQ(context.run([] { return number.get(); }), 1);
    });
}

TEST_P(ContextVarTest, AContextMayBeSharedByTasksAtOnce) {
    run([] {
        Context context;
        std::vector<std::unique_ptr<ContextVar<int>>> variables;
        for (int i = 0; i < 8; ++i)
            variables.push_back(std::make_unique<ContextVar<int>>("shared", 0));
        std::vector<Task<void>> tasks;
        for (auto& variable : variables)
            tasks.push_back(create_task(
                [&] {
                    for (int i = 1; i <= 50; ++i) {
                        variable->set(i);
                        if (i % 10 == 0) yield();
                        EXPECT_EQ(variable->get(), i) << "another task's set has undone it";
                    }
                },
                {.context = &context}));
        for (auto& task : tasks) await(task);
        context.run([&] {
            for (auto& variable : variables) EXPECT_EQ(variable->get(), 50);
        });
    });
}

// --- Context ------------------------------------------------------------------------------------------------------

TEST_P(ContextVarTest, ContextRunReadsAndSetsThereAndNotHere) {
    run([] {
        number.set(1);
        Context copy = copy_context();
        int seen = copy.run([] {
            int before = number.get();
            number.set(7);
            return before;
        });
        EXPECT_EQ(seen, 1);
        EXPECT_EQ(number.get(), 1);
        EXPECT_EQ(copy.run([] { return number.get(); }), 7);
        Context same = copy;
        EXPECT_EQ(same.run([] { return number.get(); }), 7)
            << "copies of the handle are the same set";
        same.run([] { number.set(8); });
        EXPECT_EQ(copy.run([] { return number.get(); }), 8);
        EXPECT_EQ(Context().run([] { return number.get(); }), 0) << "a new one is empty";
    });
}

TEST_P(ContextVarTest, ContextRunEndsWithAnErrorToo) {
    run([] {
        number.set(1);
        Context other;
        EXPECT_THROW(other.run([] {
            number.set(2);
            throw std::runtime_error("in it");
        }),
                     std::runtime_error);
        EXPECT_EQ(number.get(), 1);
        EXPECT_EQ(other.run([] { return number.get(); }), 2);
    });
}

TEST_P(ContextVarTest, AWaitInContextRunComesBackToThatContext) {
    run([] {
        number.set(1);
        auto task = create_task([] {
            Context other;
            other.run([] {
                number.set(2);
                for (int i = 0; i < 10; ++i) {
                    yield();
                    EXPECT_EQ(number.get(), 2);
                }
                EXPECT_EQ(await(create_task([] { return number.get(); })), 2);
            });
            EXPECT_EQ(number.get(), 1);
        });
        await(task);
    });
}

TEST_P(ContextVarTest, RunsOfContextsNest) {
    run([] {
        Context a;
        Context b;
        a.run([&] {
            number.set(1);
            b.run([&] {
                EXPECT_EQ(number.get(), 0);
                number.set(2);
            });
            EXPECT_EQ(number.get(), 1);
        });
        EXPECT_EQ(number.get(), 0);
    });
}

TEST(ContextVarOutsideTest, APlainThreadHasAContextOfItsOwn) {
    auto token = number.set(4);
    EXPECT_EQ(number.get(), 4);
    std::thread([] {
        EXPECT_EQ(number.get(), 0);
        number.set(5);
        EXPECT_EQ(number.get(), 5);
    }).join();
    EXPECT_EQ(number.get(), 4);
    number.reset(token);
    EXPECT_EQ(number.get(), 0);
}

}  // namespace

}  // namespace weft::test
