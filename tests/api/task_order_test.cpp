// The order in which tasks run in strict mode: asyncio's own. The ids are those of asyncio's semantics; what is
// expected of the programs with a spinner, which counts the turns of the loop, is what CPython 3.13.0 printed.
#include <string>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class StrictOrderTest : public WithWatchdog {
protected:
    /// What main() and its tasks said, in order.
    template <class F>
    std::string trace_of(F&& main) {
        trace_.clear();
        run_strict([&] { main(); });
        return trace_;
    }
    void say(const std::string& word) { trace_ += (trace_.empty() ? "" : " ") + word; }

    Task<void> spin(int turns) {
        return create_task([this, turns] {
            for (int i = 0; i < turns; ++i) {
                say("s" + std::to_string(i));
                yield();
            }
        });
    }
    auto sayer(const std::string& word) {
        return [this, word] { say(word); };
    }

private:
    std::string trace_;
};

// task-1
TEST_F(StrictOrderTest, ATaskDoesNotBeginBeforeItsCreatorWaits) {
    auto main = [&] {
        auto a = create_task(sayer("a"));
        auto b = create_task(sayer("b"));
        say("created");
        await(b);
        say("main");
    };
    EXPECT_EQ(trace_of(main), "created a b main");
}

// task-2
TEST_F(StrictOrderTest, TasksBeginInTheOrderOfTheirCreation) {
    auto main = [&] {
        std::vector<Task<void>> tasks;
        for (const char* word : {"a", "b", "c", "d"}) tasks.push_back(create_task(sayer(word)));
        for (std::size_t i = tasks.size(); i-- > 0;) await(tasks[i]);
    };
    EXPECT_EQ(trace_of(main), "a b c d");
}

// sleep-1
TEST_F(StrictOrderTest, YieldIsOneTurnRoundRobin) {
    auto main = [&] {
        auto worker = [&](const std::string& word) {
            return [this, word] {
                for (int i = 0; i < 3; ++i) {
                    say(word + std::to_string(i));
                    yield();
                }
            };
        };
        gather(worker("a"), worker("b"), worker("c"));
    };
    EXPECT_EQ(trace_of(main), "a0 b0 c0 a1 b1 c1 a2 b2 c2");
}

// sleep-1
TEST_F(StrictOrderTest, ASleepOfZeroIsAYield) {
    auto main = [&] {
        auto task = create_task(sayer("task"));
        say("before");
        weft::sleep(0s);
        say("after");
        await(task);
    };
    EXPECT_EQ(trace_of(main), "before task after");
}

TEST_F(StrictOrderTest, AwaitOfATaskTakesOneTurn) {
    auto main = [&] {
        auto spinner = spin(6);
        auto task = create_task(sayer("c"));
        await(task);
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 c s1 m s2 s3 s4 s5");
}

TEST_F(StrictOrderTest, AwaitOfATaskWithATurnOfItsOwn) {
    auto main = [&] {
        auto spinner = spin(6);
        auto task = create_task([&] {
            say("c0");
            yield();
            say("c1");
        });
        await(task);
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 c0 s1 c1 s2 m s3 s4 s5");
}

TEST_F(StrictOrderTest, AwaitOfAFutureTakesOneTurn) {
    auto main = [&] {
        Future<int> future;
        auto spinner = spin(6);
        auto setter = create_task([&] {
            say("set");
            future.set_result(1);
        });
        await(future);
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 set s1 m s2 s3 s4 s5");
}

TEST_F(StrictOrderTest, AnEventTakesOneTurn) {
    auto main = [&] {
        Event event;
        auto spinner = spin(6);
        auto setter = create_task([&] {
            say("set");
            event.set();
        });
        event.wait();
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 set s1 m s2 s3 s4 s5");
}

TEST_F(StrictOrderTest, GatherTakesTwoTurns) {
    auto plain = [&] {
        auto spinner = spin(6);
        gather(sayer("a"), sayer("b"));
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(plain), "s0 a b s1 s2 m s3 s4 s5");
    auto with_exceptions = [&] {
        auto spinner = spin(6);
        gather(return_exceptions, sayer("a"), sayer("b"));
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(with_exceptions), "s0 a b s1 s2 m s3 s4 s5");
}

TEST_F(StrictOrderTest, ATaskGroupTakesTwoTurns) {
    auto main = [&] {
        auto spinner = spin(6);
        task_group([&](TaskGroup& group) {
            group.create_task(sayer("a"));
            group.create_task(sayer("b"));
        });
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 a b s1 s2 m s3 s4 s5");
}

TEST_F(StrictOrderTest, ShieldTakesTwoTurns) {
    auto main = [&] {
        auto spinner = spin(6);
        shield(sayer("a"));
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 a s1 s2 m s3 s4 s5");
}

TEST_F(StrictOrderTest, WaitForTakesOneTurn) {
    auto main = [&] {
        auto spinner = spin(6);
        auto task = create_task(sayer("a"));
        wait_for(task, 10s);
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 a s1 m s2 s3 s4 s5");
}

TEST_F(StrictOrderTest, ACancelTakesOneTurn) {
    auto main = [&] {
        auto spinner = spin(6);
        auto task = create_task([&] {
            try {
                weft::sleep(100s);
            } catch (const CancelledError&) {
                say("x");
                throw;
            }
        });
        yield();
        task.cancel();
        cancel_message_of([&] { await(task); });
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 s1 x s2 m s3 s4 s5");
}

// cancel-10
TEST_F(StrictOrderTest, ACancelThatIsPassedOnComesBackOneTurnATask) {
    auto main = [&] {
        auto spinner = spin(8);
        auto inner = create_task([&] {
            try {
                weft::sleep(100s);
            } catch (const CancelledError&) {
                say("x");
                throw;
            }
        });
        auto outer = create_task([&] {
            try {
                await(inner);
            } catch (const CancelledError&) {
                say("y");
                throw;
            }
        });
        yield();
        yield();
        outer.cancel();
        cancel_message_of([&] { await(outer); });
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 s1 s2 x s3 y s4 m s5 s6 s7");
}

TEST_F(StrictOrderTest, ADoneCallbackIsCalledInTheNextTurnBeforeWhoAwaitsLater) {
    auto main = [&] {
        auto spinner = spin(6);
        auto task = create_task(sayer("c"));
        task.add_done_callback([&](const Task<void>&) { say("cb"); });
        await(task);
        say("m");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 c s1 cb m s2 s3 s4 s5");
}

TEST_F(StrictOrderTest, ALockIsHandedOverInItsTurn) {
    auto main = [&] {
        Lock lock;
        auto locker = [&](const std::string& word) {
            return [&lock, this, word] {
                std::lock_guard guard(lock);
                say(word + "0");
                yield();
                say(word + "1");
            };
        };
        auto spinner = spin(8);
        auto a = create_task(locker("a"));
        auto b = create_task(locker("b"));
        await(a);
        say("ma");
        await(b);
        say("mb");
        await(spinner);
    };
    EXPECT_EQ(trace_of(main), "s0 a0 s1 a1 s2 b0 ma s3 b1 s4 mb s5 s6 s7");
}

TEST_F(StrictOrderTest, NestedGathersInterleave) {
    auto main = [&] {
        auto middle = [&](const std::string& word) {
            return [this, word] {
                say(word);
                gather(sayer(word + "1"), sayer(word + "2"));
                say(word + ".");
            };
        };
        gather(middle("a"), middle("b"));
    };
    EXPECT_EQ(trace_of(main), "a b a1 a2 b1 b2 a. b.");
}

TEST_F(StrictOrderTest, SleepersWakeInTheOrderOfTheirDeadlines) {
    auto main = [&] {
        auto sleeper = [&](const std::string& word, Duration duration) {
            return [this, word, duration] {
                weft::sleep(duration);
                say(word);
            };
        };
        gather(sleeper("c", 60ms), sleeper("a", 20ms), sleeper("b", 40ms), sleeper("z", 0ms));
    };
    EXPECT_EQ(trace_of(main), "z a b c");
}

TEST_F(StrictOrderTest, TwoTasksAndTheirAwaitsInterleave) {
    auto main = [&] {
        auto worker = [&](const std::string& word) {
            return [this, word] {
                say(word + "0");
                yield();
                say(word + "1");
            };
        };
        say("0");
        auto a = create_task(worker("a"));
        auto b = create_task(worker("b"));
        say("1");
        await(a);
        say("2");
        await(b);
        say("3");
    };
    EXPECT_EQ(trace_of(main), "0 1 a0 b0 a1 b1 2 3");
}

TEST_F(StrictOrderTest, WhoIsWokenComesBeforeWhatIsCreatedAfterwards) {
    auto main = [&] {
        Event event;
        std::vector<Task<void>> tasks;
        for (const char* word : {"a", "b", "c"})
            tasks.push_back(create_task([&, word] {
                event.wait();
                say(word);
            }));
        yield();
        event.set();
        say("set");
        auto late = create_task(sayer("n"));
        gather(tasks);
        say("m");
    };
    EXPECT_EQ(trace_of(main), "set a b c n m");
}

TEST_F(StrictOrderTest, AQueueOfOnePassesItemsInTurns) {
    auto main = [&] {
        Queue<int> queue(1);
        auto produce = [&] {
            for (int i = 0; i < 3; ++i) {
                queue.put(i);
                say("p" + std::to_string(i));
            }
        };
        auto consume = [&] {
            for (int i = 0; i < 3; ++i) say("c" + std::to_string(queue.get()));
        };
        gather(produce, consume);
    };
    EXPECT_EQ(trace_of(main), "p0 c0 p1 c1 p2 c2");
}

}  // namespace

}  // namespace weft::test
