// test_runners.py: run and Runner, and SIGINT while they run.
#include <weft/detail/engine.hpp>

#include <csignal>
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_runners, RunTests);
WEFT_CONFORMS_ON_THREADS(test_runners, RunTests);
WEFT_CONFORMS_ON_THREADS(test_runners, RunnerTests);

bool is_debug(Runtime& runtime) { return detail::options_of(runtime.scheduler()).debug; }

// --- run ----------------------------------------------------------------------------------------------------------

TEST_P(RunTests_on_threads, test_asyncio_run_return) {
    auto main = weft::async([] {
        yield();
        return 42;
    });
    EXPECT_EQ(weft::run(main(), options()), 42);
}

TEST_P(RunTests_on_threads, test_asyncio_run_raises) {
    auto main = weft::async([] {
        yield();
        throw std::invalid_argument("spam");
    });
    EXPECT_EQ(what_of<std::invalid_argument>([&] { weft::run(main(), options()); }), "spam");
}

template <class T>
concept CanRun = requires(T t) { weft::run(std::move(t)); };

// Refused by the compiler; a callable is as good as a coroutine.
TEST_P(RunTests_on_threads, test_asyncio_run_only_coro) {
    static_assert(!CanRun<int> && !CanRun<std::string>);
    static_assert(!CanRun<int (*)(int)>, "it would lack its argument");
    EXPECT_EQ(weft::run([] { return 1; }, options()), 1);
}

TEST_P(RunTests_on_threads, test_asyncio_run_debug) {
    auto debug_of_a_run = [&](const RunOptions& given) {
        return weft::run([] { return is_debug(current_runtime()); }, options(given));
    };
    EXPECT_FALSE(debug_of_a_run({.debug = false}));
    EXPECT_TRUE(debug_of_a_run({.debug = true}));
    {
        Environment debug("WEFT_DEBUG", "1");
        EXPECT_TRUE(debug_of_a_run({}));
        EXPECT_FALSE(debug_of_a_run({.debug = false}));
    }
    {
        Environment debug("WEFT_DEBUG", nullptr);
        EXPECT_TRUE(debug_of_a_run({.debug = true}));
        EXPECT_FALSE(debug_of_a_run({}));
    }
}

TEST_P(RunTests, test_asyncio_run_from_running_loop) {
    run([] {
        auto inner = weft::coroutine([] { ADD_FAILURE() << "ran"; });
        std::string what = what_of<UsageError>([&] { weft::run(std::move(inner)); });
        EXPECT_NE(what.find("cannot be called from a running runtime"), std::string::npos) << what;
        ASSERT_TRUE(inner) << "it is still the caller's";
        inner.close();
    });
}

TEST_P(RunTests_on_threads, test_asyncio_run_cancels_hanging_tasks) {
    Task<void> leftover;
    auto main = [&] {
        leftover = create_task([] { wait_for_ever(); });
        return 123;
    };
    EXPECT_EQ(weft::run(main, options()), 123);
    EXPECT_TRUE(leftover.done());
    EXPECT_TRUE(leftover.cancelled());
}

TEST_P(RunTests_on_threads, test_asyncio_run_reports_hanging_tasks_errors) {
    Reports reports;
    Task<void> leftover;
    auto main = [&] {
        auto fail_when_cancelled = [] {
            try {
                wait_for_ever();
            } catch (const CancelledError&) {
                throw std::domain_error("division");
            }
        };
        leftover = create_task(fail_when_cancelled, {.name = "leftover"});
        settle();
        return 123;
    };
    EXPECT_EQ(weft::run(main, options({.exception_handler = reports.handler()})), 123);
    EXPECT_TRUE(leftover.done());
    EXPECT_EQ(reports.take(),
              std::vector<std::string>{
                  "task 'leftover' failed while it was cancelled at the end of run | division"});
}

// What a leftover iterates over is gone with it, though it ends in an error and so does main.
TEST_P(RunTests_on_threads, test_asyncio_run_closes_gens_after_hanging_tasks_errors) {
    struct Fidget {
        explicit Fidget(bool& is_open) : open(is_open) { open = true; }
        Fidget(const Fidget&) = delete;
        Fidget& operator=(const Fidget&) = delete;
        ~Fidget() { open = false; }
        void next() const { weft::sleep(1h); }
        bool& open;
    };
    Reports reports;
    bool open = false;
    Task<void> lazyboy;
    auto main = [&] {
        lazyboy = create_task([&] {
            Fidget spinner(open);
            try {
                for (;;) spinner.next();
            } catch (const CancelledError&) {
                throw std::domain_error("division");
            }
        });
        settle();
        EXPECT_TRUE(open);
        throw std::runtime_error("fancy exit");
    };
    EXPECT_EQ(what_of<std::runtime_error>(
                  [&] { weft::run(main, options({.exception_handler = reports.handler()})); }),
              "fancy exit");
    EXPECT_TRUE(lazyboy.done());
    EXPECT_FALSE(open);
    EXPECT_EQ(reports.size(), 1U);
}

// The runtime is known inside, and to nobody outside.
TEST_P(RunTests_on_threads, test_asyncio_run_set_event_loop) {
    EXPECT_THROW(current_runtime(), UsageError);
    auto main = [&] {
        Runtime& before = current_runtime();
        yield();
        EXPECT_EQ(&current_runtime(), &before);
        EXPECT_EQ(&await(create_task([]() -> Runtime& { return current_runtime(); })), &before);
        return 42;
    };
    EXPECT_EQ(weft::run(main, options()), 42);
    EXPECT_THROW(current_runtime(), UsageError);
}

// --- Runner -------------------------------------------------------------------------------------------------------

TEST_P(RunnerTests_on_threads, test_non_debug) {
    Runner runner(options({.debug = false}));
    EXPECT_FALSE(is_debug(runner.runtime()));
}

TEST_P(RunnerTests_on_threads, test_debug) {
    Runner runner(options({.debug = true}));
    EXPECT_TRUE(is_debug(runner.runtime()));
}

/// Nothing can be started in it any more, and nothing given to it is consumed.
void expect_closed(Runner& runner) {
    auto coroutine = weft::coroutine([] { ADD_FAILURE() << "ran"; });
    std::string what = what_of<UsageError>([&] { runner.run(std::move(coroutine)); });
    EXPECT_NE(what.find("is closed"), std::string::npos) << what;
    EXPECT_TRUE(coroutine);
    EXPECT_THROW(runner.runtime().submit(std::move(coroutine)), UsageError);
    EXPECT_TRUE(coroutine);
    coroutine.close();
}

TEST_P(RunnerTests_on_threads, test_run) {
    auto main = weft::async([] {
        yield();
        return std::string("done");
    });
    Runner runner(options());
    EXPECT_EQ(runner.run(main()), "done");
    EXPECT_EQ(runner.run(main()), "done");
    runner.close();
    expect_closed(runner);
}

template <class T>
concept CanRunIn = requires(Runner& runner, T t) { runner.run(std::move(t)); };

TEST_P(RunnerTests_on_threads, test_run_non_coro) {
    static_assert(!CanRunIn<int>);
    static_assert(CanRunIn<Coroutine<int>>);
    Runner runner(options());
    EXPECT_EQ(runner.run(weft::coroutine([] { return 1; })), 1);
}

// A future is no main function; one that awaits it is.
TEST_P(RunnerTests_on_threads, test_run_future) {
    static_assert(!CanRunIn<Future<int>>);
    static_assert(!CanRunIn<Task<int>>);
    Runner runner(options());
    Future<int> future;
    future.set_result(1);
    EXPECT_EQ(runner.run([&] { return await(future); }), 1);
}

TEST_P(RunnerTests_on_threads, test_explicit_close) {
    Runner runner(options());
    runner.close();
    expect_closed(runner);
}

TEST_P(RunnerTests_on_threads, test_double_close) {
    Runner runner(options());
    runner.close();
    runner.close();
    expect_closed(runner);
}

TEST_P(RunnerTests_on_threads, test_second_with_block_raises) {
    std::vector<int> ran;
    auto main = weft::async([&](int number) { ran.push_back(number); });
    Runner runner(options());
    runner.run(main(1));
    runner.close();
    auto second = main(2);
    EXPECT_THROW(runner.run(std::move(second)), UsageError);
    second.close();
    EXPECT_EQ(ran, std::vector<int>{1});
}

TEST_P(RunnerTests_on_threads, test_run_keeps_context) {
    static ContextVar<int> number{"number", -1};
    auto main = weft::async([](int value) {
        int old = number.get();
        yield();
        number.set(value);
        return old;
    });
    Runner runner(options());
    EXPECT_EQ(runner.run(main(1)), -1);
    EXPECT_EQ(runner.run(main(2)), 1);
    Context context = runner.run([] { return copy_context(); });
    EXPECT_EQ(context.run([] { return number.get(); }), 2);
    EXPECT_EQ(number.get(), -1);
}

TEST_P(RunnerTests_on_threads, test_recursive_run) {
    Runner runner(options());
    auto inner = weft::async("inner", [] { ADD_FAILURE() << "ran"; });
    ::testing::internal::CaptureStderr();
    std::string what = what_of<UsageError>([&] { runner.run([&] { runner.run(inner()); }); });
    std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(what.find("cannot be called from a running runtime"), std::string::npos) << what;
    EXPECT_NE(said.find("'inner' was never awaited"), std::string::npos) << said;
}

// All its runs have the one runtime that it was made with.
TEST_P(RunnerTests_on_threads, test_set_event_loop_called_once) {
    Runner runner(options());
    for (int i = 0; i < 2; ++i)
        EXPECT_EQ(runner.run([] { return &current_runtime(); }), &runner.runtime());
}

// --- interrupts ---------------------------------------------------------------------------------------------------

// A main that never waits for anything, but takes turns.
TEST_P(RunnerTests_on_threads, test_interrupt_call_soon) {
    Runner runner(options());
    bool cancelled = false;
    auto main = [&] {
        create_task([] {
            yield();
            std::raise(SIGINT);
        });
        try {
            for (;;) yield();
        } catch (const CancelledError&) {
            cancelled = true;
        }
        throw CancelledError();
    };
    EXPECT_THROW(runner.run(main), KeyboardInterrupt);
    EXPECT_TRUE(cancelled);
}

// One that waits for a future, which is cancelled with it.
TEST_P(RunnerTests_on_threads, test_interrupt_wait) {
    Runner runner(options());
    Future<void> future;
    bool cancelled = false;
    auto main = [&] {
        create_task([] {
            settle();
            std::raise(SIGINT);
        });
        try {
            await(future);
        } catch (const CancelledError&) {
            cancelled = true;
        }
        throw CancelledError();
    };
    EXPECT_THROW(runner.run(main), KeyboardInterrupt);
    EXPECT_TRUE(cancelled);
    EXPECT_TRUE(future.cancelled());
}

// One that somebody has cancelled, too: that is not the interrupt's doing alone.
TEST_P(RunnerTests_on_threads, test_interrupt_cancelled_task) {
    Runner runner(options());
    auto main = [&] {
        Event both;
        auto canceller = create_task([&, main_task = current_task()] {
            settle();
            main_task.cancel("by hand");
            std::raise(SIGINT);
            yield_until([&] { return main_task.cancelling() == 2; });
            both.set();
        });
        {
            // So that it does not end before both have come.
            ShieldScope shield;
            both.wait();
            await(canceller);
        }
        yield();
        ADD_FAILURE() << "went on";
    };
    EXPECT_THROW(runner.run(main), CancelledError);
}

// Where it cannot hear of signals, a run goes on without: beside the process's main thread, or where the program has a
// handler of its own.
TEST_P(RunnerTests_on_threads, test_signal_install_not_supported_ok) {
    auto main = weft::async([] {
        yield();
        return 1;
    });
    std::thread([&] {
        Runner runner(options());
        EXPECT_EQ(runner.run(main()), 1);
    }).join();
    static std::atomic<int> heard;
    heard = 0;
    auto before = std::signal(SIGINT, [](int) { ++heard; });
    {
        Runner runner(options());
        EXPECT_EQ(runner.run([&] {
            std::raise(SIGINT);
            return await(main());
        }),
                  1);
    }
    std::signal(SIGINT, before);
    EXPECT_EQ(heard, 1);
}

}  // namespace

}  // namespace weft::test
