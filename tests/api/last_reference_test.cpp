// What happens when the last reference goes, and when a runtime does: values whose destructors act, errors that ask
// who failed, callbacks that wait, a shutdown that is itself cancelled.
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "api/core_support.hpp"
#include "api/failing_new.hpp"
#include "support/limit.hpp"

namespace weft::test {

namespace {

class LastReferenceTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(LastReferenceTest);

/// Lets somebody go on when it is destroyed, as a guard of a semaphore does.
struct Permit {
    std::shared_ptr<Event> released;
    Permit(std::shared_ptr<Event> event) : released(std::move(event)) {}
    Permit(Permit&&) = default;
    ~Permit() {
        if (released != nullptr) released->set();
    }
};

// Claims from the middle leave entries in the queue that hold the last reference to a value.
TEST_P(LastReferenceTest, AValueThatWakesATaskFromItsDestructorWakesIt) {
    run([] {
        for (int round = 0; round < 20; ++round) {
            auto first = std::make_shared<Event>();
            auto second = std::make_shared<Event>();
            auto a = start([first] { first->wait(); });
            auto b = start([second] { second->wait(); });
            auto before = create_task([] {});
            std::optional<Task<Permit>> one = create_task([first] { return Permit(first); });
            std::optional<Task<Permit>> two = create_task([second] { return Permit(second); });
            auto after = create_task([] {});
            await(*one);
            await(*two);
            await(after);
            one.reset();
            two.reset();
            await(before);
            await(a);
            await(b);
        }
    });
}

// The entry of the awaited one is the last in the queue, and is found when nothing else is left to do.
TEST_P(LastReferenceTest, AValueThatIsWaitedForIsDestroyedBeforeTheWorkerSleeps) {
    run([] {
        for (int round = 0; round < 20; ++round) {
            auto released = std::make_shared<Event>();
            auto before = create_task([] {});
            std::optional<Task<Permit>> one = create_task([released] { return Permit(released); });
            auto after = create_task([] {});
            await(*one);
            await(after);
            one.reset();
            released->wait();
            await(before);
        }
    });
}

TEST_P(LastReferenceTest, WhoHearsOfAnUnreadErrorMayAskForTheCurrentTask) {
    int heard = 0;
    RunOptions options;
    options.workers = 1;
    options.exception_handler = [&](const ExceptionContext&) {
        ++heard;
        current_task();
    };
    weft::run(
        [] {
            create_task([] { throw std::runtime_error("nobody reads it"); });
            settle();
        },
        options);
    EXPECT_EQ(heard, 1);
}

// Where memory runs out many tasks fail of it, and nobody reads most of their errors.
TEST_P(LastReferenceTest, AnUnreadErrorIsToldOfThoughThereIsNoMemoryToTellIt) {
    for (bool has_handler : {true, false}) {
        int heard = 0;
        RunOptions with_handler = options();
        with_handler.exception_handler = {};  // not the fixture's, which keeps what it hears
        if (has_handler)
            with_handler.exception_handler = [&](const ExceptionContext& context) {
                if (context.exception != nullptr) ++heard;
            };
        ::testing::internal::CaptureStderr();
        weft::run(
            [] {
                auto task = start([] { throw std::runtime_error("nobody reads it"); });
                settle();
                FailingNew no_memory(0);
                task = {};
            },
            with_handler);
        std::string said = ::testing::internal::GetCapturedStderr();
        EXPECT_EQ(heard, has_handler ? 1 : 0);
        EXPECT_EQ(said.find("weft: unread error (created at ") != std::string::npos, !has_handler)
            << said;
    }
}

class EndOfRuntimeTest : public Everywhere {};
WEFT_TEST_ON_THREADS(EndOfRuntimeTest);

TEST_P(EndOfRuntimeTest, ACallbackThatWaitsIsEndedWithItsRuntime) {
    Event never;
    std::atomic<int> ended = 0;
    run([&] {
        std::atomic<bool> waits = false;
        current_runtime().post([&] {
            struct Count {
                std::atomic<int>& count;
                ~Count() { ++count; }
            } count{ended};
            waits = true;
            never.wait();
        });
        yield_until([&] { return waits.load(); });
    });
    EXPECT_EQ(ended, 1);
    never.set();  // nobody is left who could be woken
}

/// What a server or a pool does: its destructor waits, and then starts something. Counts two ends: its own, and that of
/// what it started, or that this was cancelled before its first step, as the end of a runtime may do to any task.
struct Lingers {
    std::atomic<int>* ended;
    explicit Lingers(std::atomic<int>& count) : ended(&count) {}
    Lingers(Lingers&& other) noexcept : ended(std::exchange(other.ended, nullptr)) {}
    ~Lingers() {
        if (ended == nullptr) return;
        ShieldScope shield;
        weft::sleep(5ms);
        std::atomic<bool> began{false};
        auto started = create_task([count = ended, &began] {
            ShieldScope inner;
            began = true;
            weft::sleep(1ms);
            ++*count;
        });
        yield_until([&] { return began || started.done(); });
        if (!began) ++*ended;
        ++*ended;
    }
};

TEST_P(EndOfRuntimeTest, ADestructorThatWaitsIsWaitedForThoughItsTaskIsDone) {
    for (bool at_once : {false, true}) {
        std::atomic<int> ended{0};
        run([&] {
            std::atomic<bool> began{false};
            create_task([&] {
                began = true;
                return Lingers(ended);
            });
            yield_until([&] { return began.load(); });
            if (!at_once) weft::sleep(1ms);
        });
        EXPECT_EQ(ended, 2);
    }
}

TEST_P(EndOfRuntimeTest, AShutdownWaitsForDestructorsToo) {
    std::atomic<int> ended{0};
    Runtime runtime(options());
    runtime
        .submit([&] {
            std::atomic<bool> began{false};
            create_task([&] {
                began = true;
                return Lingers(ended);
            });
            yield_until([&] { return began.load(); });
        })
        .result();
    EXPECT_TRUE(runtime.shutdown(5s));
    EXPECT_EQ(ended, 2);
}

#if WEFT_ASAN
// What AddressSanitizer keeps of a stack's frames is 11 times the stack, and was not given back with it.
TEST_P(EndOfRuntimeTest, TheSanitizersMemoryOfItsStacksIsGivenBack) {
    auto address_space_after = [&](int runs) {
        for (int i = 0; i < runs; ++i) run([] { await(create_task([] { weft::yield(); })); });
        return address_space();
    };
    std::size_t before = address_space_after(5);
    EXPECT_LT(address_space_after(50), before + (64 << 20));
}
#endif

TEST_P(EndOfRuntimeTest, AShutdownInATaskOfAnotherRuntimeIsNotCutShort) {
    run([] {
        auto closing = create_task([] {
            Runtime other({.workers = 1});
            auto work = other.submit([] {
                try {
                    wait_for_ever();
                } catch (const CancelledError&) {
                    ShieldScope shield;
                    weft::sleep(5ms);
                    throw;
                }
            });
            EXPECT_TRUE(other.shutdown());
            EXPECT_TRUE(work.done());
            yield();
        });
        yield();
        closing.cancel();
        try {
            await(closing);
        } catch (const CancelledError&) {
        }
    });
}

class SeededRuntimeTest : public WithWatchdog {};

TEST_F(SeededRuntimeTest, ASeedInTheEnvironmentDoesNotStopARuntimeInThreadsOfItsOwn) {
    Environment seed("WEFT_SEED", "7");
    Runtime runtime({.workers = 2});
    EXPECT_EQ(runtime.submit([] { return 5; }).result(), 5);
    EXPECT_TRUE(runtime.shutdown());
}

}  // namespace

}  // namespace weft::test
