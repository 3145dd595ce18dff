// test_tasks.py, BaseTaskTests: shield.
#include <stdexcept>

#include "conformance/test_tasks.hpp"

namespace weft::test {

namespace {

TEST_P(BaseTaskTests, test_shield_result) {
    run([] {
        Future<int> inner;
        auto outer = create_task([&] { return shield(inner); });
        settle();
        inner.set_result(42);
        EXPECT_EQ(await(outer), 42);
    });
}

TEST_P(BaseTaskTests, test_shield_exception) {
    run([] {
        Future<int> inner;
        auto outer = create_task([&] { return shield(inner); });
        settle();
        auto error = std::make_exception_ptr(std::runtime_error("expected"));
        inner.set_exception(error);
        settle();
        EXPECT_EQ(outer.exception(), error) << "the very same";
    });
}

TEST_P(BaseTaskTests, test_shield_cancel_inner) {
    run([] {
        Future<int> inner;
        auto outer = create_task([&] { return shield(inner); });
        settle();
        inner.cancel();
        settle();
        EXPECT_TRUE(outer.cancelled());
    });
}

TEST_P(BaseTaskTests, test_shield_cancel_outer) {
    run([] {
        Future<int> inner;
        auto outer = create_task([&] { return shield(inner); });
        settle();
        outer.cancel();
        settle();
        EXPECT_TRUE(outer.cancelled());
        EXPECT_FALSE(inner.done());
        inner.set_result(1);  // nobody is left to be told
        settle();
        EXPECT_TRUE(outer.cancelled());
    });
}

TEST_P(BaseTaskTests, test_shield_shortcut) {
    run([] {
        Future<int> future;
        future.set_result(42);
        EXPECT_EQ(shield(future), 42);
    });
}

TEST_P(BaseTaskTests, test_shield_effect) {
    run([] {
        int proof = 0;
        Future<void> waiter;
        auto inner = weft::async([&] {
            await(waiter);
            proof += 1;
        });
        auto outer = create_task([&] {
            shield(inner());
            proof += 100;
        });
        settle();
        outer.cancel();
        EXPECT_THROW(await(outer), CancelledError);
        waiter.set_result();
        settle();
        EXPECT_EQ(proof, 1);
    });
}

TEST_P(BaseTaskTests, test_shield_gather) {
    run([] {
        Future<int> first;
        Future<int> second;
        auto parent = create_task([&] { return gather(first, second); });
        auto outer = create_task([&] { return shield(parent); });
        settle();
        outer.cancel();
        settle();
        EXPECT_TRUE(outer.cancelled());
        first.set_result(1);
        second.set_result(2);
        settle();
        EXPECT_EQ(parent.result(), std::tuple(1, 2));
    });
}

TEST_P(BaseTaskTests, test_gather_shield) {
    run([] {
        Future<int> first;
        Future<int> second;
        auto inner1 = create_task([&] { return shield(first); });
        auto inner2 = create_task([&] { return shield(second); });
        auto parent = create_task([&] { return gather(inner1, inner2); });
        settle();
        parent.cancel();
        settle();
        EXPECT_TRUE(parent.cancelled());
        EXPECT_TRUE(inner1.cancelled());
        EXPECT_TRUE(inner2.cancelled());
        EXPECT_FALSE(first.done());
        EXPECT_FALSE(second.done());
        first.set_result(1);
        second.set_result(2);
        settle();
        EXPECT_EQ(await(first) + await(second), 3);
    });
}

TEST_P(BaseTaskTests, test_shield_coroutine_without_loop) {
    auto coroutine = weft::coroutine([] { return 42; });
    EXPECT_THROW(shield(std::move(coroutine)), UsageError);
    EXPECT_TRUE(coroutine) << "it can still be awaited";
    run([&] { EXPECT_THROW(to_thread([] { shield([] { return 42; }); }), UsageError); });
    coroutine.close();
}

TEST_P(BaseTaskTests, test_shield_coroutine_use_running_loop) {
    run([] {
        auto work = weft::async([] { return 42; });
        auto outer = create_task([&] { return shield(work()); });
        EXPECT_EQ(await(outer), 42);
    });
}

}  // namespace

}  // namespace weft::test
