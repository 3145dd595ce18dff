// select under cancels, timeouts and shutdowns that come at any moment: every item arrives once, no line remembers who
// has gone, nobody hangs.
#include <weft/testing.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "stress/crowd.hpp"

namespace {

using weft::on;
using weft::on_get;
using weft::on_put;
using weft::on_timeout;
using weft::select;
using namespace std::chrono_literals;

struct Plain {
    int value;
    bool operator<(const Plain& other) const { return value < other.value; }
};

/// Lives in boxes, and lets others run while it is moved.
struct Boxed {
    int value;
    Boxed(int v) : value(v) {}
    Boxed(Boxed&& other) noexcept : value(std::exchange(other.value, -1)) { let_others_run(); }
    Boxed& operator=(Boxed&& other) noexcept {
        value = std::exchange(other.value, -1);
        return *this;
    }
    bool operator<(const Boxed& other) const { return value < other.value; }
};

/// Producers put each item by select into one of two queues, whichever has room; consumers take by select from either,
/// or by get from one; timeouts and an event that flickers win now and then.
template <class Queue>
void two_queues(Size size, std::ptrdiff_t bound) {
    using T = typename Queue::value_type;
    Queue left(bound);
    Queue right(bound);
    weft::Event flicker;
    const int producers = size.tasks / 2;
    const int items = producers * size.rounds;
    std::vector<std::atomic<int>> times(static_cast<std::size_t>(items));
    std::atomic<int> got{0};
    std::atomic<int> put{0};

    auto shut_when_all_is_there = [&] {
        if (++got < items) return;
        left.shutdown();
        right.shutdown();
    };
    auto produce = [&](int i) {
        for (int n = 0; n < size.rounds; ++n) {
            const int number = i * size.rounds + n;
            T value{number};
            T same{number};
            bool in = false;
            while (!in) {
                persist([&] {
                    EXPECT_EQ(value.value, number) << "it was taken";
                    EXPECT_EQ(same.value, number) << "it was taken";
                    auto done = [&] {
                        EXPECT_FALSE(std::exchange(in, true));
                        ++put;
                    };
                    if (n % 2 == 0)
                        select(on_put(left, std::move(value), done),
                               on_put(right, std::move(same), done), on_timeout(1us));
                    else
                        select(on_put(right, std::move(value), done), on(flicker),
                               on_put(left, std::move(same), done));
                });
                if (!in) let_others_run();
            }
            if (n % 3 == 0) flicker.set();
            if (n % 3 == 1) flicker.clear();
        }
    };
    auto consume = [&](int i) {
        bool open = true;
        while (open) {
            persist([&] {
                std::optional<int> item;
                auto take = [&](T taken) { item = taken.value; };
                try {
                    switch (i % 3) {
                        case 0:
                            select(on_get(left, take), on_get(right, take));
                            break;
                        case 1:
                            select(on_timeout(1us), on_get(right, take), on_get(left, take));
                            break;
                        default:
                            item = (i % 2 == 0 ? left : right).get().value;
                    }
                } catch (const weft::QueueShutDown&) {
                    open = false;
                }
                if (!item) return;
                ++times[static_cast<std::size_t>(*item)];
                shut_when_all_is_there();
            });
        }
    };
    with_cancels(size, [&](int i) { i < producers ? produce(i) : consume(i); });
    EXPECT_EQ(put, items);
    EXPECT_EQ(got, items);
    for (auto& n : times) EXPECT_EQ(n, 1);
    EXPECT_TRUE(left.empty());
    EXPECT_TRUE(right.empty());
    EXPECT_FALSE(bound > 0 && (left.full() || right.full())) << "room was lost";
}

/// Each future is set once, while selects on it, cancelled ones too, come and go.
void futures(Size size) {
    std::vector<weft::Future<int>> all(static_cast<std::size_t>(size.rounds));
    weft::Queue<int> ticks(1);
    std::atomic<int> won{0};
    const int selecting = size.tasks - 1;
    with_cancels(size, [&](int i) {
        if (i == 0) {
            for (int n = 0; n < size.rounds; ++n) {
                persist([&] { select(on_put(ticks, n), on_timeout(1us)); });
                all[static_cast<std::size_t>(n)].set_result(n);
            }
            return;
        }
        for (int n = 0; n < size.rounds; ++n) {
            for (bool done = false; !done;)
                persist([&] {
                    select(on_get(ticks, [](int) {}),
                           on(all[static_cast<std::size_t>(n)], [&](const auto& future) {
                               EXPECT_EQ(future.result(), n);
                               done = true;
                           }));
                });
            ++won;
        }
    });
    EXPECT_EQ(won, selecting * size.rounds);
}

/// An event and a future win just when a timeout or a cancel ends the wait: whoever makes them win may not touch what
/// has gone, and each wait has one end.
void ends_that_meet(Size size) {
    std::vector<weft::Event> events(static_cast<std::size_t>(size.rounds));
    std::vector<weft::Future<void>> all(static_cast<std::size_t>(size.rounds));
    std::atomic<int> ends{0};
    const int selecting = size.tasks - 1;
    with_cancels(size, [&](int i) {
        for (int n = 0; n < size.rounds; ++n) {
            auto& event = events[static_cast<std::size_t>(n)];
            auto& future = all[static_cast<std::size_t>(n)];
            if (i == 0) {
                persist([] { weft::sleep(std::chrono::microseconds(2)); });
                future.set_result();
                event.set();
                continue;
            }
            int handled = 0;
            auto count = [&] { ++handled; };
            while (handled == 0)
                persist([&] {
                    bool in_time = true;
                    if (i % 2 == 0)
                        select(on(event, count), on_timeout(2us, [&] { in_time = false; }));
                    else
                        select(on(future, count), on_timeout(2us, [&] { in_time = false; }));
                    EXPECT_EQ(handled, in_time ? 1 : 0);
                });
            ++ends;
        }
    });
    EXPECT_EQ(ends, selecting * size.rounds);
}

struct Scenario {
    const char* name;
    void (*run)(Size size);
};

const Scenario kScenarios[] = {
    {"QueuesOfOne", [](Size size) { two_queues<weft::Queue<Plain>>(size, 1); }},
    {"QueuesOfThree", [](Size size) { two_queues<weft::Queue<Plain>>(size, 3); }},
    {"UnboundedQueues", [](Size size) { two_queues<weft::Queue<Plain>>(size, 0); }},
    {"QueuesOfBoxes", [](Size size) { two_queues<weft::Queue<Boxed>>(size, 2); }},
    {"LifoQueues", [](Size size) { two_queues<weft::LifoQueue<Plain>>(size, 2); }},
    {"PriorityQueues", [](Size size) { two_queues<weft::PriorityQueue<Plain>>(size, 2); }},
    {"PriorityQueuesOfBoxes", [](Size size) { two_queues<weft::PriorityQueue<Boxed>>(size, 1); }},
    {"Futures", futures},
    {"EndsThatMeet", ends_that_meet},
};

class SelectStressTest : public WithWatchdog, public testing::WithParamInterface<Scenario> {};

INSTANTIATE_TEST_SUITE_P(All, SelectStressTest, testing::ValuesIn(kScenarios),
                         [](const auto& scenario) { return std::string(scenario.param.name); });

TEST_P(SelectStressTest, LosesNothingOnRealWorkers) {
    for (unsigned workers : {1U, 2U, 4U}) {
        run_with({.workers = workers}, [] { GetParam().run({10, 800, 6000}); });
        if (HasFailure()) return;
    }
    run_strict([] { GetParam().run({10, 50, 300}); });
}

TEST_P(SelectStressTest, LosesNothingInAnySimulatedSchedule) {
    weft::testing::explore(150, [] { GetParam().run({6, 6, 40}); }, {.workers = 3});
}

/// Four plain threads and four tasks hand items around two queues; each has one line, and the other's, to leave.
TEST(SelectStress, PlainThreadsAndTasksMixed) {
    Watchdog watchdog;
    constexpr int kItems = 400;
    weft::Queue<int> left(2);
    weft::Queue<int> right(2);
    std::atomic<long> sum{0};
    std::atomic<int> got{0};
    auto produce = [&] {
        for (int n = 1; n <= kItems; ++n) select(on_put(left, n), on_put(right, n));
    };
    auto consume = [&] {
        auto take = [&](int item) {
            sum += item;
            if (++got < 4 * kItems) return;
            left.shutdown();
            right.shutdown();
        };
        try {
            for (;;) select(on_get(right, take), on_get(left, take));
        } catch (const weft::QueueShutDown&) {
        }
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back(produce);
        threads.emplace_back(consume);
    }
    weft::run(
        [&] {
            weft::task_group([&](weft::TaskGroup& tg) {
                for (int i = 0; i < 2; ++i) {
                    tg.create_task(produce);
                    tg.create_task(consume);
                }
            });
        },
        {.workers = 2});
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(sum, 4L * kItems * (kItems + 1) / 2);
}

}  // namespace
