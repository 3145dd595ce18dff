// What tasks carry: results of every kind, large and over-aligned callables, who destroys what and when.
#include <array>
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class TaskResultTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(TaskResultTest);

// --- kinds of results ---------------------------------------------------------------------------------------------

TEST_P(TaskResultTest, AwaitOfAHandleGivesAReferenceToTheValueInTheTask) {
    run([] {
        auto task = create_task([] { return std::string("value"); });
        static_assert(std::is_same_v<decltype(await(task)), const std::string&>);
        static_assert(std::is_same_v<decltype(task.result()), const std::string&>);
        const std::string& first = await(task);
        auto copy = task;
        EXPECT_EQ(&await(copy), &first);
        EXPECT_EQ(&copy.result(), &first);
        EXPECT_EQ(first, "value");
    });
}

TEST_P(TaskResultTest, AwaitOfATemporaryGivesTheValueItself) {
    run([] {
        static_assert(std::is_same_v<decltype(await(create_task([] { return std::string(); }))),
                                     std::string>);
        EXPECT_EQ(await(create_task([] { return std::string("value"); })), "value");
        auto task = create_task([] { return std::make_unique<int>(1); });
        std::unique_ptr<int> taken = await(std::move(task));
        EXPECT_EQ(*taken, 1);
    });
}

TEST_P(TaskResultTest, AResultThatWasMovedOutIsAnInvalidStateErrorForAllWhoAskAgain) {
    run([] {
        auto task = create_task([] { return std::string("once"); });
        auto other = task;
        EXPECT_EQ(await(std::move(task)), "once");
        EXPECT_TRUE(other.done());
        EXPECT_THROW(other.result(), InvalidStateError);
        EXPECT_THROW(await(other), InvalidStateError);
        EXPECT_THROW(await(Task<std::string>(other)), InvalidStateError);
        EXPECT_EQ(other.exception(), nullptr) << "it did not fail";
    });
}

TEST_P(TaskResultTest, AnErrorIsNotMovedOut) {
    run([] {
        auto task = create_task([]() -> std::string { throw std::runtime_error("stays"); });
        auto other = task;
        EXPECT_THROW(await(std::move(task)), std::runtime_error);
        EXPECT_THROW(await(other), std::runtime_error);
        EXPECT_THROW(other.result(), std::runtime_error);
    });
}

TEST_P(TaskResultTest, AReferenceStaysAReferenceAndIsNeverMovedOut) {
    run([] {
        int here = 1;
        auto task = create_task([&]() -> int& { return here; });
        static_assert(std::is_same_v<decltype(await(task)), int&>);
        EXPECT_EQ(&await(task), &here);
        auto other = task;
        EXPECT_EQ(&await(std::move(task)), &here);
        EXPECT_EQ(&other.result(), &here);
        auto constant = create_task([&]() -> const int& { return here; });
        EXPECT_EQ(&await(constant), &here);
    });
}

TEST_P(TaskResultTest, VoidMayBeAwaitedAsOftenAsOneLikes) {
    run([] {
        auto task = create_task([] {});
        static_assert(std::is_void_v<decltype(await(task))>);
        auto other = task;
        await(task);
        await(std::move(task));
        await(other);
        other.result();
    });
}

TEST_P(TaskResultTest, AResultNeedsNoDefaultConstructorAndNoMove) {
    struct Pinned {
        int value;
        explicit Pinned(int v) : value(v) {}
        Pinned(const Pinned&) = delete;
        Pinned& operator=(const Pinned&) = delete;
    };
    run([] {
        auto task = create_task([] { return Pinned(6); });
        EXPECT_EQ(await(task).value, 6);
        EXPECT_EQ(task.result().value, 6);
    });
}

// --- sizes --------------------------------------------------------------------------------------------------------

template <std::size_t kBytes>
void carry_through() {
    std::array<unsigned char, kBytes> in{};
    for (std::size_t i = 0; i < kBytes; ++i) in[i] = static_cast<unsigned char>(i * 7);
    auto task = create_task([in] {
        yield();
        return in;
    });
    EXPECT_EQ(await(task), in) << kBytes << " bytes";
}

TEST_P(TaskResultTest, CallablesAndResultsMayHaveAnySize) {
    run([] {
        carry_through<1>();
        carry_through<16>();
        carry_through<100>();
        carry_through<255>();
        carry_through<256>();
        carry_through<257>();
        carry_through<500>();
        carry_through<1000>();
        carry_through<5000>();
        carry_through<20000>();
    });
}

template <std::size_t kAlignment>
struct alignas(kAlignment) Aligned {
    unsigned char first = 1;
    bool is_aligned() const { return reinterpret_cast<std::uintptr_t>(this) % kAlignment == 0; }
};

template <std::size_t kAlignment>
void check_alignment() {
    Aligned<kAlignment> captured;
    auto task = create_task([captured] {
        EXPECT_TRUE(captured.is_aligned()) << kAlignment;
        yield();
        EXPECT_TRUE(captured.is_aligned()) << kAlignment;
        return Aligned<kAlignment>();
    });
    EXPECT_TRUE(await(task).is_aligned()) << kAlignment;
    Future<Aligned<kAlignment>> future;
    future.set_result(captured);
    EXPECT_TRUE(await(future).is_aligned()) << kAlignment;
}

TEST_P(TaskResultTest, CallablesAndResultsMayBeOverAligned) {
    run([] {
        check_alignment<16>();
        check_alignment<32>();
        check_alignment<64>();
        check_alignment<4096>();
    });
}

TEST_P(TaskResultTest, ACallableMayBeAFunctionAPointerOrMoveOnly) {
    struct Local {
        static int seven() { return 7; }
    };
    run([] {
        EXPECT_EQ(await(create_task(Local::seven)), 7);
        EXPECT_EQ(await(create_task(&Local::seven)), 7);
        EXPECT_EQ(await(create_task([box = std::make_unique<int>(8)] { return *box; })), 8);
        int calls = 0;
        auto named = [&calls] { return ++calls; };
        EXPECT_EQ(await(create_task(named)), 1);
        EXPECT_EQ(await(create_task(named)), 2);
    });
}

// --- lifetimes ----------------------------------------------------------------------------------------------------

TEST_P(TaskResultTest, WhatItCapturesIsDestroyedWhenItEndsThoughAHandleLives) {
    run([] {
        auto tracked = std::make_shared<int>();
        auto ends = create_task([tracked] { yield(); });
        auto fails = create_task([tracked] { throw std::runtime_error("failed"); });
        auto cancelled = create_task([tracked] { wait_for_ever(); });
        cancelled.cancel();
        await(ends);
        EXPECT_THROW(await(fails), std::runtime_error);
        EXPECT_THROW(await(cancelled), CancelledError);
        EXPECT_EQ(tracked.use_count(), 1);
    });
}

TEST_P(TaskResultTest, ItsResultIsDestroyedWithTheLastHandle) {
    run([] {
        auto tracked = std::make_shared<int>();
        auto task = create_task([tracked] { return tracked; });
        await(task);
        EXPECT_EQ(tracked.use_count(), 2);
        auto copy = task;
        task = {};
        EXPECT_EQ(tracked.use_count(), 2);
        copy = {};
        yield_until([&] { return tracked.use_count() == 1; });  // the runtime had one as well
        create_task([tracked] { return tracked; });
        yield_until([&] { return tracked.use_count() == 1; });
    });
}

TEST_P(TaskResultTest, ItsErrorIsDestroyedWithTheLastHandle) {
    struct Tracked {
        std::shared_ptr<int> count;
    };
    run([] {
        auto tracked = std::make_shared<int>();
        {
            auto task = create_task([&] { throw Tracked{tracked}; });
            EXPECT_THROW(await(task), Tracked);
            EXPECT_GE(tracked.use_count(), 2);
        }
        yield_until([&] { return tracked.use_count() == 1; });
    });
}

TEST_P(TaskResultTest, WhatItCapturesIsDestroyedOnceIfItNeverBegins) {
    run([&] {
        auto tracked = std::make_shared<int>();
        {
            HoldOtherWorkers hold(workers());
            auto task = create_task([tracked] { return 1; });
            task.cancel();
            EXPECT_EQ(tracked.use_count(), 2);
            hold.release();
            EXPECT_THROW(await(task), CancelledError);
        }
        EXPECT_EQ(tracked.use_count(), 1);
    });
}

TEST_P(TaskResultTest, AValueThatComesTogetherWithACancelIsDestroyed) {
    run([] {
        auto tracked = std::make_shared<int>();
        auto task = create_task([tracked] {
            current_task().cancel();
            return tracked;
        });
        EXPECT_THROW(await(task), CancelledError);  // cancel-7
        EXPECT_EQ(tracked.use_count(), 1);
    });
}

TEST_P(TaskResultTest, ACallableWhoseCopyThrowsMakesNoTask) {
    struct Bomb {
        Bomb() = default;
        Bomb(const Bomb&) { throw std::runtime_error("no copy"); }
        void operator()() const {}
    };
    run([] {
        Bomb bomb;
        std::size_t before = all_tasks().size();
        EXPECT_EQ(what_of<std::runtime_error>([&] { create_task(bomb); }), "no copy");
        EXPECT_EQ(all_tasks().size(), before);
    });
}

TEST_P(TaskResultTest, AResultWhoseConstructorThrowsFailsTheTask) {
    struct Bomb {
        explicit Bomb(int) { throw std::runtime_error("no value"); }
    };
    run([] {
        auto task = create_task([] { return Bomb(1); });
        EXPECT_EQ(what_of<std::runtime_error>([&] { await(task); }), "no value");
    });
}

}  // namespace

}  // namespace weft::test
