// task_group: what its children and its block give and throw. The ids are those of asyncio's semantics. Cancels are in
// task_group_cancel_test.cpp.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class TaskGroupTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(TaskGroupTest);

/// The texts of the group that f throws, in order; nested ones in parentheses.
std::string texts_of(const ExceptionGroup& group) {
    std::string texts;
    for (const std::exception_ptr& error : group.exceptions()) {
        if (!texts.empty()) texts += ", ";
        try {
            std::rethrow_exception(error);
        } catch (const ExceptionGroup& nested) {
            texts += "(" + texts_of(nested) + ")";
        } catch (const std::exception& e) {
            texts += e.what();
        } catch (const CancelledError&) {
            texts += "cancelled";
        }
    }
    return texts;
}

template <class F>
std::string group_of(F&& f) {
    try {
        std::forward<F>(f)();
    } catch (const ExceptionGroup& group) {
        return texts_of(group);
    } catch (const std::exception& e) {
        return std::string("bare: ") + e.what();
    } catch (const CancelledError& e) {
        return "cancelled: " + e.message();
    }
    return "no error";
}

auto failing(const std::string& text) {
    return [text] { throw std::runtime_error(text); };
}

// --- values -------------------------------------------------------------------------------------------------------

TEST_P(TaskGroupTest, ItGivesWhatItsBlockGives) {
    run([] {
        int value = task_group([](TaskGroup& group) {
            auto task = group.create_task([] { return 20; });
            return await(task) + 1;
        });
        EXPECT_EQ(value, 21);
        int here = 0;
        EXPECT_EQ(&task_group([&](TaskGroup&) -> int& { return here; }), &here);
        EXPECT_EQ(*task_group([](TaskGroup&) { return std::make_unique<int>(3); }), 3);
        static_assert(std::is_void_v<decltype(task_group([](TaskGroup&) {}))>);
        task_group([](TaskGroup&) {});
    });
}

TEST_P(TaskGroupTest, AllItsTasksHaveEndedWhenItEnds) {
    run([] {
        std::atomic<int> ended = 0;
        Task<int> kept;
        task_group([&](TaskGroup& group) {
            for (int i = 0; i < 20; ++i)
                group.create_task([&, i] {
                    for (int turn = 0; turn < i % 5; ++turn) yield();
                    ++ended;
                });
            kept = group.create_task([] {
                yield();
                return 7;
            });
        });
        EXPECT_EQ(ended, 20);
        ASSERT_TRUE(kept.done());
        EXPECT_EQ(kept.result(), 7);
    });
}

TEST_P(TaskGroupTest, ItsTasksRunSideBySideWithItsBlock) {
    run([] {
        task_group([](TaskGroup& group) {
            Event there;
            Event back;
            group.create_task([&] {
                there.wait();
                back.set();
            });
            there.set();
            back.wait();
        });
    });
}

// tg-8
TEST_P(TaskGroupTest, ItsTasksMayAddTasksWhileItsEndWaits) {
    run([] {
        std::atomic<int> ran = 0;
        task_group([&](TaskGroup& group) {
            struct Adder {
                TaskGroup& group;
                std::atomic<int>& ran;
                void go(int depth) const {
                    ++ran;
                    yield();
                    if (depth == 0) return;
                    group.create_task([*this, depth] { go(depth - 1); });
                    group.create_task([*this, depth] { go(depth - 1); });
                }
            };
            group.create_task([&group, &ran] { Adder{group, ran}.go(5); });
        });
        EXPECT_EQ(ran, 63);
    });
}

TEST_P(TaskGroupTest, ItsTasksTakeOptionsAndCopiesOfTheContext) {
    static ContextVar<int> number{"number", 0};
    run([] {
        number.set(1);
        Context other;
        task_group([&](TaskGroup& group) {
            auto named =
                group.create_task([] { return current_task().get_name(); }, {.name = "child"});
            EXPECT_EQ(await(named), "child");
            group.create_task([] {
                EXPECT_EQ(number.get(), 1);
                number.set(2);
            });
            group.create_task([] { number.set(3); }, {.context = &other});
        });
        EXPECT_EQ(number.get(), 1);
        EXPECT_EQ(other.run([] { return number.get(); }), 3);
    });
}

TEST_P(TaskGroupTest, GroupsMayNest) {
    run([] {
        std::atomic<int> ended = 0;
        task_group([&](TaskGroup& outer) {
            for (int i = 0; i < 5; ++i)
                outer.create_task([&] {
                    task_group([&](TaskGroup& inner) {
                        for (int k = 0; k < 5; ++k)
                            inner.create_task([&] {
                                yield();
                                ++ended;
                            });
                    });
                    EXPECT_GE(ended, 5);
                });
            task_group([&](TaskGroup& inner) { inner.create_task([&] { ++ended; }); });
        });
        EXPECT_EQ(ended, 26);
    });
}

// --- failures -----------------------------------------------------------------------------------------------------

// tg-1
TEST_P(TaskGroupTest, TheFirstFailureCancelsTheSiblingsAndComesInAnExceptionGroup) {
    run([] {
        Task<void> sibling;
        try {
            task_group([&](TaskGroup& group) {
                sibling = group.create_task([] { wait_for_ever(); });
                group.create_task(failing("child"));
            });
            ADD_FAILURE() << "nothing thrown";
        } catch (const ExceptionGroup& group) {
            EXPECT_EQ(group.message(), "unhandled errors in a TaskGroup");
            EXPECT_STREQ(group.what(), "unhandled errors in a TaskGroup (1 sub-exception)");
            EXPECT_EQ(texts_of(group), "child") << "cancelled ones are never members";
        }
        EXPECT_TRUE(sibling.cancelled());
    });
}

// tg-2
TEST_P(TaskGroupTest, AFailureCancelsTheBlockTooAndTheCountGoesBack) {
    run([] {
        bool interrupted = false;
        std::string texts = group_of([&] {
            task_group([&](TaskGroup& group) {
                group.create_task(failing("child"));
                try {
                    wait_for_ever();
                } catch (const CancelledError&) {
                    interrupted = true;
                    EXPECT_EQ(current_task().cancelling(), 1);
                    throw;
                }
            });
        });
        EXPECT_EQ(texts, "child");
        EXPECT_TRUE(interrupted);
        EXPECT_EQ(current_task().cancelling(), 0);
        yield();  // nothing is due
    });
}

// tg-2
TEST_P(TaskGroupTest, AFailureWhileTheBlockDoesNotWaitLeavesNoCancelBehind) {
    run([] {
        for (int round = 0; round < 20; ++round) {
            EXPECT_EQ(group_of([&] {
                          task_group([&](TaskGroup& group) {
                              auto child =
                                  group.create_task(failing("child"), {.eager = round % 2 == 0});
                              if (round % 4 == 0) yield_until([&] { return child.done(); });
                          });
                      }),
                      "child");
            EXPECT_EQ(current_task().cancelling(), 0);
            yield();
        }
    });
}

// tg-3
TEST_P(TaskGroupTest, AnErrorOfTheBlockCancelsTheChildrenAndIsAMemberEvenAlone) {
    run([] {
        Task<void> child;
        std::string texts = group_of([&] {
            task_group([&](TaskGroup& group) {
                child = group.create_task([] { wait_for_ever(); });
                throw std::runtime_error("block");
            });
        });
        EXPECT_EQ(texts, "block");
        EXPECT_TRUE(child.cancelled());
        EXPECT_EQ(
            group_of([] { task_group([](TaskGroup&) { throw std::runtime_error("alone"); }); }),
            "alone");
    });
}

// tg-3
TEST_P(TaskGroupTest, ChildrenThatFailWhileTheyAreCancelledAreMembersBeforeTheBlocksError) {
    run([] {
        std::string texts = group_of([&] {
            task_group([&](TaskGroup& group) {
                create_task([] {}, {.eager = true});
                group.create_task(
                    [] {
                        try {
                            wait_for_ever();
                        } catch (const CancelledError&) {
                            yield();
                            throw std::runtime_error("cleanup");
                        }
                    },
                    {.eager = true});
                throw std::runtime_error("block");
            });
        });
        EXPECT_EQ(texts, "cleanup, block");
    });
}

TEST_P(TaskGroupTest, ChildrenThatFailBeforeTheAbortLandsAreAllMembersInTheOrderOfTheirEnds) {
    run([&] {
        Event go;
        std::string texts = group_of([&] {
            task_group([&](TaskGroup& group) {
                for (const char* text : {"a", "b", "c"})
                    group.create_task(
                        [&, text] {
                            try {
                                go.wait();
                            } catch (const CancelledError&) {
                            }
                            throw std::runtime_error(text);
                        },
                        {.eager = true});
                go.set();
            });
        });
        if (alone())
            EXPECT_EQ(texts, "a, b, c");
        else
            EXPECT_EQ(texts.size(), 7U) << texts;
    });
}

// tg-4
TEST_P(TaskGroupTest, AChildCancelledByHandDoesNotAffectTheGroup) {
    run([] {
        int value = task_group([](TaskGroup& group) {
            auto victim = group.create_task([] { wait_for_ever(); });
            auto other = group.create_task([&] {
                yield();
                return 5;
            });
            settle();
            victim.cancel();
            EXPECT_THROW(await(victim), CancelledError);
            return await(other);
        });
        EXPECT_EQ(value, 5);
    });
}

TEST_P(TaskGroupTest, AnErrorOfAChildThatTheBlockHasReadIsStillAMember) {
    run([] {
        EXPECT_EQ(group_of([] {
                      task_group([](TaskGroup& group) {
                          auto child = group.create_task(failing("child"));
                          try {
                              await(child);
                          } catch (const std::runtime_error&) {
                          } catch (const CancelledError&) {
                          }
                      });
                  }),
                  "child");
    });
}

// tg-6
TEST_P(TaskGroupTest, AFailureOfAnInnerGroupNests) {
    run([] {
        EXPECT_EQ(group_of([] {
                      task_group([](TaskGroup&) {
                          task_group([](TaskGroup& inner) { inner.create_task(failing("deep")); });
                      });
                  }),
                  "(deep)");
        EXPECT_EQ(
            group_of([] {
                task_group([](TaskGroup& outer) {
                    outer.create_task([] {
                        task_group([](TaskGroup& inner) { inner.create_task(failing("deep")); });
                    });
                });
            }),
            "(deep)");
    });
}

// tg-7
TEST_P(TaskGroupTest, AFailureInTheOuterGroupWhileAnInnerOneWaitsIsFlat) {
    run([] {
        Event go;
        Task<void> inner_child;
        EXPECT_EQ(group_of([&] {
                      task_group([&](TaskGroup& outer) {
                          outer.create_task([&] {
                              go.wait();
                              throw std::runtime_error("outer");
                          });
                          task_group([&](TaskGroup& inner) {
                              inner_child = inner.create_task([&] {
                                  go.set();
                                  wait_for_ever();
                              });
                          });
                          ADD_FAILURE() << "the inner group ended without an error";
                      });
                  }),
                  "outer");
        EXPECT_TRUE(inner_child.cancelled());
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// --- create_task --------------------------------------------------------------------------------------------------

// tg-9
TEST_P(TaskGroupTest, CreateTaskOnAGroupThatShutsDownIsAUsageErrorAndClosesTheCoroutine) {
    run([] {
        ::testing::internal::CaptureStderr();
        std::string what;
        std::string failed = group_of([&] {
            task_group([&](TaskGroup& group) {
                group.create_task(
                    [&] {
                        try {
                            wait_for_ever();
                        } catch (const CancelledError&) {
                            what = what_of<UsageError>(
                                [&] { group.create_task(weft::coroutine([] {})); });
                            throw;
                        }
                    },
                    {.eager = true});
                throw std::runtime_error("block");
            });
        });
        EXPECT_EQ(failed, "block");
        EXPECT_NE(what.find("shutting down"), std::string::npos) << what;
        EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "the coroutine is closed";
    });
}

// tg-9
TEST_P(TaskGroupTest, CreateTaskAfterAFailureIsAUsageErrorAndRunsNothing) {
    run([] {
        bool ran = false;
        EXPECT_EQ(group_of([&] {
                      task_group([&](TaskGroup& group) {
                          auto child = group.create_task(failing("child"));
                          EXPECT_THROW(
                              {
                                  yield_until([&] { return child.done(); });
                                  wait_for_ever();
                              },
                              CancelledError);
                          EXPECT_THROW(group.create_task([&] { ran = true; }), UsageError);
                          EXPECT_THROW(group.create_task([&] { ran = true; }, {.name = "late"}),
                                       UsageError);
                      });
                  }),
                  "child");
        EXPECT_FALSE(ran);
    });
}

TEST_P(TaskGroupTest, WhatChildrenCaptureByReferenceIsSafe) {
    run([] {
        for (int round = 0; round < 20; ++round) {
            std::vector<int> results(50);
            task_group([&](TaskGroup& group) {
                for (std::size_t i = 0; i < results.size(); ++i)
                    group.create_task([&results, i] {
                        if (i % 2 == 0) yield();
                        results[i] = static_cast<int>(i);
                    });
            });
            for (std::size_t i = 0; i < results.size(); ++i)
                EXPECT_EQ(results[i], static_cast<int>(i));
        }
    });
}

}  // namespace

}  // namespace weft::test
