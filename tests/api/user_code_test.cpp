// Code of the user's that weft runs on its own (moves, destructors, comparisons, callbacks) may call back into the very
// object that runs it: none of it runs under a lock of weft's. With such a lock held, each of these tests would hang.
#include "api/user_code.hpp"

#include <memory>
#include <stdexcept>

namespace weft::test {

namespace {

class UserCodeTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(UserCodeTest);

/// Asks a handle all that can be asked without waiting.
template <class Handle>
void ask(const Handle& handle, bool done) {
    EXPECT_EQ(handle.done(), done);
    EXPECT_FALSE(handle.cancelled());
    if (done)
        EXPECT_EQ(handle.result(), 1);
    else
        EXPECT_THROW(handle.result(), InvalidStateError);
    EXPECT_EQ(handle.remove_done_callback(CallbackId{}), 0U);
}

// --- done callbacks -----------------------------------------------------------------------------------------------

class CallbackOfAnEndedRuntimeTest : public Everywhere {
protected:
    /// A callback, of a runtime that has ended, whose destructor asks the future.
    static void add_callback(Future<int>& future, bool done, std::atomic<int>& destroyed) {
        // By reference: a callback that held the future would keep it alive.
        future.add_done_callback([asks = AtEnd([&future, &destroyed, done] {
                                      ask(future, done);
                                      EXPECT_THROW(future.add_done_callback([](const auto&) {}),
                                                   UsageError);
                                      ++destroyed;
                                  })](const Future<int>&) { ADD_FAILURE() << "called"; });
    }
};
WEFT_TEST_ON_THREADS(CallbackOfAnEndedRuntimeTest);

TEST_P(CallbackOfAnEndedRuntimeTest, MayAskItsFutureWhenItIsDestroyed) {
    std::atomic<int> destroyed = 0;
    Future<int> future;
    run([&] {
        add_callback(future, true, destroyed);
        add_callback(future, true, destroyed);
    });
    EXPECT_EQ(destroyed, 0);
    future.set_result(1);
    EXPECT_EQ(destroyed, 2);
}

TEST_P(CallbackOfAnEndedRuntimeTest, MayAskItsFutureWhenATaskOfAnotherHasSetIt) {
    std::atomic<int> destroyed = 0;
    Future<int> future;
    run([&] {
        future.add_done_callback([asks = AtEnd([&] {
                                      ask(future, true);
                                      ++destroyed;
                                  })](const Future<int>&) { ADD_FAILURE() << "called"; });
    });
    run([&] {
        future.set_result(1);
        yield_until([&] { return destroyed == 1; });
    });
}

TEST_P(CallbackOfAnEndedRuntimeTest, MayAskItsTaskWhenItIsDestroyed) {
    std::atomic<int> destroyed = 0;
    Task<int> task;
    Event go;
    Runtime runtime(options());
    auto make = [&] {
        task = create_task([&] {
            go.wait();
            return 1;
        });
    };
    runtime.submit(make).result();
    run([&] {
        task.add_done_callback([asks = AtEnd([&] {
                                    ask(task, true);
                                    ++destroyed;
                                })](const Task<int>&) { ADD_FAILURE() << "called"; });
    });
    go.set();
    while (!task.done()) std::this_thread::yield();
    runtime.shutdown();
    EXPECT_EQ(destroyed, 1);
}

// A cancel goes down to what a task gathers under the task's lock, and under that of the timers.
TEST_P(CallbackOfAnEndedRuntimeTest, MayAskTheTaskWhoseCancelEndedItsFuture) {
    enum class By { task, thread, timeout };
    for (By by : {By::task, By::thread, By::timeout}) {
        std::atomic<int> destroyed = 0;
        Future<int> future;
        Task<void> gathering;
        run([&] {
            future.add_done_callback([asks = AtEnd([&] {
                                          gathering.cancelling();
                                          gathering.get_name();
                                          EXPECT_TRUE(future.cancelled());
                                          ++destroyed;
                                      })](const Future<int>&) { ADD_FAILURE() << "called"; });
        });
        run([&] {
            Event is_known;  // whoever destroys the callback asks for the task
            gathering = create_task([&] {
                is_known.wait();
                auto all = [&] { gather(return_exceptions, wait_for_ever, future); };
                if (by == By::timeout)
                    EXPECT_THROW(timeout(1ms, all), TimeoutError);
                else
                    EXPECT_THROW(all(), CancelledError);
            });
            is_known.set();
            settle();
            if (by == By::task) gathering.cancel();
            if (by == By::thread) {
                std::thread([&] {
                    gathering.cancel();
                    // In strict mode it is the worker that passes the cancel on.
                    EXPECT_TRUE(strict() || destroyed == 1);
                }).join();
            }
            await(gathering);
            yield_until([&] { return destroyed == 1; });
        });
        gathering = {};
    }
}

TEST_P(UserCodeTest, ADoneCallbackMayAskItsFutureHoweverItEnds) {
    run([] {
        std::atomic<int> destroyed = 0;
        auto callback = [&](Future<int>& future, bool done) {
            return [asks = AtEnd([&future, &destroyed, done] {
                        ask(future, done);
                        ++destroyed;
                    })](const Future<int>& called) { ask(called, true); };
        };
        Future<int> future;
        CallbackId id = future.add_done_callback(callback(future, false));
        EXPECT_EQ(future.remove_done_callback(id), 1U);
        EXPECT_EQ(destroyed, 1);
        future.add_done_callback(callback(future, true));
        future.set_result(1);
        yield_until([&] { return destroyed == 2; });

        auto asks_another = [&] {
            Future<int> dropped;
            dropped.add_done_callback([asks = AtEnd([&] {
                                           ask(future, true);
                                           create_task([&] { ++destroyed; });
                                       })](const Future<int>&) { ADD_FAILURE() << "called"; });
        };
        asks_another();
        yield_until([&] { return destroyed == 3; });
    });
}

// --- values -------------------------------------------------------------------------------------------------------

TEST_P(UserCodeTest, AFuturesValueMayCallItsFuture) {
    run([] {
        Future<Caller> future;
        Event waits;
        auto waiter = start([&] { await(future); });
        {
            Hook hook([&] {
                EXPECT_FALSE(future.done());
                EXPECT_THROW(future.result(), InvalidStateError);
                EXPECT_FALSE(future.cancel());  // somebody is setting it
                EXPECT_FALSE(future.try_set_exception(std::make_exception_ptr(0)));
                CallbackId id = future.add_done_callback([](const auto&) {});
                EXPECT_EQ(future.remove_done_callback(id), 1U);
            });
            Caller value(1);
            future.set_result(std::move(value));
            Caller::hook = nullptr;
        }
        await(waiter);
        Hook hook([&] {
            EXPECT_TRUE(future.done());
            EXPECT_FALSE(future.cancelled());
            EXPECT_EQ(future.exception(), nullptr);
            future.add_done_callback([](const auto&) {});
        });
        EXPECT_EQ(await(Future<Caller>(future)).value, 1);
    });
}

TEST_P(UserCodeTest, ATasksValueMayCallItsTask) {
    run([] {
        auto task = create_task([] { return Caller(1); });
        weft::wait({task});
        Hook hook([&] {
            EXPECT_TRUE(task.done());
            EXPECT_FALSE(task.cancel());
            EXPECT_FALSE(weft::all_tasks().empty());
            EXPECT_EQ(task.exception(), nullptr);
            task.set_name("asked");
            create_task([] {});
        });
        EXPECT_EQ(await(Task<Caller>(task)).value, 1);
    });
}

TEST_P(UserCodeTest, ValuesThatAreGatheredMayCallTheirTasks) {
    run([] {
        auto first = create_task([] { return Caller(1); });
        auto second = create_task([] { return Caller(2); });
        Hook hook([&] {
            EXPECT_FALSE(first.cancel());
            EXPECT_FALSE(second.cancel());
            second.add_done_callback([](const auto&) {});
            EXPECT_FALSE(weft::all_tasks().empty());
        });
        auto [done, pending] = weft::wait({first, second});
        EXPECT_EQ(done.size(), 2U);
        for (auto task : as_completed(done)) EXPECT_GT(task.result().value, 0);
        auto [a, b] = gather(first, second);
        EXPECT_EQ(a.value + b.value, 3);
    });
}

TEST_P(UserCodeTest, AValueThatIsDroppedWithItsTaskMayMakeTasks) {
    run([] {
        std::atomic<int> made = 0;
        for (int i = 0; i < 20; ++i) {
            create_task([&] {
                return AtEnd([&] {
                    EXPECT_FALSE(weft::all_tasks().empty());
                    create_task([&] { ++made; });
                });
            });
        }
        yield_until([&] { return made == 20; });
    });
}

TEST_P(UserCodeTest, AnErrorThatIsDroppedMayMakeTasks) {
    struct Error {
        std::shared_ptr<AtEnd> at_end;
    };
    run([] {
        std::atomic<int> made = 0;
        auto error = [&] {
            return Error{std::make_shared<AtEnd>([&] { create_task([&] { ++made; }); })};
        };
        auto task = create_task([&] { throw error(); });
        EXPECT_THROW(await(std::move(task)), Error);
        task = {};
        Future<int> future;
        future.set_exception(std::make_exception_ptr(error()));
        EXPECT_NE(future.exception(), nullptr);
        future = {};
        yield_until([&] { return made == 2; });
    });
}

// --- callables that are never run ---------------------------------------------------------------------------------

TEST_P(UserCodeTest, ACallableThatWasNeverRunMayCallItsTask) {
    run([&] {
        HoldOtherWorkers hold(workers());
        int destroyed = 0;
        Task<void> task;
        task = create_task([asks = AtEnd([&] {
                                EXPECT_FALSE(task.done());
                                EXPECT_TRUE(task.cancel("again"));
                                task.get_name();
                                task.add_done_callback([](const auto&) {});
                                ++destroyed;
                            })] { ADD_FAILURE() << "it was run"; });
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_EQ(destroyed, 1);
    });
}

TEST_P(UserCodeTest, ACallableThatWasNeverRunMayCallItsGroup) {
    run([&] {
        int destroyed = 0;
        {
            HoldOtherWorkers hold(workers());
            task_group([&](TaskGroup& tg) {
                tg.create_task([asks = AtEnd([&] {
                                    tg.cancel();
                                    EXPECT_ANY_THROW(tg.create_task([] {}));
                                    ++destroyed;
                                })] { ADD_FAILURE() << "it was run"; });
                tg.cancel();
            });
        }
        EXPECT_EQ(destroyed, 1);
    });
}

TEST_P(UserCodeTest, CallablesThatGatherDoesNotStartMayCallItsTasks) {
    run([] {
        std::atomic<int> destroyed = 0;
        auto failing = create_task([] {});
        std::vector<Coroutine<void>> jobs;
        jobs.push_back(coroutine([] { throw std::runtime_error("first"); }));
        for (int i = 0; i < 3; ++i)
            jobs.push_back(coroutine([&, asks = AtEnd([&] {
                                             EXPECT_FALSE(weft::all_tasks().empty());
                                             failing.done();
                                             ++destroyed;
                                         })] { ADD_FAILURE() << "it was run"; }));
        EXPECT_THROW(gather(at_most(1), std::move(jobs)), std::runtime_error);
        EXPECT_EQ(destroyed, 3);
    });
}

// --- the rest -----------------------------------------------------------------------------------------------------

TEST_P(UserCodeTest, ACaseOfSelectMayCallWhatItSelects) {
    run([] {
        Queue<int> queue(1);
        Event event;
        Future<int> future;
        queue.put(1);
        weft::select(on_get(queue,
                            [&](int) {
                                EXPECT_TRUE(queue.empty());
                                queue.put_nowait(2);
                            }),
                     on(event));
        event.set();
        weft::select(on(event, [&] { event.clear(); }));
        future.set_result(1);
        weft::select(on(future, [](const Future<int>& done) { ask(done, true); }));
    });
}

TEST_P(UserCodeTest, APredicateMayCallItsCondition) {
    run([] {
        Condition condition;
        std::lock_guard guard(condition);
        EXPECT_TRUE(condition.wait([&] {
            condition.notify_all();
            return condition.locked();
        }));
    });
}

ContextVar<std::shared_ptr<AtEnd>> variable{"variable", nullptr};
ContextVar<int> other_variable{"other", 0};

TEST_P(UserCodeTest, AContextVariablesValueMayReadAndSetThem) {
    std::atomic<int> destroyed = 0;
    auto value = [&] {
        return std::make_shared<AtEnd>([&] {
            variable.get();
            other_variable.set(other_variable.get() + 1);
            EXPECT_GT(other_variable.get(), 0);
            ++destroyed;
        });
    };
    run([&] {
        destroyed = 0;
        await(create_task([&] { variable.set(value()); }));  // ends with its task
        yield_until([&] { return destroyed == 1; });
        auto failing = create_task([&] {  // ends with the block of one that failed
            variable.set(value());
            throw std::runtime_error("");
        });
        EXPECT_THROW(await(failing), std::runtime_error);
        failing = {};
        yield_until([&] { return destroyed == 2; });
        {
            Context context = copy_context();
            context.run([&] {
                variable.set(value());
                variable.set(nullptr);  // replaced
                EXPECT_EQ(destroyed, 3);
                variable.set(value());
            });
        }
        EXPECT_EQ(destroyed, 4);
        // With the closure of a task that is never run.
        {
            HoldOtherWorkers hold(workers());
            variable.set(value());
            auto task = create_task([] {});
            variable.set(nullptr);
            task.cancel();
            EXPECT_THROW(await(task), CancelledError);
        }
        yield_until([&] { return destroyed == 5; });
    });
    std::thread([&] { variable.set(value()); }).join();  // ends with its thread
    EXPECT_EQ(destroyed, 6);
}

TEST_P(UserCodeTest, AnExceptionHandlerMayCallEverything) {
    std::atomic<int> told = 0;
    RunOptions given;
    given.exception_handler = [&](const ExceptionContext& context) {
        EXPECT_FALSE(weft::all_tasks().empty());
        current_task();
        variable.get();
        Future<int> future;
        future.set_result(1);
        create_task([&told] { ++told; });
        EXPECT_NE(context.exception, nullptr);
    };
    run(given, [&] {
        told = 0;
        create_task([] { throw std::runtime_error("a task's"); });
        Future<int>().set_exception(std::runtime_error("a future's"));
        yield_until([&] { return told == 2; });
    });
}

class CallsItsRuntimeTest : public Everywhere {};
WEFT_TEST_ON_THREADS(CallsItsRuntimeTest);

TEST_P(CallsItsRuntimeTest, ACallableMayEndTheRuntimeThatItIsSubmittedTo) {
    struct Ends {
        Runtime* runtime;
        explicit Ends(Runtime& r) : runtime(&r) {}
        Ends(Ends&& other) : runtime(other.runtime) { runtime->shutdown(); }
        void operator()() const { ADD_FAILURE() << "it was run"; }
    };
    Runtime runtime(options());
    EXPECT_THROW(runtime.submit(Ends(runtime)), UsageError);
    EXPECT_THROW(runtime.post(Ends(runtime)), UsageError);
    Runtime other(options());
    EXPECT_THROW(other.post(Ends(other)), UsageError);
}

}  // namespace

}  // namespace weft::test
