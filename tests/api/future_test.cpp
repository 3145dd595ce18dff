// Futures: set once by anybody, awaited by many. The ids are those of asyncio's semantics. Callbacks are in
// done_callback_test.cpp.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class FutureTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(FutureTest);

// --- states -------------------------------------------------------------------------------------------------------

// fu-1
TEST_P(FutureTest, ResultAndExceptionOfAPendingOneAreInvalidStateErrors) {
    run([] {
        Future<int> future;
        EXPECT_FALSE(future.done());
        EXPECT_FALSE(future.cancelled());
        EXPECT_THROW(future.result(), InvalidStateError);
        EXPECT_THROW((void)future.exception(), InvalidStateError);
    });
}

// fu-3
TEST_P(FutureTest, ItIsSetOnce) {
    run([] {
        Future<int> future;
        future.set_result(1);
        EXPECT_THROW(future.set_result(2), InvalidStateError);
        EXPECT_THROW(future.set_exception(std::runtime_error("late")), InvalidStateError);
        EXPECT_FALSE(future.try_set_result(3));
        EXPECT_FALSE(future.try_set_exception(std::make_exception_ptr(1)));
        EXPECT_EQ(future.result(), 1);
        EXPECT_EQ(future.exception(), nullptr);

        Future<int> failed;
        failed.set_exception(std::runtime_error("first"));
        EXPECT_THROW(failed.set_result(1), InvalidStateError);
        EXPECT_EQ(text_of(failed.exception()), "first");

        Future<int> cancelled;
        EXPECT_TRUE(cancelled.cancel());
        EXPECT_THROW(cancelled.set_result(1), InvalidStateError);
        EXPECT_FALSE(cancelled.try_set_result(1));
    });
}

// fu-4
TEST_P(FutureTest, CancelOfADoneOneSaysFalse) {
    run([] {
        Future<int> future;
        future.set_result(1);
        EXPECT_FALSE(future.cancel());
        EXPECT_FALSE(future.cancelled());
        EXPECT_EQ(future.result(), 1);
        Future<int> twice;
        EXPECT_TRUE(twice.cancel());
        EXPECT_FALSE(twice.cancel());
    });
}

// fu-5
TEST_P(FutureTest, ACancelledOneThrowsCancelledErrorWithItsMessage) {
    run([] {
        Future<int> future;
        EXPECT_TRUE(future.cancel("no longer"));
        EXPECT_TRUE(future.done());
        EXPECT_TRUE(future.cancelled());
        EXPECT_EQ(cancel_message_of([&] { future.result(); }), "no longer");
        EXPECT_EQ(cancel_message_of([&] { (void)future.exception(); }), "no longer");
        EXPECT_EQ(cancel_message_of([&] { await(future); }), "no longer");
    });
}

TEST_P(FutureTest, AnErrorMayBeGivenAsAnObjectOrAsAPointer) {
    run([] {
        Future<int> object;
        object.set_exception(std::out_of_range("object"));
        EXPECT_EQ(what_of<std::out_of_range>([&] { await(object); }), "object");
        Future<int> pointer;
        pointer.set_exception(std::make_exception_ptr(std::out_of_range("pointer")));
        EXPECT_EQ(what_of<std::out_of_range>([&] { pointer.result(); }), "pointer");
        Future<int> null;
        EXPECT_THROW(null.set_exception(std::exception_ptr()), std::invalid_argument);
        EXPECT_THROW(null.try_set_exception(nullptr), std::invalid_argument);
        EXPECT_FALSE(null.done());
    });
}

TEST_P(FutureTest, AValueWhoseCopyThrowsLeavesItPending) {
    struct Bomb {
        bool armed = false;
        Bomb() = default;
        Bomb(const Bomb& other) : armed(other.armed) {
            if (armed) throw std::runtime_error("no copy");
        }
        Bomb& operator=(const Bomb&) = delete;
    };
    run([] {
        Future<Bomb> future;
        Bomb bomb;
        bomb.armed = true;
        EXPECT_EQ(what_of<std::runtime_error>([&] { future.set_result(bomb); }), "no copy");
        EXPECT_FALSE(future.done());
        bomb.armed = false;
        future.set_result(bomb);
        EXPECT_FALSE(await(future).armed);
    });
}

// --- values -------------------------------------------------------------------------------------------------------

TEST_P(FutureTest, ValuesMayBeVoidReferencesAndMoveOnly) {
    run([] {
        Future<void> nothing;
        nothing.set_result();
        await(nothing);
        nothing.result();

        int here = 0;
        Future<int&> reference;
        reference.set_result(here);
        EXPECT_EQ(&await(reference), &here);
        EXPECT_EQ(&reference.result(), &here);

        Future<std::unique_ptr<int>> box;
        box.set_result(std::make_unique<int>(4));
        EXPECT_EQ(*await(box), 4);
        EXPECT_EQ(*await(std::move(box)), 4);

        Future<std::string> converted;
        converted.set_result("from a literal");
        EXPECT_EQ(await(converted), "from a literal");
    });
}

TEST_P(FutureTest, AwaitOfAHandleRefersAndAwaitOfATemporaryMovesOut) {
    run([] {
        Future<std::string> future;
        Future<std::string> same = future;
        EXPECT_EQ(future, same);
        EXPECT_NE(future, Future<std::string>());
        same.set_result("value");
        const std::string& value = await(future);
        EXPECT_EQ(&value, &same.result());
        EXPECT_EQ(await(std::move(future)), "value");
        EXPECT_THROW(same.result(), InvalidStateError);
        EXPECT_THROW(await(same), InvalidStateError);
    });
}

TEST_P(FutureTest, AValueDiesWithTheLastHandle) {
    run([] {
        auto tracked = std::make_shared<int>();
        {
            Future<std::shared_ptr<int>> future;
            Future<std::shared_ptr<int>> same = future;
            future.set_result(tracked);
            EXPECT_EQ(tracked.use_count(), 2);
        }
        EXPECT_EQ(tracked.use_count(), 1);
    });
}

// --- waiting ------------------------------------------------------------------------------------------------------

TEST_P(FutureTest, ManyTasksMayAwaitIt) {
    run([] {
        Future<int> future;
        std::vector<Task<int>> tasks;
        for (int i = 0; i < 50; ++i)
            tasks.push_back(create_task([&, i] { return await(future) + i; }));
        settle();
        future.set_result(100);
        for (int i = 0; i < 50; ++i) EXPECT_EQ(await(tasks[static_cast<std::size_t>(i)]), 100 + i);
    });
}

TEST_P(FutureTest, AwaitOfADoneOneLetsNothingElseRun) {
    run([&] {
        Future<int> future;
        future.set_result(1);
        HoldOtherWorkers hold(workers());
        bool other_ran = false;
        auto other = create_task([&] { other_ran = true; });
        EXPECT_EQ(await(future), 1);
        EXPECT_FALSE(other_ran);
        hold.release();
        await(other);
    });
}

TEST_P(FutureTest, ErrorsAndCancelsReachEveryWaiter) {
    run([] {
        Future<int> failed;
        Future<int> cancelled;
        std::vector<Task<std::string>> tasks;
        for (int i = 0; i < 10; ++i) {
            tasks.push_back(
                create_task([&] { return what_of<std::runtime_error>([&] { await(failed); }); }));
            tasks.push_back(
                create_task([&] { return cancel_message_of([&] { await(cancelled); }); }));
        }
        settle();
        failed.set_exception(std::runtime_error("text"));
        cancelled.cancel("text");
        for (auto& task : tasks) EXPECT_EQ(await(task), "text");
    });
}

TEST_P(FutureTest, ACancelOfTheFutureIsNoCancelOfWhoAwaitsIt) {
    run([] {
        Future<int> future;
        auto task = create_task([&] {
            EXPECT_THROW(await(future), CancelledError);
            yield();
            return current_task().cancelling();
        });
        settle();
        future.cancel();
        EXPECT_EQ(await(task), 0);
    });
}

// --- threads ------------------------------------------------------------------------------------------------------

TEST_P(FutureTest, AnyThreadMaySetIt) {
    run([] {
        Future<int> value;
        Future<int> error;
        Future<int> cancelled;
        auto first = create_task([&] { return await(value); });
        auto second =
            create_task([&] { return what_of<std::runtime_error>([&] { await(error); }); });
        auto third = create_task([&] { return cancel_message_of([&] { await(cancelled); }); });
        settle();
        to_thread([&] {
            value.set_result(1);
            error.set_exception(std::runtime_error("error"));
            cancelled.cancel("cancelled");
        });
        EXPECT_EQ(await(first), 1);
        EXPECT_EQ(await(second), "error");
        EXPECT_EQ(await(third), "cancelled");
    });
}

TEST_P(FutureTest, OfManyWhoSetItOneWins) {
    run([] {
        for (int round = 0; round < 50; ++round) {
            Future<int> future;
            std::atomic<int> won = 0;
            std::atomic<int> winner = -1;
            auto race = [&](int i) {
                return [&, i] {
                    if (!future.try_set_result(i)) return;
                    ++won;
                    winner = i;
                };
            };
            auto waiter = create_task([&] { return await(future); });
            gather(race(0), race(1), race(2), race(3));
            EXPECT_EQ(won, 1);
            EXPECT_EQ(await(waiter), winner);
        }
    });
}

TEST(FutureOutsideTest, ItNeedsNoRuntimeToBeMadeSetAndRead) {
    Future<std::string> future;
    EXPECT_FALSE(future.done());
    std::thread([&] { future.set_result("value"); }).join();
    EXPECT_EQ(future.result(), "value");
    Future<int> cancelled;
    EXPECT_TRUE(cancelled.cancel("text"));
    EXPECT_EQ(cancel_message_of([&] { cancelled.result(); }), "text");
    EXPECT_EQ(weft::run([&] { return await(future); }), "value");
}

// --- errors that nobody reads -------------------------------------------------------------------------------------

TEST_P(FutureTest, AnErrorThatNobodyReadIsReportedOnceWhenItDies) {
    Reports reports;
    run({.exception_handler = reports.handler()}, [&] {
        reports.take();
        {
            Future<int> future;
            Future<int> same = future;
            future.set_exception(std::runtime_error("unread"));
            EXPECT_EQ(reports.size(), 0U);
        }
        auto told = reports.take();
        ASSERT_EQ(told.size(), 1U);
        EXPECT_NE(told[0].find("unread"), std::string::npos) << told[0];
    });
}

TEST_P(FutureTest, AnErrorThatWasReadAndACancelAreNotReported) {
    run([] {
        Future<int> awaited;
        awaited.set_exception(std::runtime_error("read"));
        EXPECT_THROW(await(awaited), std::runtime_error);
        Future<int> asked;
        asked.set_exception(std::runtime_error("read"));
        EXPECT_NE(asked.exception(), nullptr);
        Future<int> cancelled;
        cancelled.cancel();
    });
}

TEST_P(FutureTest, AnEmptyHandleIsAnInvalidStateError) {
    run([] {
        Future<int> full;
        Future<int> taken = std::move(full);
        Future<int>& empty = full;  // NOLINT(bugprone-use-after-move): that is what is tested
        EXPECT_FALSE(empty.done());
        EXPECT_THROW(empty.set_result(1), InvalidStateError);
        EXPECT_THROW(empty.set_exception(std::runtime_error("x")), InvalidStateError);
        EXPECT_THROW(empty.cancel(), InvalidStateError);
        EXPECT_THROW(empty.result(), InvalidStateError);
        EXPECT_THROW(empty.exception(), InvalidStateError);
        EXPECT_THROW(empty.add_done_callback([](const Future<int>&) {}), InvalidStateError);
        EXPECT_THROW(await(empty), InvalidStateError);
        EXPECT_THROW(gather(empty), InvalidStateError);
        EXPECT_THROW(shield(empty), InvalidStateError);
        EXPECT_THROW(wait_for(empty, 1s), InvalidStateError);
        EXPECT_THROW(wait_for(empty, 0s), InvalidStateError);
        EXPECT_THROW(gather(Task<int>()), InvalidStateError);
        EXPECT_THROW(gather(std::vector<Task<int>>(2)), InvalidStateError);
        EXPECT_THROW(shield(Task<int>()), InvalidStateError);
        EXPECT_THROW(wait_for(Task<int>(), 0s), InvalidStateError);
        EXPECT_THROW(ConcurrentFuture<int>().result(), InvalidStateError);
    });
}

}  // namespace

}  // namespace weft::test
