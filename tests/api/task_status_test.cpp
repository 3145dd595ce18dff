// TaskGroup::start: when it returns, with what, and whose the child's errors are.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class TaskStatusTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(TaskStatusTest);
class TaskStatusTimeTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(TaskStatusTimeTest);

/// The message of the one error in the group that f throws, or what came instead.
template <class F>
std::string only_error_of(F&& f) {
    try {
        std::forward<F>(f)();
    } catch (const ExceptionGroup& group) {
        return group.exceptions().size() == 1 ? text_of(group.exceptions()[0]) : group.what();
    } catch (const std::exception& e) {
        return std::string("bare: ") + e.what();
    } catch (const CancelledError& e) {
        return "cancelled: " + e.message();
    }
    return "no error";
}

// --- ready --------------------------------------------------------------------------------------

TEST_P(TaskStatusTest, StartGivesWhatTheChildSaysAndTheChildRunsOn) {
    run([] {
        Event go_on;
        std::atomic<bool> ended = false;
        task_group([&](TaskGroup& tg) {
            int port = tg.start<int>([&](TaskStatus<int>& status) {
                yield();
                status.started(8080);
                go_on.wait();
                ended = true;
            });
            EXPECT_EQ(port, 8080);
            EXPECT_FALSE(ended);
            go_on.set();
        });
        EXPECT_TRUE(ended);
    });
}

TEST_P(TaskStatusTimeTest, StartReturnsWhenTheChildSaysSoAndNotBefore) {
    run([] {
        TimePoint begin = now();
        task_group([&](TaskGroup& tg) {
            tg.start([](TaskStatus<>& status) {
                sleep(2s);
                status.started();
                sleep(3s);
            });
            EXPECT_EQ(now() - begin, 2s);
        });
        EXPECT_EQ(now() - begin, 5s);
    });
}

TEST_P(TaskStatusTest, ItTakesValuesThatOnlyMoveAndReferencesAndLargeOnes) {
    run([] {
        struct Large {
            char bytes[1000];
        };
        int here = 0;
        task_group([&](TaskGroup& tg) {
            auto pointer = tg.start<std::unique_ptr<int>>(
                [](TaskStatus<std::unique_ptr<int>>& s) { s.started(std::make_unique<int>(3)); });
            EXPECT_EQ(*pointer, 3);
            int& there = tg.start<int&>([&](TaskStatus<int&>& s) { s.started(here); });
            EXPECT_EQ(&there, &here);
            auto large = tg.start<Large>([](TaskStatus<Large>& s) {
                Large value{};
                value.bytes[999] = 'x';
                s.started(value);
            });
            EXPECT_EQ(large.bytes[999], 'x');
            std::string name = tg.start<std::string>(
                [](TaskStatus<std::string>& s) { s.started(current_task().get_name()); },
                {.name = "server", .eager = true});
            EXPECT_EQ(name, "server");
        });
    });
}

TEST_P(TaskStatusTest, AChildMayStartOthersInItsGroup) {
    run([] {
        task_group([](TaskGroup& tg) {
            int sum = tg.start<int>([&tg](TaskStatus<int>& status) {
                int one = tg.start<int>([](TaskStatus<int>& inner) { inner.started(1); });
                status.started(one + 1);
                tg.start([](TaskStatus<>& inner) { inner.started(); });
            });
            EXPECT_EQ(sum, 2);
        });
    });
}

TEST_P(TaskStatusTest, ManyStartAtOnce) {
    run([] {
        std::atomic<int> sum = 0;
        task_group([&](TaskGroup& tg) {
            for (int i = 1; i <= 30; ++i)
                tg.create_task([&, i] {
                    sum += tg.start<int>([i](TaskStatus<int>& status) {
                        if (i % 2 == 0) yield();
                        status.started(i);
                        if (i % 3 == 0) yield();
                    });
                });
        });
        EXPECT_EQ(sum, 465);
    });
}

// --- errors -------------------------------------------------------------------------------------

TEST_P(TaskStatusTest, AnErrorBeforeItIsReadyComesOutOfStartAlone) {
    run([] {
        task_group([](TaskGroup& tg) {
            Event release;
            auto sibling = tg.create_task([&] { release.wait(); });
            auto kept = std::make_shared<int>(1);
            EXPECT_EQ(what_of<std::runtime_error>([&] {
                          tg.start([kept](TaskStatus<>&) {
                              yield();
                              throw std::runtime_error("no port");
                          });
                      }),
                      "no port");
            EXPECT_EQ(kept.use_count(), 1) << "the child has not ended";
            EXPECT_FALSE(sibling.done());
            EXPECT_EQ(current_task().cancelling(), 0);
            release.set();
            await(sibling);
        });
    });
}

TEST_P(TaskStatusTest, AnErrorAfterItIsReadyIsTheGroups) {
    run([] {
        EXPECT_EQ(only_error_of([] {
                      task_group([](TaskGroup& tg) {
                          int value = tg.start<int>([](TaskStatus<int>& status) {
                              status.started(1);
                              yield();
                              throw std::runtime_error("later");
                          });
                          EXPECT_EQ(value, 1);
                          wait_for_ever();
                      });
                  }),
                  "later");
    });
}

TEST_P(TaskStatusTest, AChildThatEndsWithoutAWordIsAUsageError) {
    run([] {
        task_group([](TaskGroup& tg) {
            EXPECT_THROW(tg.start<int>([](TaskStatus<int>&) {}), UsageError);
            EXPECT_THROW(tg.start([](TaskStatus<>&) { yield(); }), UsageError);
        });
    });
}

TEST_P(TaskStatusTest, ToSayItTwiceIsAUsageErrorOfTheChild) {
    run([] {
        std::string error = only_error_of([] {
            task_group([](TaskGroup& tg) {
                tg.start([](TaskStatus<>& status) {
                    status.started();
                    EXPECT_THROW(status.started(), UsageError);
                    status.started();
                });
            });
        });
        EXPECT_NE(error.find("already"), std::string::npos) << error;
    });
}

TEST_P(TaskStatusTest, AValueThatCannotBeMadeIsNotSaid) {
    struct Picky {
        Picky(int value) {
            if (value == 0) throw std::invalid_argument("zero");
        }
    };
    run([] {
        task_group([](TaskGroup& tg) {
            tg.start<Picky>([](TaskStatus<Picky>& status) {
                EXPECT_THROW(status.started(0), std::invalid_argument);
                status.started(1);
            });
            EXPECT_THROW(tg.start<Picky>([](TaskStatus<Picky>& status) { status.started(0); }),
                         std::invalid_argument);
        });
    });
}

// --- cancels ------------------------------------------------------------------------------------

TEST_P(TaskStatusTest, CancelledBeforeItIsReadyTheChildIsCancelledAndWaitedFor) {
    run([] {
        task_group([](TaskGroup& tg) {
            std::atomic<bool> ended = false;
            auto starter = start([&] {
                EXPECT_EQ(cancel_message_of([&] {
                              tg.start([&](TaskStatus<>& status) {
                                  try {
                                      wait_for_ever();
                                  } catch (const CancelledError&) {
                                      ShieldScope shield;
                                      yield();
                                      status.started();  // too late
                                      ended = true;
                                      throw;
                                  }
                              });
                          }),
                          "stop");
                EXPECT_TRUE(ended);
            });
            settle();
            starter.cancel("stop");
            await(starter);
            EXPECT_TRUE(ended);
        });
    });
}

TEST_P(TaskStatusTest, CancelledBeforeItIsReadyAndFailingItsErrorComesOutOfStart) {
    run([] {
        task_group([](TaskGroup& tg) {
            auto starter = start([&] {
                tg.start([](TaskStatus<>& status) {
                    try {
                        wait_for_ever();
                    } catch (const CancelledError&) {
                        status.started();
                        throw std::runtime_error("cannot clean up");
                    }
                });
            });
            settle();
            starter.cancel();
            EXPECT_EQ(what_of<std::runtime_error>([&] { await(starter); }), "cannot clean up");
        });
    });
}

TEST_P(TaskStatusTest, CancelledBeforeItsFirstStepTheChildNeverRuns) {
    run([alone = alone() && !simulated()] {
        task_group([&](TaskGroup& tg) {
            std::atomic<bool> ended = false;
            auto starter = create_task([&] {
                current_task().cancel("at once");
                EXPECT_EQ(cancel_message_of([&] {
                              tg.start([&](TaskStatus<>& status) {
                                  ended = true;
                                  wait_for_ever();
                                  status.started();
                              });
                          }),
                          "at once");
            });
            await(starter);
            // Another worker may have been faster.
            EXPECT_FALSE(alone && ended);
        });
    });
}

TEST_P(TaskStatusTest, ACancelAfterTheWordIsKeptForTheNextWaitAndTheChildRunsOn) {
    run([] {
        Event go_on;
        std::atomic<bool> ended = false;
        task_group([&](TaskGroup& tg) {
            auto starter = start([&] {
                AnyTask self = current_task();
                int value = tg.start<int>([&, self](TaskStatus<int>& status) {
                    status.started(5);
                    self.cancel();
                    go_on.wait();
                    ended = true;
                });
                EXPECT_EQ(value, 5);
                EXPECT_THROW(wait_for_ever(), CancelledError);
            });
            await(starter);
            EXPECT_FALSE(ended);
            go_on.set();
        });
        EXPECT_TRUE(ended);
    });
}

TEST_P(TaskStatusTest, AGroupThatIsCancelledCancelsWhoIsNotReady) {
    run([] {
        task_group([](TaskGroup& outer) {
            Task<void> outsider;
            EXPECT_EQ(only_error_of([&] {
                          task_group([&](TaskGroup& tg) {
                              outsider = outer.create_task([&] {
                                  EXPECT_THROW(tg.start([](TaskStatus<>&) { wait_for_ever(); }),
                                               CancelledError);
                                  EXPECT_EQ(current_task().cancelling(), 0);
                              });
                              settle();
                              throw std::runtime_error("over");
                          });
                      }),
                      "over");
            await(outsider);
        });
    });
}

TEST_P(TaskStatusTest, AGroupThatIsOverTakesNoMore) {
    run([] {
        task_group([&](TaskGroup& tg) {
            tg.cancel();
            EXPECT_THROW(tg.start([](TaskStatus<>& status) { status.started(); }), UsageError);
        });
    });
}

TEST_P(TaskStatusTimeTest, ATimeoutAroundStartEndsTheChild) {
    run([] {
        TimePoint begin = now();
        task_group([&](TaskGroup& tg) {
            EXPECT_THROW(timeout(1s,
                                 [&] {
                                     tg.start([](TaskStatus<>& status) {
                                         sleep(1h);
                                         status.started();
                                     });
                                 }),
                         TimeoutError);
        });
        EXPECT_EQ(now() - begin, 1s);
    });
}

TEST_P(TaskStatusTest, ACancelAndTheWordAtTheSameTimeLoseNeitherValueNorChild) {
    run([] {
        for (int round = 0; round < 40; ++round) {
            std::atomic<int> served = 0;
            int values = 0;
            task_group([&](TaskGroup& tg) {
                auto starter = create_task([&] {
                    values += tg.start<int>([&](TaskStatus<int>& status) {
                        if (round % 2 == 0) yield();
                        status.started(1);
                        yield();
                        ++served;
                    });
                });
                for (int turn = 0; turn < round % 4; ++turn) yield();
                starter.cancel();
                await_end(starter);
            });
            EXPECT_GE(served, values);
        }
    });
}

}  // namespace

}  // namespace weft::test
