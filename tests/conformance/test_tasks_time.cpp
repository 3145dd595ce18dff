// test_tasks.py: sleeping.
#include <limits>

#include "conformance/test_tasks.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS_IN_ORDER(test_tasks, SleepTests);

TEST_P(BaseTaskTests, test_sleep) {
    run([] {
        TimePoint begin = now();
        auto task = create_task([&] {
            weft::sleep(50ms);
            EXPECT_EQ(now() - begin, 50ms);
            weft::sleep(50ms);
            return std::string("yeah");
        });
        await(task);
        EXPECT_TRUE(task.done());
        EXPECT_EQ(task.result(), "yeah");
        EXPECT_EQ(now() - begin, 100ms);
    });
}

TEST_P(BaseTaskTests, test_sleep_when_delay_is_nan) {
    run([] {
        const double nan = std::numeric_limits<double>::quiet_NaN();
        auto task = create_task([=] { weft::sleep(std::chrono::duration<double>(nan)); });
        EXPECT_THROW(await(task), std::invalid_argument);
    });
}

TEST_P(BaseTaskTests, test_sleep_cancel) {
    run([] {
        TimePoint begin = now();
        auto task = create_task([&] {
            EXPECT_THROW(weft::sleep(10s), CancelledError);
            EXPECT_LT(now() - begin, 1s);
            // If the timer of the first sleep were left, it would end this one.
            weft::sleep(30s);
            EXPECT_GE(now() - begin, 30s);
        });
        settle();
        task.cancel();
        await(task);
    });
}

TEST_P(BaseTaskTests, test_task_cancel_sleeping_task) {
    run([] {
        TimePoint begin = now();
        auto sleep_until_cancelled = weft::async([] {
            auto sleeper = create_task([] { weft::sleep(5000s); });
            create_task([sleeper] {
                weft::sleep(100ms);
                sleeper.cancel();
            });
            try {
                await(sleeper);
            } catch (const CancelledError&) {
                return "cancelled";
            }
            return "slept in";
        });
        EXPECT_STREQ(await(sleep_until_cancelled()), "cancelled");
        EXPECT_EQ(now() - begin, 100ms);
    });
}

TEST_P(SleepTests_in_order, test_sleep_zero) {
    run([] {
        int result = 0;
        current_runtime().post([&] { result += 1; });
        EXPECT_EQ(result, 0);
        weft::sleep(0s);
        EXPECT_EQ(result, 1) << "what was ready has run";
    });
}

}  // namespace

}  // namespace weft::test
