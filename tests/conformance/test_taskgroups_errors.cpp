// test_taskgroups.py: errors of children and of the block, cancels from outside, and the count of requests.
#include "conformance/test_taskgroups.hpp"

namespace weft::test {

namespace {

using namespace groups;

/// Something outside of std::exception, as a BaseException is outside of Exception.
struct Foreign {};

// --- a child fails ------------------------------------------------------------------------------------------------

TEST_P(TestTaskGroup, test_taskgroup_04) {
    run([] {
        int cancelled = 0;
        bool went_on = false;
        Task<void> sibling;
        auto runner = create_task([&] {
            task_group([&](TaskGroup& group) {
                group.create_task(fail_after(1s, "child"));
                sibling = group.create_task(count_cancels(cancelled));
            });
            went_on = true;
        });
        EXPECT_EQ(group_of([&] { await(runner); }), "child");
        EXPECT_FALSE(went_on);
        EXPECT_EQ(cancelled, 1);
        EXPECT_TRUE(sibling.cancelled());
    });
}

// Several fail at the same time; those that are not cancelled before are members, and nothing else is.
TEST_P(TestTaskGroup, test_cancel_children_on_child_error) {
    run([] {
        int sibling = 0;
        int block = 0;
        auto runner = create_task([&] {
            task_group([&](TaskGroup& group) {
                for (int i = 0; i < 3; ++i) group.create_task(fail_after(1s, "child"));
                group.create_task(count_cancels(sibling));
                count_cancels(block)();
            });
        });
        std::string texts = group_of([&] { await(runner); });
        EXPECT_TRUE(texts == "child" || texts == "child, child" || texts == "child, child, child")
            << texts;
        EXPECT_EQ(sibling, 1);
        EXPECT_EQ(block, 1);
    });
}

// The block answers its cancel with an error too.
TEST_P(TestTaskGroup, test_taskgroup_19) {
    run([] {
        EXPECT_EQ(group_of([] {
                      task_group([](TaskGroup& group) {
                          group.create_task(fail_after(1s, "child"));
                          fail_when_cancelled("block")();
                      });
                  }),
                  "child, block");
    });
}

// KeyboardInterrupt is no member: it comes out bare, and in place of the group.
TEST_P(TestTaskGroup, test_taskgroup_20) {
    Reports reports;
    int runs = 0;
    run({.exception_handler = reports.handler()}, [&] {
        ++runs;
        Task<void> sibling;
        EXPECT_THROW(task_group([&](TaskGroup& group) {
                         group.create_task(fail_after(1s, "child"));
                         sibling = group.create_task([] { wait_for_ever(); });
                         try {
                             wait_for_ever();
                         } catch (const CancelledError&) {
                             throw KeyboardInterrupt();
                         }
                     }),
                     KeyboardInterrupt);
        EXPECT_TRUE(sibling.cancelled());
        EXPECT_EQ(current_task().cancelling(), 0);
    });
    std::vector<std::string> told = reports.take();
    ASSERT_EQ(told.size(), static_cast<std::size_t>(runs)) << "once a run, the child's error";
    EXPECT_NE(told[0].find("KeyboardInterrupt"), std::string::npos) << told[0];
    EXPECT_NE(told[0].find("| child"), std::string::npos) << told[0];
}

TEST_P(TestTaskGroup, test_taskgroup_20a) {
    run([] {
        EXPECT_EQ(group_of([] {
                      task_group([](TaskGroup& group) {
                          group.create_task(fail_after(1s, "child"));
                          try {
                              wait_for_ever();
                          } catch (const CancelledError&) {
                              throw Foreign();
                          }
                      });
                  }),
                  "child, foreign");
    });
}

TEST_P(TestTaskGroup, test_taskgroup_21a) {
    run([] {
        EXPECT_EQ(group_of([] {
                      task_group([](TaskGroup& group) {
                          group.create_task([] {
                              weft::sleep(1s);
                              throw Foreign();
                          });
                          fail_when_cancelled("block")();
                      });
                  }),
                  "foreign, block");
    });
}

// An object of the block throws on its way out, in place of the cancel that the group has sent.
TEST_P(TestTaskGroup, test_taskgroup_context_manager_exit_raises) {
    run([] {
        auto main = create_task([] {
            EXPECT_EQ(group_of([] {
                          task_group([](TaskGroup& group) {
                              try {
                                  group.create_task([] { throw std::runtime_error("child"); });
                                  weft::sleep(1s);
                              } catch (...) {
                                  throw std::runtime_error("database");
                              }
                          });
                      }),
                      "child, database");
            return current_task().cancelling();
        });
        EXPECT_EQ(await(main), 0);
    });
}

// --- the block fails ----------------------------------------------------------------------------------------------

TEST_P(TestTaskGroup, test_taskgroup_09) {
    run([] {
        Task<int> first, second;
        EXPECT_EQ(group_of([&] {
                      task_group([&](TaskGroup& group) {
                          first = group.create_task(value_after(1s, 42));
                          second = group.create_task(value_after(2s, 11));
                          fail_after(100ms, "block")();
                      });
                  }),
                  "block");
        EXPECT_TRUE(first.cancelled());
        EXPECT_TRUE(second.cancelled());
    });
}

// At once, when no child has begun.
TEST_P(TestTaskGroup, test_taskgroup_10) {
    run([] {
        Task<int> first, second;
        EXPECT_EQ(group_of([&] {
                      task_group([&](TaskGroup& group) {
                          first = group.create_task(value_after(1s, 42));
                          second = group.create_task(value_after(2s, 11));
                          throw std::runtime_error("block");
                      });
                  }),
                  "block");
        EXPECT_TRUE(first.cancelled());
        EXPECT_TRUE(second.cancelled());
    });
}

// --- cancels from outside -----------------------------------------------------------------------------------------

/// Starts f, lets it get as far as it can, cancels it, and says what its group has.
template <class F>
std::string group_of_cancelled(F&& f) {
    auto runner = create_task(std::forward<F>(f));
    weft::sleep(100ms);
    EXPECT_FALSE(runner.done());
    runner.cancel();
    return group_of([&] { await(runner); });
}

TEST_P(TestTaskGroup, test_cancellation) {
    run([] {
        int cancels = 0;
        EXPECT_EQ(group_of_cancelled([&] {
                      task_group([&](TaskGroup& group) {
                          for (int i = 0; i < 5; ++i) group.create_task(count_cancels(cancels));
                      });
                  }),
                  "cancelled");
        EXPECT_EQ(cancels, 5);
    });
}

TEST_P(TestTaskGroup, test_taskgroup_07) {
    run([] {
        int cancels = 0;
        EXPECT_EQ(group_of_cancelled([&] {
                      task_group([&](TaskGroup& group) {
                          for (int i = 0; i < 5; ++i) group.create_task(count_cancels(cancels));
                          count_cancels(cancels, 10)();
                      });
                  }),
                  "cancelled");
        EXPECT_EQ(cancels, 15);
    });
}

TEST_P(TestTaskGroup, test_taskgroup_08) {
    run([] {
        EXPECT_EQ(group_of_cancelled([] {
                      task_group([](TaskGroup& group) {
                          for (int i = 0; i < 5; ++i)
                              group.create_task(fail_when_cancelled("child"));
                          wait_for_ever();
                      });
                  }),
                  "child, child, child, child, child");
    });
}

TEST_P(TestTaskGroup, test_taskgroup_11) {
    run([] {
        EXPECT_EQ(group_of_cancelled([] {
                      task_group([](TaskGroup&) {
                          task_group([](TaskGroup& inner) {
                              for (int i = 0; i < 5; ++i)
                                  inner.create_task(fail_when_cancelled("child"));
                              wait_for_ever();
                          });
                      });
                  }),
                  "(child, child, child, child, child)");
    });
}

TEST_P(TestTaskGroup, test_taskgroup_12) {
    run([] {
        int outer_child = 0;
        EXPECT_EQ(group_of_cancelled([&] {
                      task_group([&](TaskGroup& outer) {
                          outer.create_task(count_cancels(outer_child));
                          task_group([](TaskGroup& inner) {
                              for (int i = 0; i < 5; ++i)
                                  inner.create_task(fail_when_cancelled("child"));
                              wait_for_ever();
                          });
                      });
                  }),
                  "(child, child, child, child, child)");
        EXPECT_EQ(outer_child, 1);
    });
}

/// A child fails while the block, cancelled, takes its time to clean up.
void fail_while_the_block_cleans_up() {
    task_group([](TaskGroup& group) {
        group.create_task(fail_after(300ms, "child"));
        try {
            wait_for_ever();
        } catch (const CancelledError&) {
            weft::sleep(500ms);
            throw;
        }
    });
}

TEST_P(TestTaskGroup, test_taskgroup_15) {
    run([] { EXPECT_EQ(group_of_cancelled(fail_while_the_block_cleans_up), "child"); });
}

// The cancel reaches the task of the group through one that awaits it.
TEST_P(TestTaskGroup, test_taskgroup_16) {
    run([] {
        EXPECT_EQ(group_of_cancelled(
                      [] { await(create_task([] { fail_while_the_block_cleans_up(); })); }),
                  "child");
    });
}

TEST_P(TestTaskGroup, test_taskgroup_17) {
    run([] {
        int cancels = 0;
        EXPECT_EQ(
            group_of_cancelled([&] { task_group([&](TaskGroup&) { count_cancels(cancels)(); }); }),
            "cancelled");
        EXPECT_EQ(cancels, 1);
    });
}

TEST_P(TestTaskGroup, test_taskgroup_18) {
    run([] {
        EXPECT_EQ(group_of_cancelled(
                      [] { task_group([](TaskGroup&) { fail_when_cancelled("block")(); }); }),
                  "block");
    });
}

TEST_P(TestTaskGroup, test_taskgroup_22) {
    run([] {
        Task<int> first, second;
        EXPECT_EQ(group_of_cancelled([&] {
                      task_group([&](TaskGroup& group) {
                          first = group.create_task(value_after(1s, 42));
                          second = group.create_task(value_after(2s, 11));
                      });
                  }),
                  "cancelled");
        EXPECT_TRUE(first.cancelled());
        EXPECT_TRUE(second.cancelled());
    });
}

// --- groups in groups ---------------------------------------------------------------------------------------------

TEST_P(TestTaskGroup, test_taskgroup_13) {
    run([] {
        EXPECT_EQ(group_of([] {
                      task_group([](TaskGroup& outer) {
                          outer.create_task(fail_after(1s, "outer"));
                          task_group([](TaskGroup& inner) {
                              inner.create_task(fail_after(10s, "inner"));
                          });
                      });
                  }),
                  "outer");
    });
}

TEST_P(TestTaskGroup, test_taskgroup_14) {
    run([] {
        EXPECT_EQ(group_of([] {
                      task_group([](TaskGroup& outer) {
                          outer.create_task(fail_after(10s, "outer"));
                          task_group(
                              [](TaskGroup& inner) { inner.create_task(fail_after(1s, "inner")); });
                      });
                  }),
                  "(inner)");
    });
}

// --- the count of requests ----------------------------------------------------------------------------------------

TEST_P(TestTaskGroup, test_cancelling_level_preserved) {
    run([] {
        EXPECT_EQ(
            group_of([] {
                task_group([](TaskGroup& group) { group.create_task(fail_after(0s, "child")); });
            }),
            "child");
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// Both fail, and the inner group's error is caught: the outer one's cancel is still counted, until its end.
TEST_P(TestTaskGroup, test_nested_groups_both_cancelled) {
    run([] {
        bool after_inner = false;
        EXPECT_EQ(group_of([&] {
                      task_group([&](TaskGroup& outer) {
                          EXPECT_EQ(group_of([&] {
                                        task_group([&](TaskGroup& inner) {
                                            inner.create_task(fail_when_cancelled("inner"));
                                            outer.create_task(fail_after(1s, "outer"));
                                        });
                                    }),
                                    "inner");
                          EXPECT_EQ(current_task().cancelling(), 1);
                          after_inner = true;
                      });
                  }),
                  "outer");
        EXPECT_TRUE(after_inner);
        EXPECT_EQ(current_task().cancelling(), 0);
    });
}

// A cancel from outside meets a group whose child fails: the group's error wins, and the cancel is due again.
TEST_P(TestTaskGroup, test_error_and_cancel) {
    run([] {
        Event begun;
        auto inner = create_task([&] {
            EXPECT_EQ(group_of([&] {
                          task_group([&](TaskGroup& group) {
                              group.create_task([&] {
                                  begun.set();
                                  fail_when_cancelled("child")();
                              });
                              weft::sleep(1h);
                              ADD_FAILURE() << "the block went on";
                          });
                      }),
                      "child");
            EXPECT_EQ(current_task().cancelling(), 1);
            weft::sleep(1h);
            ADD_FAILURE() << "went on after the group";
        });
        begun.wait();
        EXPECT_EQ(inner.cancelling(), 0);
        inner.cancel();
        EXPECT_EQ(inner.cancelling(), 1);
        EXPECT_THROW(await(inner), CancelledError);
        EXPECT_TRUE(inner.cancelled());
    });
}

}  // namespace

}  // namespace weft::test
