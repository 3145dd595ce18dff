// Debug mode: what it names, and that nothing is named without it.
#include <cstdio>
#include <sstream>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

template <class F>
std::string stderr_of(F&& f) {
    ::testing::internal::CaptureStderr();
    std::forward<F>(f)();
    return ::testing::internal::GetCapturedStderr();
}

/// The lines of `text` that have all of the parts.
std::vector<std::string> lines_with(const std::string& text,
                                    const std::vector<std::string>& parts) {
    std::vector<std::string> found;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
        if (std::all_of(parts.begin(), parts.end(), [&](const std::string& part) {
                return line.find(part) != std::string::npos;
            }))
            found.push_back(line);
    return found;
}

std::string place_of(std::source_location where) {
    return std::string(where.file_name()) + ":" + std::to_string(where.line());
}

// --- slow steps ---------------------------------------------------------------------------------------------------

constexpr auto kSlow = 3ms;

/// Computes for so long.
void compute(std::chrono::nanoseconds how_long) {
    auto until = std::chrono::steady_clock::now() + how_long;
    while (std::chrono::steady_clock::now() < until) {
    }
}

double seconds_said(const std::string& line) {
    double seconds = -1;
    std::size_t at = line.find(" ran for ");
    if (at != std::string::npos) std::sscanf(line.c_str() + at, " ran for %lf s", &seconds);
    return seconds;
}

// A machine with other work may hold any step up: where a test has steps that do nothing, it asks for at least.
class SlowStepTest : public Everywhere {
protected:
    template <class F>
    std::string said_by(F&& body) {
        return stderr_of([&] { run({.debug = true, .slow_step = kSlow}, body); });
    }
    /// How often each body ran.
    std::size_t runs() const {
        return GetParam().seeds == 0 ? 1 : static_cast<std::size_t>(GetParam().seeds);
    }
    std::size_t slow_steps_of(const std::string& said, const std::string& name) const {
        return lines_with(said, {"weft: task '" + name + "' ", " without waiting (worker "}).size();
    }
};
WEFT_TEST_EVERYWHERE(SlowStepTest);

TEST_P(SlowStepTest, ATaskThatComputesForLongIsNamedWithItsTimeAndWorker) {
    auto where = std::source_location::current();
    std::string said = said_by([&] {
        where = std::source_location::current();
        await(create_task([] { compute(kSlow); }, {.name = "busy"}, where));
    });
    auto lines =
        lines_with(said, {"weft: task 'busy' (created at " + place_of(where) + ") ran for 0.0"});
    ASSERT_EQ(lines.size(), runs()) << said;
    EXPECT_EQ(slow_steps_of(said, "busy"), runs()) << said;
    for (const std::string& line : lines) EXPECT_GE(seconds_said(line), 0.003) << line;
}

TEST_P(SlowStepTest, AWaitEndsAStep) {
    std::string said = said_by([] {
        auto waits = [] {
            compute(kSlow);
            weft::sleep(1us);
            compute(kSlow);
            weft::yield();
            compute(kSlow);
        };
        create_task(waits, {.name = "other"});
        await(create_task(waits, {.name = "busy"}));
        current_task().set_name("main");
    });
    EXPECT_EQ(slow_steps_of(said, "busy"), 3 * runs()) << said;
}

TEST_P(SlowStepTest, WhatItAwaitsIsTimedForItself) {
    std::string said = said_by([this] {
        HoldOtherWorkers hold(workers());  // one that ends beside its parent is not waited for
        auto parent = create_task(
            [] {
                compute(kSlow);
                await(create_task([] { compute(kSlow); }, {.name = "child"}));
                compute(kSlow);
            },
            {.name = "parent"});
        await(parent);
    });
    EXPECT_GE(slow_steps_of(said, "child"), runs()) << said;
    EXPECT_GE(slow_steps_of(said, "parent"), 2 * runs()) << said;
}

TEST_P(SlowStepTest, AnEagerTaskIsTimedForItself) {
    std::string said = said_by([] {
        auto creator = create_task(
            [] {
                compute(kSlow);
                auto child = create_task(
                    [] {
                        compute(kSlow);
                        weft::yield();
                    },
                    {.name = "child", .eager = true});
                compute(kSlow);
                await(child);
            },
            {.name = "creator"});
        await(creator);
    });
    EXPECT_GE(slow_steps_of(said, "child"), runs()) << said;
    EXPECT_GE(slow_steps_of(said, "creator"), 2 * runs()) << said;
}

TEST_P(SlowStepTest, WithoutDebugModeNothingIsSaid) {
    std::string said = stderr_of([&] {
        run({.debug = false, .slow_step = 0ns}, [] { await(create_task([] { compute(kSlow); })); });
    });
    EXPECT_EQ(said, "");
}

class SlowStepOnOneWorkerTest : public Everywhere {};
WEFT_TEST_ON_ONE_WORKER(SlowStepOnOneWorkerTest);

TEST_P(SlowStepOnOneWorkerTest, NoTimeIsCountedTwice) {
    std::chrono::steady_clock::duration took{};
    std::string said = stderr_of([&] {
        auto begin = std::chrono::steady_clock::now();
        run({.debug = true, .slow_step = 1ms}, [] {
            auto waits_and_computes = [] {
                weft::yield();
                compute(2ms);
                weft::yield();
            };
            auto parent = [&] { await(create_task(waits_and_computes)); };
            gather(parent, parent, parent, parent);
        });
        took = std::chrono::steady_clock::now() - begin;
    });
    double said_in_all = 0;
    auto lines = lines_with(said, {" without waiting"});
    for (const std::string& line : lines) said_in_all += seconds_said(line);
    EXPECT_GE(lines.size(), 4U) << said;
    // Each figure is cut to a millisecond or rounded up by half of one.
    EXPECT_LE(said_in_all, std::chrono::duration<double>(took).count() +
                               0.0005 * static_cast<double>(lines.size()))
        << said;
}

TEST(SlowStepInVirtualTimeTest, VirtualTimeIsNotWhatCounts) {
    std::string said = stderr_of([] {
        testing::simulate(1,
                          [] {
                              weft::sleep(10h);
                              await(create_task([] { weft::sleep(10h); }));
                          },
                          {.workers = 2, .debug = true, .slow_step = 1h});
    });
    EXPECT_EQ(said, "");
}

// --- where things came from ---------------------------------------------------------------------------------------

class OriginTest : public WithWatchdog {
private:
    Environment debug_{"WEFT_DEBUG", nullptr};
};

// coro-1
TEST_F(OriginTest, ACoroutineThatWasNeverAwaitedIsNamedWithThePlaceWhereItWasMade) {
    for (bool debug : {false, true}) {
        auto where = std::source_location::current();
        std::string said = stderr_of([&] {
            run_with({.workers = 1, .debug = debug}, [&] {
                where = std::source_location::current();
                (void)weft::coroutine("single", [] {}, where);
            });
        });
        std::string expected = "weft: coroutine 'single' was never awaited";
        if (debug) expected += " (made at " + place_of(where) + ")";
        EXPECT_EQ(said, expected + "\n");
    }
}

TEST_F(OriginTest, OutsideOfARuntimeTheEnvironmentSaysWhetherAPlaceIsNamed) {
    auto drop_one = [] { (void)weft::coroutine("single", [] {}); };
    EXPECT_EQ(lines_with(stderr_of(drop_one), {"made at"}).size(), 0U);
    Environment debug("WEFT_DEBUG", "1");
    EXPECT_EQ(lines_with(stderr_of(drop_one), {"'single'", "made at"}).size(), 1U);
}

TEST_F(OriginTest, AFutureWhoseErrorNobodyReadIsReportedWithThePlaceWhereItWasMade) {
    auto where = std::source_location::current();
    std::string said = stderr_of([&] {
        where = std::source_location::current();
        Future<int> future(where);
        future.set_exception(std::runtime_error("lost"));
    });
    EXPECT_EQ(
        said,
        "weft: exception of a future was never retrieved: std::runtime_error: lost (created at " +
            place_of(where) + ")\n");
    EXPECT_NE(place_of(where).find("debug_test.cpp:"), std::string::npos);
}

TEST_F(OriginTest, AFutureKnowsItsPlaceWithoutBeingTold) {
    unsigned line = 0;
    std::string said = stderr_of([&] {
        line = std::source_location::current().line() + 1;
        Future<void> future;
        future.set_exception(std::runtime_error("lost"));
    });
    EXPECT_NE(said.find("debug_test.cpp:" + std::to_string(line) + ")"), std::string::npos) << said;
}

TEST_F(OriginTest, ATaskWhoseErrorNobodyReadIsReportedWithThePlaceWhereItWasCreated) {
    auto where = std::source_location::current();
    std::string said = stderr_of([&] {
        run_with({.workers = 1}, [&] {
            where = std::source_location::current();
            create_task([] { throw std::runtime_error("lost"); }, {.name = "x"}, where);
        });
    });
    EXPECT_NE(said.find("task 'x' was never retrieved"), std::string::npos) << said;
    EXPECT_NE(said.find("(created at " + place_of(where) + ")"), std::string::npos) << said;
}

// --- swallowed cancels --------------------------------------------------------------------------------------------

class SwallowedCancelTest : public Everywhere {
protected:
    /// What body's run counts, where nothing may be said without debug mode.
    template <class F>
    void expect_swallowed(std::size_t expected, F&& body) {
        std::string said = stderr_of([&] {
            run({.debug = false}, [&] {
                body();
                EXPECT_EQ(current_runtime().swallowed_cancels(), expected);
            });
        });
        EXPECT_EQ(said, "");
    }
};
WEFT_TEST_EVERYWHERE(SwallowedCancelTest);

int swallow() {
    try {
        wait_for_ever();
    } catch (...) {
    }
    return 1;
}

TEST_P(SwallowedCancelTest, ATaskThatEndsWithAValueThoughItWasCancelledIsCounted) {
    expect_swallowed(2, [] {
        EXPECT_EQ(current_runtime().swallowed_cancels(), 0U);
        for (std::size_t before : {0U, 1U}) {
            auto careless = create_task(swallow);
            settle();
            EXPECT_EQ(current_runtime().swallowed_cancels(), before);
            careless.cancel();
            EXPECT_EQ(await(careless), 1);
        }
    });
}

TEST_P(SwallowedCancelTest, DebugModeNamesIt) {
    auto where = std::source_location::current();
    std::string said = stderr_of([&] {
        run({.debug = true, .slow_step = 1h}, [&] {
            where = std::source_location::current();
            auto careless = create_task(swallow, {.name = "careless"}, where);
            settle();
            careless.cancel();
            await(careless);
        });
    });
    std::string line =
        "weft: task 'careless' (created at " + place_of(where) +
        ") ended with a value though it was cancelled: it has swallowed a CancelledError";
    std::size_t runs = GetParam().seeds == 0 ? 1 : static_cast<std::size_t>(GetParam().seeds);
    EXPECT_EQ(lines_with(said, {line}).size(), runs) << said;
    EXPECT_EQ(lines_with(said, {"weft: "}).size(), runs) << said;
}

TEST_P(SwallowedCancelTest, OneThatIsTakenBackIsNot) {
    expect_swallowed(0, [] {
        auto careful = create_task([] {
            swallow();
            EXPECT_EQ(current_task().uncancel(), 0);
        });
        settle();
        careful.cancel();
        await(careful);
    });
}

TEST_P(SwallowedCancelTest, OneThatEndsTheTaskIsNot) {
    expect_swallowed(0, [] {
        auto obedient = create_task([] { wait_for_ever(); });
        auto answers = create_task([] {
            swallow();
            throw std::runtime_error("in answer");
        });
        auto does_not_wait = create_task([] {
            current_task().cancel();
            return 1;
        });
        Event release;
        auto shielded = create_task([&] { release.wait(); });
        auto shields = create_task([&] { shield(shielded); });
        settle();
        for (const AnyTask& task : {AnyTask(obedient), AnyTask(answers), AnyTask(shields)})
            task.cancel();
        EXPECT_THROW(await(obedient), CancelledError);
        EXPECT_THROW(await(answers), std::runtime_error);
        EXPECT_THROW(await(does_not_wait), CancelledError);
        EXPECT_THROW(await(shields), CancelledError);
        EXPECT_EQ(current_runtime().swallowed_cancels(), 0U);
        release.set();
        await(shielded);
    });
}

TEST_P(SwallowedCancelTest, TimeoutsTakeTheirOwnBack) {
    expect_swallowed(0, [] {
        await(create_task([] {
            EXPECT_THROW(timeout(1us, wait_for_ever), TimeoutError);
            timeout(1us, [] { swallow(); });
            EXPECT_THROW(wait_for(wait_for_ever, 1us), TimeoutError);
            auto waited_for = create_task(wait_for_ever);
            EXPECT_THROW(wait_for(waited_for, 1us), TimeoutError);
        }));
    });
}

TEST_P(SwallowedCancelTest, ATaskGroupTakesItsOwnBack) {
    expect_swallowed(0, [] {
        await(create_task([] {
            EXPECT_THROW(task_group([](TaskGroup& group) {
                             group.create_task(wait_for_ever);
                             group.create_task([] { throw std::runtime_error("a child"); });
                             wait_for_ever();
                         }),
                         ExceptionGroup);
        }));
    });
}

TEST_P(SwallowedCancelTest, ACancelThatWentToWhatWasAwaitedIsSwallowedByBoth) {
    expect_swallowed(2, [] {
        auto awaits = create_task([] { return await(create_task(swallow)); });
        settle();
        awaits.cancel();
        EXPECT_EQ(await(awaits), 1);
    });
}

// --- cancelled again and again ------------------------------------------------------------------------------------

class StubbornTaskTest : public Everywhere {
protected:
    /// A task that is cancelled so often, each time where it waits, and then ends: the lines about it.
    std::size_t lines_after(int cancels) {
        std::string said = stderr_of([&] {
            run({.debug = true, .slow_step = 1h}, [&] {
                std::atomic<bool> enough{false};
                auto stubborn = create_task(
                    [&] {
                        while (!enough) swallow();
                    },
                    {.name = "stubborn"});
                for (int i = 0; i < cancels; ++i) {
                    settle();
                    stubborn.cancel();
                }
                settle();
                enough = true;
                stubborn.cancel();
                await(stubborn);
            });
        });
        return lines_with(said, {"weft: task 'stubborn' (created at ",
                                 ") has been cancelled 3 times and has not ended"})
            .size();
    }
    std::size_t runs() const {
        return GetParam().seeds == 0 ? 1 : static_cast<std::size_t>(GetParam().seeds);
    }
};
WEFT_TEST_EVERYWHERE(StubbornTaskTest);

TEST_P(StubbornTaskTest, ATaskThatGoesOnAfterThreeCancelsIsNamedOnce) {
    EXPECT_EQ(lines_after(1), 0U);
    EXPECT_EQ(lines_after(6), runs());
}

TEST_P(StubbornTaskTest, CancelsThatWereTakenBackOrComeTogetherDoNotCount) {
    std::string said = stderr_of([&] {
        run({.debug = true, .slow_step = 1h}, [] {
            await(create_task([] {
                for (int i = 0; i < 6; ++i) timeout(1us, [] { swallow(); });
            }));
            auto told_at_once = create_task([] { wait_for_ever(); });
            settle();
            for (int i = 0; i < 6; ++i) told_at_once.cancel();
            EXPECT_THROW(await(told_at_once), CancelledError);
        });
    });
    EXPECT_EQ(said, "");
}

}  // namespace

}  // namespace weft::test
