// Whom a cancel is passed on to: what the task awaits, however deep, and through gather, wait_for and groups; what
// shields from it. The ids are those of asyncio's semantics.
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class CancelPassingTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(CancelPassingTest);

// cancel-10
TEST_P(CancelPassingTest, CancellingWhoAwaitsATaskCancelsThatOneToo) {
    run([] {
        auto inner = create_task([] { wait_for_ever(); });
        auto outer = create_task([&] { await(inner); });
        settle();
        outer.cancel("through");
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "through");
        EXPECT_TRUE(inner.cancelled());
        EXPECT_EQ(inner.cancelling(), 1);
        EXPECT_EQ(outer.cancelling(), 1);
        EXPECT_EQ(cancel_message_of([&] { inner.result(); }), "through");
    });
}

// cancel-10: the awaited task is made by the one that awaits it, so that it may run on top of it.
TEST_P(CancelPassingTest, CancellingWhoAwaitsItsOwnChildCancelsTheChild) {
    run([] {
        Task<void> inner;
        auto outer = create_task([&] {
            inner = create_task([] { wait_for_ever(); });
            await(inner);
        });
        settle();
        outer.cancel("through");
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "through");
        EXPECT_TRUE(inner.cancelled());
        EXPECT_TRUE(outer.cancelled());
    });
}

// cancel-10
TEST_P(CancelPassingTest, ItGoesToTheEndOfAChainOfAwaits) {
    run([] {
        constexpr int kDepth = 20;
        std::vector<Task<void>> chain(kDepth);
        std::string order;
        struct Nest {
            std::vector<Task<void>>& chain;
            std::string& order;
            void go(std::size_t depth) const {
                try {
                    if (depth + 1 == chain.size()) return wait_for_ever();
                    chain[depth + 1] = create_task([this, depth] { go(depth + 1); });
                    await(chain[depth + 1]);
                } catch (const CancelledError& e) {
                    EXPECT_EQ(e.message(), "all");
                    order += std::to_string(depth) + " ";
                    throw;
                }
            }
        } nest{chain, order};
        chain[0] = create_task([&] { nest.go(0); });
        settle();
        chain[0].cancel("all");
        EXPECT_THROW(await(chain[0]), CancelledError);
        EXPECT_EQ(order.substr(0, 9), "19 18 17 ");
        for (auto& task : chain) EXPECT_TRUE(task.cancelled());
    });
}

// cancel-10
TEST_P(CancelPassingTest, CancellingWhoAwaitsAFutureCancelsTheFuture) {
    run([] {
        Future<int> future;
        auto task = create_task([&] { return await(future); });
        settle();
        task.cancel("through");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "through");
        EXPECT_TRUE(future.cancelled());
        EXPECT_EQ(cancel_message_of([&] { future.result(); }), "through");
    });
}

// cancel-10
TEST_P(CancelPassingTest, TheEndOfWhatIsAwaitedIsWaitedFor) {
    run([] {
        Event go_on;
        std::atomic<bool> cleaned = false;
        auto inner = create_task([&] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                go_on.wait();
                cleaned = true;
                throw;
            }
        });
        auto outer = create_task([&] { await(inner); });
        settle();
        outer.cancel();
        settle();
        EXPECT_FALSE(outer.done());
        go_on.set();
        EXPECT_THROW(await(outer), CancelledError);
        EXPECT_TRUE(cleaned);
    });
}

// cancel-10
TEST_P(CancelPassingTest, AnInnerTaskThatSwallowsItGivesItsValueToWhoAwaits) {
    run([] {
        auto inner = create_task([] {
            cancel_message_of([] { wait_for_ever(); });
            return 3;
        });
        auto outer = create_task([&] {
            int value = await(inner);
            yield();
            return value;
        });
        settle();
        outer.cancel();
        EXPECT_EQ(await(outer), 3);
        EXPECT_EQ(outer.cancelling(), 1);
    });
}

// cancel-10
TEST_P(CancelPassingTest, AnInnerErrorInAnswerIsThrownToWhoAwaits) {
    run([] {
        auto inner = create_task([] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                throw std::runtime_error("inner");
            }
        });
        auto outer = create_task([&] { await(inner); });
        settle();
        outer.cancel();
        EXPECT_EQ(what_of<std::runtime_error>([&] { await(outer); }), "inner");
    });
}

TEST_P(CancelPassingTest, OtherWaitersOfACancelledTaskGetCancelledErrorButAreNotCancelled) {
    run([] {
        auto inner = create_task([] { wait_for_ever(); });
        auto cancelled = create_task([&] { await(inner); });
        auto bystander = create_task([&] {
            EXPECT_THROW(await(inner), CancelledError);
            return current_task().cancelling();
        });
        settle();
        cancelled.cancel();
        EXPECT_THROW(await(cancelled), CancelledError);
        EXPECT_EQ(await(bystander), 0);
    });
}

TEST_P(CancelPassingTest, CancellingTheInnerTaskDoesNotCancelWhoAwaits) {
    run([] {
        auto inner = create_task([] { wait_for_ever(); });
        auto outer = create_task([&] {
            EXPECT_EQ(cancel_message_of([&] { await(inner); }), "inner only");
            yield();
            return current_task().cancelling();
        });
        settle();
        inner.cancel("inner only");
        EXPECT_EQ(await(outer), 0);
        EXPECT_FALSE(outer.cancelled());
    });
}

TEST_P(CancelPassingTest, ASelfCancelBeforeAnAwaitGoesToWhatIsAwaited) {
    run([&] {
        HoldOtherWorkers hold(workers());
        bool ran = false;
        auto inner = create_task([&] { ran = true; });
        auto outer = create_task([&] {
            current_task().cancel("due");
            await(inner);
        });
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "due");
        EXPECT_TRUE(outer.cancelled());
        // asyncio: inner was created first, so in strict mode it has run already; elsewhere it may have.
        EXPECT_EQ(inner.cancelled(), !ran);
    });
}

TEST_P(CancelPassingTest, ASelfCancelIsNotDeliveredByTheAwaitOfWhatIsDone) {
    run([] {
        auto done = create_task([] { return 1; });
        await(done);
        auto task = create_task([&] {
            current_task().cancel("later");
            EXPECT_EQ(await(done), 1);
            return cancel_message_of([] { yield(); });
        });
        EXPECT_EQ(await(task), "later");
    });
}

TEST_P(CancelPassingTest, AMessageReachesTheChildrenOfGather) {
    run([] {
        auto child = [] { return cancel_message_of([] { wait_for_ever(); }); };
        auto first = create_task(child);
        auto second = create_task(child);
        auto outer = create_task([&] { gather(first, second); });
        settle();
        outer.cancel("to all");
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "to all");
        EXPECT_EQ(await(first), "to all");
        EXPECT_EQ(await(second), "to all");
    });
}

TEST_P(CancelPassingTest, AMessageComesThroughWaitForAndShield) {
    run([] {
        auto inner = create_task([] { wait_for_ever(); });
        auto outer = create_task([&] { wait_for(inner, 1h); });
        settle();
        outer.cancel("through wait_for");
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "through wait_for");
        EXPECT_EQ(cancel_message_of([&] { inner.result(); }), "through wait_for");

        Future<int> kept;
        auto shielded = create_task([&] { return shield(kept); });
        settle();
        shielded.cancel("at the shield");
        EXPECT_EQ(cancel_message_of([&] { await(shielded); }), "at the shield");
        EXPECT_FALSE(kept.done());
    });
}

TEST_P(CancelPassingTest, AMessageComesOutOfATaskGroup) {
    run([] {
        auto outer = create_task([] {
            task_group([](TaskGroup& group) { group.create_task([] { wait_for_ever(); }); });
        });
        settle();
        outer.cancel("out of the group");
        EXPECT_EQ(cancel_message_of([&] { await(outer); }), "out of the group");
    });
}

TEST_P(CancelPassingTest, ItIsDeliveredToTheInnermostOfMixedWaits) {
    run([] {
        std::string seen;
        auto task = create_task([&] {
            timeout(1h, [&] {
                task_group([&](TaskGroup& group) {
                    group.create_task([&] {
                        gather([&] {
                            try {
                                await(create_task([] { wait_for_ever(); }));
                            } catch (const CancelledError& e) {
                                seen = e.message();
                                throw;
                            }
                        });
                    });
                });
            });
        });
        settle();
        task.cancel("deep");
        EXPECT_EQ(cancel_message_of([&] { await(task); }), "deep");
        EXPECT_EQ(seen, "deep");
    });
}

// A cancel while what runs on top of the task is busy: it must not be lost when that one ends.
TEST_P(CancelPassingTest, ACancelThatComesJustAsTheInnerOneEndsIsNotLost) {
    run([] {
        for (int round = 0; round < 200; ++round) {
            Future<void> go;
            auto outer = create_task([&] {
                await(create_task([&] {
                    try {
                        await(go);
                    } catch (const CancelledError&) {
                    }
                }));
                wait_for_ever();  // the cancel has come before, comes here, or has been swallowed inside
            });
            auto canceller = create_task([&] {
                for (int i = 0; i < round % 7; ++i) yield();
                outer.cancel();
            });
            if (round % 2 == 0) yield();
            go.try_set_result();
            await(canceller);
            settle();
            if (!outer.done()) outer.cancel("swallowed inside");
            EXPECT_THROW(await(outer), CancelledError);
        }
    });
}

}  // namespace

}  // namespace weft::test
