// Tasks that wait for each other, and a cancel that comes to one of them: it must not go round for ever, nor miss one.
#include <chrono>
#include <functional>
#include <thread>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

// ThreadSanitizer is slow with many fibers.
#if WEFT_TSAN
constexpr unsigned kMany = 20;
#else
constexpr unsigned kMany = 200;
#endif

class CancelCircleTest : public Everywhere {};
WEFT_TEST_EVERYWHERE(CancelCircleTest);

class CancelCircleOnThreadsTest : public Everywhere {};
WEFT_TEST_ON_THREADS(CancelCircleOnThreadsTest);

using Step = std::function<void(const Task<void>& next)>;

void by_await(const Task<void>& next) { await(next); }
void by_gather(const Task<void>& next) { gather(next); }
void by_gather_of_two(const Task<void>& next) {
    gather(next, [] { wait_for_ever(); });
}
void by_group(const Task<void>& next) {
    task_group([&](TaskGroup& group) { group.create_task([&] { await(next); }); });
}
/// Each task waits for the next one, and the last for the first; how, the steps say in turn.
class Circle {
public:
    Circle(std::size_t n, std::vector<Step> steps) : tasks_(n) {
        for (std::size_t i = 0; i < n; ++i)
            tasks_[i] = create_task([this, i, step = steps[i % steps.size()]] {
                made_.wait();
                step(tasks_[(i + 1) % tasks_.size()]);
            });
        made_.set();
    }
    const Task<void>& operator[](std::size_t i) const { return tasks_[i]; }

    void expect_all_cancelled(const std::string& message) {
        for (std::size_t i = 0; i < tasks_.size(); ++i)
            EXPECT_EQ(cancel_message_of([&] { await(tasks_[i]); }), message)
                << "task " << i << " of " << tasks_.size();
        for (Task<void>& task : tasks_) task = {};
    }

private:
    std::vector<Task<void>> tasks_;
    Event made_;
};

void expect_that_a_cancel_ends(std::size_t n, const std::vector<Step>& steps) {
    for (std::size_t first = 0; first < std::min<std::size_t>(n, 3); ++first) {
        Circle circle(n, steps);
        settle();
        EXPECT_TRUE(circle[first].cancel("round"));
        circle.expect_all_cancelled("round");
    }
}

TEST_P(CancelCircleTest, ACancelEndsAllThatAwaitEachOther) {
    run([] {
        for (std::size_t n : {2U, 3U, 10U, kMany}) expect_that_a_cancel_ends(n, {by_await});
    });
}

TEST_P(CancelCircleTest, ACancelEndsAllThatGatherEachOther) {
    run([] {
        for (std::size_t n : {2U, 3U, 10U, kMany}) {
            expect_that_a_cancel_ends(n, {by_gather});
            expect_that_a_cancel_ends(n, {by_gather_of_two});
            expect_that_a_cancel_ends(n, {by_gather, by_await});
        }
        expect_that_a_cancel_ends(1, {by_gather});
        expect_that_a_cancel_ends(1, {by_gather_of_two});
    });
}

// A group cancels its children once, and then waits for them whatever comes: so nothing goes round.
TEST_P(CancelCircleTest, ACancelEndsAllThatWaitInGroupsForEachOther) {
    run([] {
        for (std::size_t n : {1U, 2U, 3U, kMany}) {
            expect_that_a_cancel_ends(n, {by_group});
            expect_that_a_cancel_ends(n, {by_group, by_await});
            if (n > 1)
                expect_that_a_cancel_ends(n, {by_await, by_gather, by_group, by_gather_of_two});
        }
    });
}

TEST_P(CancelCircleTest, ATaskOfTheCircleMayCancelItOrAnother) {
    run([] {
        auto cancel_itself = [](const Task<void>& next) {
            current_task().cancel("round");
            await(next);
        };
        auto cancel_the_next = [](const Task<void>& next) {
            next.cancel("round");
            await(next);
        };
        for (std::size_t n : {2U, 3U, 10U})
            for (const Step& first : {Step(cancel_itself), Step(cancel_the_next)}) {
                std::vector<Step> steps(n, by_await);
                steps[0] = first;
                Circle(n, steps).expect_all_cancelled("round");
            }
    });
}

// The inner one may run on top of the outer one, which then cannot be woken.
TEST_P(CancelCircleTest, ATaskThatAwaitsItselfThroughWhatItMadeIsCancelled) {
    run([] {
        Task<void> outer;
        Event made;
        // By a handle of their own: they may outlive the round, and `outer` is another task then.
        auto awaits_it = [&] { await(Task<void>(outer)); };
        auto gathers_it = [&] { gather(Task<void>(outer), [] { wait_for_ever(); }); };
        std::vector<std::function<void()>> bodies = {
            [&] { await(create_task(awaits_it)); },
            [&] { gather(awaits_it); },
            [&] { gather(gathers_it); },
            [&] { gather(awaits_it, gathers_it, [] { wait_for_ever(); }); },
            [&] { task_group([&](TaskGroup& group) { group.create_task(awaits_it); }); },
            [&] { task_group([&](TaskGroup& group) { group.create_task(gathers_it); }); },
        };
        for (std::size_t i = 0; i < bodies.size(); ++i) {
            made.clear();
            outer = create_task([&] {
                made.wait();
                bodies[i]();
            });
            made.set();
            settle();
            outer.cancel("round");
            EXPECT_EQ(cancel_message_of([&] { await(outer); }), "round") << "body " << i;
        }
        outer = {};
    });
}

TEST_P(CancelCircleTest, ATimeoutInsideEndsTheCircle) {
    run([] {
        auto with_limit = [](const Task<void>& next) {
            settle();  // the others wait by then, for each other and for this one
            timeout(20ms, [&] { await(next); });
        };
        Circle circle(3, {with_limit, by_await, by_await});
        for (std::size_t i = 0; i < 3; ++i) weft::wait({circle[i]});
        EXPECT_TRUE(circle[1].cancelled() && circle[2].cancelled());
        circle.expect_all_cancelled("");
    });
}

TEST_P(CancelCircleTest, HoweverOftenItIsCancelledATaskWaitsForWhatItAwaits) {
    run([] {
        constexpr int kTimes = 20;
        Event let_go;
        int met = 0;
        auto stubborn = create_task([&] {
            for (;;) try {
                    let_go.wait();
                    return;
                } catch (const CancelledError&) {
                    ++met;
                }
        });
        auto first = create_task([&] { await(stubborn); });
        auto second = create_task([&] { gather(first); });
        auto third = create_task([&] { await(second); });
        // Who also waits for it is not what it waits for.
        auto other = create_task([&] { weft::wait({third}); });
        settle();
        for (int i = 0; i < kTimes; ++i) {
            third.cancel();
            settle();
            ASSERT_FALSE(first.done() || second.done() || third.done());
        }
        EXPECT_EQ(met, kTimes);
        let_go.set();
        await(other);
        // The value of the inner one, if nothing of the way is cancelled itself: gather is.
        EXPECT_THROW(await(third), CancelledError);
    });
}

TEST_P(CancelCircleOnThreadsTest, AThreadMayCancelTheCircle) {
    run([] {
        for (std::size_t n : {2U, 3U, 10U})
            for (const auto& steps : {std::vector<Step>{by_await}, std::vector<Step>{by_gather},
                                      std::vector<Step>{by_group, by_await, by_gather_of_two}}) {
                Circle circle(n, steps);
                settle();
                std::thread([&] { circle[0].cancel("round"); }).join();
                circle.expect_all_cancelled("round");
            }
    });
}

TEST_P(CancelCircleOnThreadsTest, ManyMayCancelItAtOnce) {
    run([] {
        for (int round = 0; round < 200; ++round) {
            const auto n = static_cast<std::size_t>(2 + round % 4);
            std::vector<std::vector<Step>> all = {
                {by_await}, {by_gather_of_two}, {by_await, by_group, by_gather}};
            const auto kind = static_cast<std::size_t>(round) % all.size();
            Circle circle(n, all[kind]);
            // A group whose child awaits what was cancelled just before ends well (tg-4), so there the circle is closed first.
            if (kind == 2) settle();
            std::thread canceller([&] {
                for (std::size_t i = 0; i < n; ++i) circle[n - 1 - i].cancel("round");
            });
            for (std::size_t i = 0; i < n; ++i) {
                if (round % 3 == 0) weft::yield();
                circle[i].cancel("round");
            }
            canceller.join();
            circle.expect_all_cancelled("round");
        }
    });
}

}  // namespace

}  // namespace weft::test
