// What the tests of the interface's core share: where a test runs, how it waits until all else rests, what it catches.
//
// A sentence that holds at any worker count is tested by Everywhere: on one, two and four workers, in strict mode, and
// simulated with a few seeds. The body is run once for each, so all that it changes lives inside it. At the end of each
// test the books must balance: no task is held by anybody, no stack is in use that was not before (support.hpp).
#pragma once

#include <weft/testing.hpp>
#include <weft/weft.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "api/support.hpp"
#include "task_pool.hpp"

namespace weft::test {

using namespace std::chrono_literals;

// --- where --------------------------------------------------------------------------------------------------------

struct Where {
    const char* name;
    unsigned workers;
    bool strict = false;
    int seeds = 0;  // 0: on real threads
};

inline constexpr Where kEverywhere[] = {{"OneWorker", 1},
                                        {"TwoWorkers", 2},
                                        {"FourWorkers", 4},
                                        {"Strict", 1, true},
                                        {"Simulated", 4, false, 8}};
/// For what is made with options of its own: Runner, Runtime, threads.
inline constexpr Where kOnThreads[] = {
    {"OneWorker", 1}, {"TwoWorkers", 2}, {"FourWorkers", 4}, {"Strict", 1, true}};
/// For an order that only one worker has.
inline constexpr Where kOnOneWorker[] = {{"OneWorker", 1}, {"Strict", 1, true}};
/// For what takes time.
inline constexpr Where kInVirtualTime[] = {{"OneWorker", 1, false, 2},
                                           {"TwoWorkers", 2, false, 6},
                                           {"FourWorkers", 4, false, 8},
                                           {"Strict", 1, true, 1}};

inline std::string name_of_where(const ::testing::TestParamInfo<Where>& info) {
    return info.param.name;
}
inline void PrintTo(const Where& where, std::ostream* out) { *out << where.name; }

// --- what came out ------------------------------------------------------------------------------------------------

/// The message of the CancelledError that f ends with, or what came instead.
template <class F>
std::string cancel_message_of(F&& f) {
    try {
        std::forward<F>(f)();
    } catch (const CancelledError& e) {
        return e.message();
    } catch (const std::exception& e) {
        return std::string("another error: ") + e.what();
    }
    return "no error";
}

/// what() of the E that f ends with, or what came instead.
template <class E = std::exception, class F>
std::string what_of(F&& f) {
    try {
        std::forward<F>(f)();
    } catch (const std::exception& e) {
        bool expected = dynamic_cast<const E*>(&e) != nullptr;
        return (expected ? "" : "another error: ") + std::string(e.what());
    } catch (const CancelledError& e) {
        return "cancelled: " + e.message();
    }
    return "no error";
}

inline std::string text_of(const std::exception_ptr& error) {
    if (error == nullptr) return "no error";
    return what_of([&] { std::rethrow_exception(error); });
}

// --- errors that nobody read --------------------------------------------------------------------------------------

/// Keeps what an exception handler is told.
class Reports {
public:
    ExceptionHandler handler() {
        return [this](const ExceptionContext& context) {
            std::lock_guard guard(mutex_);
            reports_.push_back(context.message + " | " + text_of(context.exception));
        };
    }
    std::vector<std::string> take() {
        std::lock_guard guard(mutex_);
        return std::exchange(reports_, {});
    }
    std::size_t size() {
        std::lock_guard guard(mutex_);
        return reports_.size();
    }

private:
    std::mutex mutex_;
    std::vector<std::string> reports_;
};

// --- the fixture --------------------------------------------------------------------------------------------------

inline std::atomic<bool> is_simulated{false};

class Everywhere : public WithWatchdog, public ::testing::WithParamInterface<Where> {
protected:
    void SetUp() override { tasks_before_ = held_tasks(); }
    void TearDown() override {
        WithWatchdog::TearDown();
        EXPECT_EQ(held_tasks(), tasks_before_) << "tasks are held after the end";
    }

    unsigned workers() const { return GetParam().workers; }
    bool strict() const { return GetParam().strict; }
    bool simulated() const { return GetParam().seeds != 0; }
    /// Whether nothing runs between two waits.
    bool alone() const { return workers() == 1; }

    /// The options for this place; an error that nobody reads fails the test, unless it has a handler of its own.
    RunOptions options(RunOptions given = {}) const {
        given.workers = workers();
        given.strict = strict();
        if (!given.exception_handler)
            given.exception_handler = [](const ExceptionContext& context) {
                ADD_FAILURE() << "reported: " << context.message;
            };
        return given;
    }

    /// Runs body() here; with several seeds where it is simulated.
    template <class F>
    void run(F&& body) {
        run(RunOptions{}, body);
    }
    template <class F>
    void run(const RunOptions& given, F&& body) {
        if (!simulated()) {
            run_with(options(given), [&] { body(); });
            return;
        }
        struct Simulated {
            Simulated() { is_simulated = true; }
            ~Simulated() { is_simulated = false; }
        } simulated_now;
        for (int seed = 1; seed <= GetParam().seeds && !HasFailure(); ++seed) {
            SCOPED_TRACE("seed " + std::to_string(seed));
            report_ = {};
            testing::simulate(
                static_cast<std::uint64_t>(seed), [&] { body(); }, options(given), &report_);
        }
    }
    /// Of the last simulation.
    const testing::SimulationReport& report() const { return report_; }

private:
    static std::size_t held_tasks() {
        std::size_t held = 0;
        rt::TaskPool::instance().for_each(
            [&](const detail::TaskCore& task) { held += task.word.refs() != 0 ? 1 : 0; });
        return held;
    }
    std::size_t tasks_before_ = 0;
    testing::SimulationReport report_;
};

#define WEFT_TEST_EVERYWHERE(Suite)                                                       \
    INSTANTIATE_TEST_SUITE_P(Core, Suite, ::testing::ValuesIn(::weft::test::kEverywhere), \
                             ::weft::test::name_of_where)
#define WEFT_TEST_ON_THREADS(Suite)                                                      \
    INSTANTIATE_TEST_SUITE_P(Core, Suite, ::testing::ValuesIn(::weft::test::kOnThreads), \
                             ::weft::test::name_of_where)
#define WEFT_TEST_ON_ONE_WORKER(Suite)                                                     \
    INSTANTIATE_TEST_SUITE_P(Core, Suite, ::testing::ValuesIn(::weft::test::kOnOneWorker), \
                             ::weft::test::name_of_where)
#define WEFT_TEST_IN_VIRTUAL_TIME(Suite)                                                     \
    INSTANTIATE_TEST_SUITE_P(Core, Suite, ::testing::ValuesIn(::weft::test::kInVirtualTime), \
                             ::weft::test::name_of_where)

// --- until all rests ----------------------------------------------------------------------------------------------

namespace rest {

/// Parked, or below one that is.
inline bool rests(const detail::TaskCore& task) {
    if (task.word.parked()) return true;
    if (!task.word.buried()) return false;
    const detail::TaskCore* above = task.inner.load();
    return above != nullptr && rests(*above);
}

inline bool is_below(const detail::Core* task, const detail::TaskCore& self) {
    for (const detail::TaskCore* t = &self; t != nullptr; t = t->below)
        if (t == task) return true;
    return false;
}

using Picture = std::vector<std::pair<const detail::Core*, std::uint32_t>>;

/// Every task but the caller (and those it runs on top of) with the number of its wait; nothing if one runs.
inline std::optional<Picture> take_picture() {
    Picture picture;
    for (const AnyTask& task : all_tasks()) {
        if (task.done() || is_below(task.core(), *detail::current_task())) continue;
        if (!rests(static_cast<const detail::TaskCore&>(*task.core()))) return std::nullopt;
        picture.emplace_back(task.core(), task.core()->word.epoch());
    }
    std::sort(picture.begin(), picture.end());
    return picture;
}

}  // namespace rest

/// Returns when every other task waits. What is seen parked in the same wait twice was parked in between: so there was
/// a moment when all were, and then nobody is left to wake one.
inline void settle() {
    if (is_simulated) return weft::sleep(1ns);
    std::optional<rest::Picture> before;
    for (;;) {
        weft::yield();
        std::optional<rest::Picture> now = rest::take_picture();
        if (now && now == before) return;
        before = std::move(now);
    }
}

/// Takes turns until the condition holds.
template <class F>
void yield_until(F&& condition) {
    while (!condition()) is_simulated ? weft::sleep(1ns) : weft::yield();
}

/// While it lives, no other worker is free to start a task: what is created here has not begun.
class HoldOtherWorkers {
public:
    explicit HoldOtherWorkers(unsigned workers) {
        if (is_simulated) return;  // workers take turns only where a task waits
        for (unsigned i = 1; i < workers; ++i)
            holders_.push_back(create_task([this] {
                ++holding_;
                while (!released_) std::this_thread::yield();
            }));
        while (holding_ + 1 < workers) std::this_thread::yield();
    }
    ~HoldOtherWorkers() {
        ShieldScope shield;
        released_ = true;
        for (auto& holder : holders_) await(holder);
    }
    HoldOtherWorkers(const HoldOtherWorkers&) = delete;
    HoldOtherWorkers& operator=(const HoldOtherWorkers&) = delete;
    void release() { released_ = true; }

private:
    std::atomic<unsigned> holding_{0};
    std::atomic<bool> released_{false};
    std::vector<Task<void>> holders_;
};

// --- small helps ---------------------------------------------------------------------------------------------------

/// Waits until it is cancelled.
inline void wait_for_ever() {
    Event never;
    never.wait();
}

/// Sets an environment variable for a while; null unsets it.
class Environment {
public:
    Environment(const char* name, const char* value) : name_(name) {
        if (const char* old = std::getenv(name)) old_ = old;
        put(value);
    }
    ~Environment() { put(old_ ? old_->c_str() : nullptr); }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

private:
    void put(const char* value) const {
        if (value != nullptr)
            ::setenv(name_, value, 1);
        else
            ::unsetenv(name_);
    }
    const char* name_;
    std::optional<std::string> old_;
};

}  // namespace weft::test
