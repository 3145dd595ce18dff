// Coroutine objects and await of them. The ids are those of asyncio's semantics.
#include <memory>
#include <source_location>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class CoroutineTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(CoroutineTest);

/// What f writes on stderr.
template <class F>
std::string stderr_of(F&& f) {
    ::testing::internal::CaptureStderr();
    std::forward<F>(f)();
    return ::testing::internal::GetCapturedStderr();
}

std::size_t lines_of(const std::string& text) {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

// --- calling and awaiting -----------------------------------------------------------------------------------------

TEST_P(CoroutineTest, ACallRunsNothingUntilItIsAwaited) {
    run([] {
        bool ran = false;
        auto f = weft::async([&] { ran = true; });
        auto coroutine = f();
        yield();
        EXPECT_FALSE(ran);
        await(std::move(coroutine));
        EXPECT_TRUE(ran);
    });
}

// await-1
TEST_P(CoroutineTest, AwaitRunsItInlineInTheSameTaskAndThread) {
    run([] {
        AnyTask me = current_task();
        auto thread = std::this_thread::get_id();
        const void* frame = __builtin_frame_address(0);
        await(weft::coroutine([&] {
            EXPECT_EQ(current_task(), me);
            EXPECT_EQ(std::this_thread::get_id(), thread);
            auto below = static_cast<const char*>(frame) -
                         static_cast<const char*>(__builtin_frame_address(0));
            EXPECT_GT(below, 0);
            EXPECT_LT(below, 16 * 1024) << "another stack";
        }));
        EXPECT_EQ(std::this_thread::get_id(), thread);
    });
}

// await-1
TEST_P(CoroutineTest, AwaitOfOneThatDoesNotWaitLetsNothingElseRun) {
    run([&] {
        HoldOtherWorkers hold(workers());
        bool other_ran = false;
        auto other = create_task([&] { other_ran = true; });
        EXPECT_EQ(await(weft::coroutine([] { return 1; })), 1);
        EXPECT_FALSE(other_ran);
        hold.release();
        await(other);
    });
}

TEST_P(CoroutineTest, AwaitGivesTheValueOrTheError) {
    run([] {
        auto divide = weft::async([](int a, int b) {
            yield();
            if (b == 0) throw std::domain_error("by zero");
            return a / b;
        });
        EXPECT_EQ(await(divide(6, 3)), 2);
        EXPECT_EQ(what_of<std::domain_error>([&] { await(divide(1, 0)); }), "by zero");
        auto lvalue = divide(9, 3);
        EXPECT_EQ(await(lvalue), 3);
    });
}

TEST_P(CoroutineTest, ResultsMayBeReferencesAndMoveOnly) {
    run([] {
        int here = 1;
        int& reference = await(weft::coroutine([&]() -> int& { return here; }));
        EXPECT_EQ(&reference, &here);
        auto made = await(weft::coroutine([] { return std::make_unique<int>(5); }));
        EXPECT_EQ(*made, 5);
        static_assert(std::is_void_v<decltype(await(weft::coroutine([] {})))>);
    });
}

Coroutine<int> sum_to(int n) {
    return weft::coroutine([n] { return n == 0 ? 0 : n + await(sum_to(n - 1)); });
}

TEST_P(CoroutineTest, AFunctionThatReturnsOneMayCallItself) {
    run([] { EXPECT_EQ(await(sum_to(100)), 5050); });
}

TEST_P(CoroutineTest, AwaitOfTheSameOneTwiceIsAUsageError) {
    run([] {
        auto coroutine = weft::coroutine([] { return 1; });
        EXPECT_EQ(await(coroutine), 1);
        EXPECT_FALSE(coroutine);
        EXPECT_THROW(await(coroutine), UsageError);
        EXPECT_THROW(await(std::move(coroutine)), UsageError);
    });
}

TEST_P(CoroutineTest, ATaskOfOneThatHasBeenAwaitedFailsWithAUsageError) {
    run([] {
        auto coroutine = weft::coroutine([] { return 1; });
        EXPECT_EQ(await(coroutine), 1);
        auto task = create_task(std::move(coroutine));
        EXPECT_THROW(await(task), UsageError);
    });
}

// --- arguments ----------------------------------------------------------------------------------------------------

TEST_P(CoroutineTest, ArgumentsAreCopiedWhenItIsCalled) {
    run([] {
        auto length = weft::async([](const std::string& text) { return text.size(); });
        std::string text = "abc";
        auto coroutine = length(text);
        text = "changed since";
        EXPECT_EQ(await(std::move(coroutine)), 3U);
        EXPECT_EQ(text, "changed since");
    });
}

TEST_P(CoroutineTest, StdRefPassesAReference) {
    run([] {
        auto add = weft::async([](int& to, int what) { to += what; });
        int number = 1;
        await(add(std::ref(number), 4));
        EXPECT_EQ(number, 5);
        auto late = add(std::ref(number), 10);
        number = 0;
        await(std::move(late));
        EXPECT_EQ(number, 10);
    });
}

TEST_P(CoroutineTest, MoveOnlyArgumentsAreMovedIn) {
    run([] {
        auto open = weft::async([](std::unique_ptr<int> box) { return *box; });
        EXPECT_EQ(await(open(std::make_unique<int>(3))), 3);
        auto task = create_task(open(std::make_unique<int>(4)));
        EXPECT_EQ(await(task), 4);
    });
}

TEST_P(CoroutineTest, AFunctionMadeByAsyncMayBeCalledAgainAndAgain) {
    run([] {
        const auto next = weft::async([n = 0](int add) mutable { return n += add; });
        EXPECT_EQ(await(next(1)), 1);
        EXPECT_EQ(await(next(1)), 1) << "each call has a copy of the function";
    });
}

TEST_P(CoroutineTest, ItsArgumentsDieWithItsEnd) {
    run([] {
        auto tracked = std::make_shared<int>(0);
        auto f = weft::async([](std::shared_ptr<int> held) { EXPECT_EQ(held.use_count(), 2); });
        auto coroutine = f(tracked);
        EXPECT_EQ(tracked.use_count(), 2);
        await(std::move(coroutine));
        EXPECT_EQ(tracked.use_count(), 1);
        auto closed = f(tracked);
        closed.close();
        EXPECT_EQ(tracked.use_count(), 1);
    });
}

// --- never awaited ------------------------------------------------------------------------------------------------

// coro-1
TEST(CoroutineWarningTest, OneThatIsNeverAwaitedIsReportedByItsName) {
    std::string said = stderr_of([] {
        auto fetch = weft::async("fetch", [](int) {});
        auto dropped = fetch(1);
        EXPECT_STREQ(dropped.name(), "fetch");
    });
    EXPECT_NE(said.find("coroutine 'fetch' was never awaited"), std::string::npos) << said;
    EXPECT_EQ(lines_of(said), 1U) << said;
}

// coro-1
TEST(CoroutineWarningTest, OneWithoutANameIsReportedByThePlaceWhereItWasMade) {
    unsigned line = 0;
    std::string said = stderr_of([&] {
        line = std::source_location::current().line() + 1;
        auto dropped = weft::coroutine([] {});
        EXPECT_EQ(dropped.name(), nullptr);
    });
    std::string place = "coroutine_test.cpp:" + std::to_string(line);
    EXPECT_NE(said.find(place), std::string::npos) << said << "instead of " << place;
    EXPECT_NE(said.find("was never awaited"), std::string::npos) << said;
}

// coro-1
TEST(CoroutineWarningTest, ANameMayBeGivenToASingleOne) {
    std::string said = stderr_of([] { auto dropped = weft::coroutine("single", [] {}); });
    EXPECT_NE(said.find("'single'"), std::string::npos) << said;
}

TEST(CoroutineWarningTest, OneThatIsWrittenOverIsReported) {
    std::string said = stderr_of([] {
        Coroutine<int> held(weft::coroutine("old", [] { return 1; }));
        held = weft::coroutine("new", [] { return 2; });
        held.close();
    });
    EXPECT_NE(said.find("'old'"), std::string::npos) << said;
    EXPECT_EQ(said.find("'new'"), std::string::npos) << said;
}

TEST(CoroutineWarningTest, OneThatIsMovedIsReportedOnce) {
    std::string said = stderr_of([] {
        auto first = weft::coroutine("moved", [] {});
        auto second = std::move(first);
        auto third = std::move(second);
    });
    EXPECT_EQ(lines_of(said), 1U) << said;
}

TEST(CoroutineWarningTest, OneThatIsClosedOrAwaitedIsNotReported) {
    std::string said = stderr_of([] {
        auto closed = weft::coroutine([] {});
        closed.close();
        closed.close();
        EXPECT_FALSE(closed);
        weft::run(weft::coroutine([] {}));
        weft::run([] {
            await(weft::coroutine([] {}));
            await(create_task(weft::coroutine([] {})));
            gather(weft::coroutine([] {}), weft::coroutine([] {}));
            wait_for(weft::coroutine([] {}), 1s);
            wait_for(weft::coroutine([] {}), no_timeout);
            shield(weft::coroutine([] {}));
            task_group([](TaskGroup& group) { group.create_task(weft::coroutine([] {})); });
            EXPECT_THROW(wait_for(weft::coroutine([] {}), 0s), TimeoutError);  // wf-1
        });
    });
    EXPECT_EQ(said, "");
}

// asyncio: a coroutine that was given to a task and never began is closed with the task.
TEST(CoroutineWarningTest, OneWhoseTaskIsCancelledBeforeItBeginsIsNotReported) {
    std::string said = stderr_of([] {
        weft::run(
            [] {
                auto task = create_task(weft::coroutine([] {}));
                task.cancel();
                EXPECT_THROW(await(task), CancelledError);
            },
            {.strict = true});
    });
    EXPECT_EQ(said, "");
}

}  // namespace

}  // namespace weft::test
