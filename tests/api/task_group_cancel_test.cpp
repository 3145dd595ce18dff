// task_group and cancels: from outside, of the group, of several nested ones. The ids are those of asyncio's semantics.
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class TaskGroupCancelTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(TaskGroupCancelTest);

std::size_t members_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const ExceptionGroup& group) {
        return group.exceptions().size();
    } catch (...) {
        return 0;
    }
}

// --- from outside -------------------------------------------------------------------------------------------------

// tg-5
TEST_P(TaskGroupCancelTest, ACancelOfTheParentWhileItsEndWaitsCancelsAndAwaitsTheChildren) {
    run([] {
        std::atomic<int> cleaned = 0;
        auto parent = create_task([&] {
            task_group([&](TaskGroup& group) {
                for (int i = 0; i < 5; ++i)
                    group.create_task([&] {
                        try {
                            wait_for_ever();
                        } catch (const CancelledError&) {
                            yield();
                            ++cleaned;
                            throw;
                        }
                    });
            });
        });
        settle();
        parent.cancel("from outside");
        EXPECT_EQ(cancel_message_of([&] { await(parent); }), "from outside");
        EXPECT_EQ(cleaned, 5);
        EXPECT_EQ(parent.cancelling(), 1);
    });
}

// tg-5
TEST_P(TaskGroupCancelTest, ACancelOfTheParentInItsBlockCancelsAndAwaitsTheChildren) {
    run([] {
        std::atomic<bool> cleaned = false;
        auto parent = create_task([&] {
            task_group([&](TaskGroup& group) {
                group.create_task([&] {
                    try {
                        wait_for_ever();
                    } catch (const CancelledError&) {
                        yield();
                        cleaned = true;
                        throw;
                    }
                });
                wait_for_ever();
            });
        });
        settle();
        parent.cancel("from outside");
        EXPECT_EQ(cancel_message_of([&] { await(parent); }), "from outside");
        EXPECT_TRUE(cleaned);
    });
}

// tg-5
TEST_P(TaskGroupCancelTest, AfterACancelFromOutsideTheCountIsOneAndTheNextWaitWorks) {
    run([] {
        auto parent = create_task([] {
            EXPECT_THROW(
                task_group([](TaskGroup& group) { group.create_task([] { wait_for_ever(); }); }),
                CancelledError);
            yield();
            return current_task().cancelling();
        });
        settle();
        parent.cancel();
        EXPECT_EQ(await(parent), 1);
    });
}

// tg-5: the group wins, and the parent is cancelled again so that the count stays.
TEST_P(TaskGroupCancelTest, ACancelFromOutsideAndAFailureOfAChildIsTheGroupAndTheCancelIsDueAgain) {
    run([] {
        auto parent = create_task([] {
            try {
                task_group([](TaskGroup& group) {
                    group.create_task([] {
                        try {
                            wait_for_ever();
                        } catch (const CancelledError&) {
                            throw std::runtime_error("in answer");
                        }
                    });
                });
                ADD_FAILURE() << "nothing thrown";
            } catch (const ExceptionGroup& group) {
                EXPECT_EQ(group.exceptions().size(), 1U);
            }
            EXPECT_EQ(current_task().cancelling(), 1);
            EXPECT_THROW(yield(), CancelledError) << "due again";
            yield();
            return current_task().cancelling();
        });
        settle();
        parent.cancel();
        EXPECT_EQ(await(parent), 1);
    });
}

// tg-5
TEST_P(TaskGroupCancelTest, ASwallowedCancelBeforeTheGroupKeepsItsCountThroughAFailure) {
    run([] {
        auto task = create_task([] {
            current_task().cancel();
            EXPECT_THROW(yield(), CancelledError);
            EXPECT_EQ(current_task().cancelling(), 1);
            EXPECT_THROW(task_group([](TaskGroup& group) {
                             group.create_task([] { throw std::runtime_error("child"); });
                             wait_for_ever();
                         }),
                         ExceptionGroup);
            return current_task().cancelling();
        });
        // asyncio: the count is stable, but the cancel is due again, and so the task ends cancelled.
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_EQ(task.cancelling(), 1);
    });
}

TEST_P(TaskGroupCancelTest, ASwallowedCancelBeforeTheGroupDoesNotDisturbOneThatEndsWell) {
    run([] {
        auto task = create_task([] {
            current_task().cancel();
            EXPECT_THROW(yield(), CancelledError);
            int value = task_group([](TaskGroup& group) {
                auto child = group.create_task([] {
                    yield();
                    return 4;
                });
                return await(child);
            });
            yield();
            return value + current_task().cancelling();
        });
        EXPECT_EQ(await(task), 5);
    });
}

// tg-5
TEST_P(TaskGroupCancelTest, ACancelOfTheParentWithNestedGroupsEndsBothAndComesOutBare) {
    run([] {
        std::atomic<int> cleaned = 0;
        auto clean = [&] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                ++cleaned;
                throw;
            }
        };
        auto parent = create_task([&] {
            task_group([&](TaskGroup& outer) {
                outer.create_task(clean);
                task_group([&](TaskGroup& inner) { inner.create_task(clean); });
            });
        });
        settle();
        parent.cancel("both");
        EXPECT_EQ(cancel_message_of([&] { await(parent); }), "both");
        EXPECT_EQ(cleaned, 2);
    });
}

TEST_P(TaskGroupCancelTest, ASecondCancelFromOutsideDoesNotLeaveTheChildrenBehind) {
    run([] {
        Event go_on;
        std::atomic<bool> cleaned = false;
        auto parent = create_task([&] {
            task_group([&](TaskGroup& group) {
                group.create_task([&] {
                    try {
                        wait_for_ever();
                    } catch (const CancelledError&) {
                        ShieldScope shield;
                        go_on.wait();
                        cleaned = true;
                        throw;
                    }
                });
            });
        });
        settle();
        parent.cancel();
        settle();
        parent.cancel();
        settle();
        EXPECT_FALSE(parent.done());
        go_on.set();
        EXPECT_THROW(await(parent), CancelledError);
        EXPECT_TRUE(cleaned);
    });
}

TEST_P(TaskGroupCancelTest, AChildThatSwallowsTheCancelIsWaitedFor) {
    run([] {
        Event go_on;
        auto parent = create_task([&] {
            task_group([&](TaskGroup& group) {
                group.create_task([&] {
                    cancel_message_of([] { wait_for_ever(); });
                    go_on.wait();
                });
            });
        });
        settle();
        parent.cancel();
        settle();
        EXPECT_FALSE(parent.done());
        go_on.set();
        EXPECT_THROW(await(parent), CancelledError) << "the cancel comes out all the same";
    });
}

TEST_P(TaskGroupCancelTest, ChildrenThatHaveNotBegunNeverRun) {
    run([&] {
        HoldOtherWorkers hold(workers());
        bool ran = false;
        EXPECT_THROW(task_group([&](TaskGroup& group) {
                         group.create_task([&] { ran = true; });
                         throw std::runtime_error("block");
                     }),
                     ExceptionGroup);
        EXPECT_FALSE(ran);
    });
}

// --- TaskGroup::cancel --------------------------------------------------------------------------------------------

TEST_P(TaskGroupCancelTest, CancelOfTheGroupEndsItWithoutAnError) {
    run([] {
        Task<void> child;
        bool block_ended = true;
        task_group([&](TaskGroup& group) {
            child = group.create_task([] { wait_for_ever(); });
            group.cancel();
            group.cancel();  // idempotent
            block_ended = false;
            wait_for_ever();
            block_ended = true;
        });
        EXPECT_FALSE(block_ended) << "the block is cancelled too";
        EXPECT_TRUE(child.cancelled());
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
    });
}

TEST_P(TaskGroupCancelTest, AChildMayCancelTheGroupWhileItsEndWaits) {
    run([] {
        std::atomic<int> cancelled = 0;
        task_group([&](TaskGroup& group) {
            for (int i = 0; i < 5; ++i)
                group.create_task([&] {
                    try {
                        wait_for_ever();
                    } catch (const CancelledError&) {
                        ++cancelled;
                        throw;
                    }
                });
            settle();
            group.create_task([&] { group.cancel(); });
        });
        EXPECT_EQ(cancelled, 5);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
    });
}

TEST_P(TaskGroupCancelTest, CancelOfTheGroupJustBeforeItsBlockEndsLeavesNothingDue) {
    run([] {
        int value = 0;
        task_group([&](TaskGroup& group) {
            value = 1;
            group.cancel();
        });
        EXPECT_EQ(value, 1);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
        EXPECT_EQ(task_group([](TaskGroup& group) {
                      group.cancel();
                      return 5;
                  }),
                  5);
        yield();
    });
}

TEST_P(TaskGroupCancelTest, AGroupCutShortBeforeItsBlockGaveAValueIsACancelledError) {
    run([] {
        EXPECT_THROW(task_group([](TaskGroup& group) -> int {
                         group.cancel();
                         yield();
                         return 1;
                     }),
                     CancelledError);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();
    });
}

TEST_P(TaskGroupCancelTest, ErrorsRaisedWhileItIsCancelledStillFormAGroup) {
    run([] {
        auto fail_in_answer = [] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                throw std::runtime_error("in answer");
            }
        };
        std::exception_ptr error;
        try {
            task_group([&](TaskGroup& group) {
                group.create_task(fail_in_answer);
                group.create_task(fail_in_answer);
                settle();
                group.cancel();
            });
        } catch (...) {
            error = std::current_exception();
        }
        ASSERT_NE(error, nullptr);
        EXPECT_EQ(members_of(error), 2U);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

TEST_P(TaskGroupCancelTest, AfterItsCancelTheGroupTakesNoMore) {
    run([] {
        task_group([](TaskGroup& group) {
            group.cancel();
            EXPECT_THROW(group.create_task([] { ADD_FAILURE() << "ran"; }), UsageError);
        });
    });
}

TEST_P(TaskGroupCancelTest, ACancelFromOutsideWhileACancelledGroupEndsComesOutOfIt) {
    run([] {
        Event cancelled;
        Event cancelled_from_outside;
        auto parent = create_task([&] {
            task_group([&](TaskGroup& group) {
                group.create_task([&] {
                    group.cancel();
                    ShieldScope shield;
                    cancelled.set();
                    cancelled_from_outside.wait();
                    // On several workers that may have been no wait: then neither was the group's end, if this runs on
                    // top of its parent.
                    weft::sleep(1ms);
                });
            });
            ADD_FAILURE() << "went on";
        });
        cancelled.wait();
        parent.cancel("outside");
        cancelled_from_outside.set();
        EXPECT_EQ(cancel_message_of([&] { await(parent); }), "outside");
    });
}

// The group's own, which ends the block, has no message and must not stand in its place.
TEST_P(TaskGroupCancelTest, ACancelFromOutsideAfterTheBlockWasCutShortKeepsItsMessage) {
    run([] {
        Event block_ended;
        Event cancelled_from_outside;
        auto parent = create_task([&] {
            task_group([&](TaskGroup& group) {
                Event started;
                group.create_task([&] {
                    ShieldScope shield;
                    started.set();
                    cancelled_from_outside.wait();
                    weft::sleep(1ms);
                });
                started.wait();
                group.cancel();
                try {
                    wait_for_ever();
                } catch (const CancelledError&) {
                    block_ended.set();
                    throw;
                }
            });
            ADD_FAILURE() << "went on";
        });
        block_ended.wait();
        settle();  // it waits for its child
        parent.cancel("outside");
        cancelled_from_outside.set();
        EXPECT_EQ(cancel_message_of([&] { await(parent); }), "outside");
    });
}

TEST_P(TaskGroupCancelTest, ACancelFromOutsideComesOutOfACancelledGroup) {
    run([] {
        auto parent = create_task([] {
            task_group([](TaskGroup& group) {
                group.create_task([&] {
                    try {
                        wait_for_ever();
                    } catch (const CancelledError&) {
                        ShieldScope shield;
                        weft::yield();
                        throw;
                    }
                });
                settle();
                group.cancel();
                current_task().cancel("from outside");
                wait_for_ever();
            });
        });
        EXPECT_THROW(await(parent), CancelledError);
        EXPECT_TRUE(parent.cancelled());
    });
}

// --- races --------------------------------------------------------------------------------------------------------

TEST_P(TaskGroupCancelTest, ACancelAndTheEndOfTheLastChildLeaveNoCountBehind) {
    run([] {
        for (int round = 0; round < 100; ++round) {
            Event go;
            auto parent = create_task([&] {
                try {
                    task_group([&](TaskGroup& group) {
                        group.create_task([&] { go.wait(); });
                        group.create_task([&] { go.wait(); });
                    });
                    return 0;
                } catch (const CancelledError&) {
                    return current_task().cancelling();
                }
            });
            if (round % 3 == 0) settle();
            auto setter = create_task([&] { go.set(); });
            bool asked = parent.cancel();
            await(setter);
            try {
                int seen = await(parent);
                EXPECT_TRUE(seen == 1 || !asked) << seen;
            } catch (const CancelledError&) {
                EXPECT_TRUE(asked);
            }
        }
    });
}

}  // namespace

}  // namespace weft::test
