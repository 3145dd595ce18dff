// Deadlines against std::multimap, at the ends of time, and stopped by one thread while another fires them.
#include "timers.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace weft::rt {
namespace {

TimePoint at(std::int64_t ns) { return TimePoint(Duration(ns)); }

struct Fired {
    std::vector<int> order;
};

struct Node : Timers::Node {
    Fired* fired = nullptr;
    int number = 0;
    Node(Fired& list, int n, std::int64_t ns) : fired(&list), number(n) {
        deadline = at(ns);
        fire = [](Timers::Node& self) noexcept {
            auto& node = static_cast<Node&>(self);
            node.fired->order.push_back(node.number);
        };
    }
};

TEST(Timers, FireInTheOrderOfTheirDeadlines) {
    Timers timers;
    Fired fired;
    Node late(fired, 2, 300), early(fired, 0, 100), middle(fired, 1, 200);
    for (Node* n : {&late, &early, &middle}) timers.start(*n);
    EXPECT_EQ(timers.next_deadline(), at(100));
    EXPECT_EQ(timers.expire(at(99)), 0u);
    EXPECT_EQ(timers.expire(at(100)), 1u);
    EXPECT_EQ(timers.expire(at(1000)), 2u);
    EXPECT_EQ(fired.order, (std::vector<int>{0, 1, 2}));
    EXPECT_EQ(timers.next_deadline(), lowlevel::kNever);
    EXPECT_EQ(timers.size(), 0u);
}

TEST(Timers, EqualDeadlinesFireInTheOrderInWhichTheyWereStarted) {
    Timers timers;
    Fired fired;
    std::vector<std::unique_ptr<Node>> nodes;
    // Some are started after others have moved the heap's base, and lie in other buckets for a while.
    for (int i = 0; i < 50; ++i) nodes.push_back(std::make_unique<Node>(fired, i, 1'000'000));
    for (int i = 0; i < 25; ++i) timers.start(*nodes[static_cast<std::size_t>(i)]);
    Node before(fired, -1, 999'000);
    timers.start(before);
    timers.expire(at(999'500));
    for (int i = 25; i < 50; ++i) timers.start(*nodes[static_cast<std::size_t>(i)]);
    timers.expire(at(1'000'000));
    ASSERT_EQ(fired.order.size(), 51u);
    EXPECT_TRUE(std::is_sorted(fired.order.begin(), fired.order.end()));
}

TEST(Timers, ExtremeDeadlines) {
    Timers timers;
    Fired fired;
    Node never(fired, 9, INT64_MAX), almost_never(fired, 3, INT64_MAX - 1), past(fired, 0, -5),
        long_past(fired, 1, INT64_MIN), zero(fired, 2, 0);
    for (Node* n : {&never, &almost_never, &past, &long_past, &zero}) timers.start(*n);
    EXPECT_EQ(timers.expire(at(0)), 3u) << "what is overdue fires, whatever it says";
    EXPECT_EQ(fired.order, (std::vector<int>{0, 1, 2}));
    EXPECT_EQ(timers.next_deadline(), at(INT64_MAX - 1));
    EXPECT_EQ(timers.expire(at(INT64_MAX - 2)), 0u);
    EXPECT_EQ(timers.expire(at(INT64_MAX - 1)), 1u);
    EXPECT_EQ(timers.next_deadline(), lowlevel::kNever);
    Timers::stop(never);
    EXPECT_EQ(timers.size(), 0u);
}

TEST(Timers, StoppingTwiceOrAnUnstartedOneIsHarmless) {
    Timers timers;
    Fired fired;
    Node node(fired, 0, 10);
    Timers::stop(node);
    timers.start(node);
    Timers::stop(node);
    Timers::stop(node);
    EXPECT_EQ(timers.expire(at(1000)), 0u);
    timers.start(node);
    EXPECT_EQ(timers.expire(at(1000)), 1u);
    Timers::stop(node);
    EXPECT_EQ(timers.size(), 0u);
}

TEST(Timers, ANodeMayBeStartedAgainByItsOwner) {
    Timers timers;
    Fired fired;
    Node node(fired, 0, 0);
    for (std::int64_t t = 1; t < 1000; ++t) {
        node.deadline = at(t * 1000);
        timers.start(node);
        ASSERT_EQ(timers.expire(at(t * 1000 - 1)), 0u);
        ASSERT_EQ(timers.expire(at(t * 1000)), 1u);
    }
}

/// The same in a few lines: by deadline, equal ones in order; what is overdue when it is started counts as due at
/// the latest deadline served.
class Model {
public:
    void start(int number, std::int64_t deadline) {
        due_.emplace(std::max(deadline, last_), number);
    }
    bool stop(int number) {
        for (auto it = due_.begin(); it != due_.end(); ++it)
            if (it->second == number) return due_.erase(it), true;
        return false;
    }
    std::vector<int> expire(std::int64_t now) {
        std::vector<int> fired;
        while (!due_.empty() && due_.begin()->first <= now) {
            last_ = due_.begin()->first;
            fired.push_back(due_.begin()->second);
            due_.erase(due_.begin());
        }
        return fired;
    }
    std::int64_t next() const { return due_.empty() ? INT64_MAX : due_.begin()->first; }

private:
    std::multimap<std::int64_t, int> due_;
    std::int64_t last_ = 0;
};

class TimersProperty : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Seeds, TimersProperty, testing::Range(1u, 21u));

TEST_P(TimersProperty, AgreesWithAMultimap) {
    std::mt19937_64 random(GetParam());
    Timers timers;
    Model model;
    Fired fired;
    std::vector<std::unique_ptr<Node>> nodes;
    std::int64_t now = 1'000'000;
    for (int step = 0; step < 5'000; ++step) {
        switch (random() % 4) {
            case 0:
            case 1: {
                // Near, far, equal to others, in the past.
                auto spread = std::int64_t{1} << (random() % 40);
                auto deadline =
                    now +
                    static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(2 * spread)) -
                    spread / 2;
                if (random() % 4 == 0) deadline = now + 1000;
                int number = static_cast<int>(nodes.size());
                nodes.push_back(std::make_unique<Node>(fired, number, deadline));
                timers.start(*nodes.back());
                model.start(number, deadline);
                break;
            }
            case 2:
                if (!nodes.empty()) {
                    auto i = random() % nodes.size();
                    Timers::stop(*nodes[i]);
                    model.stop(static_cast<int>(i));
                }
                break;
            default: {
                now += std::int64_t{1} << (random() % 30);
                fired.order.clear();
                std::size_t n = timers.expire(at(now));
                ASSERT_EQ(fired.order, model.expire(now));
                ASSERT_EQ(n, fired.order.size());
            }
        }
        ASSERT_LE(timers.next_deadline(), at(model.next())) << "a deadline would be slept through";
    }
    for (auto& node : nodes) Timers::stop(*node);
    EXPECT_EQ(timers.size(), 0u);
    EXPECT_EQ(timers.next_deadline(), lowlevel::kNever);
}

// When stop() returns, the node is its owner's again: fire is not running and will not run.
TEST(Timers, StoppedWhileAnotherThreadFires) {
    Timers timers;
    std::atomic<bool> go_on{true};
    std::thread firing([&] {
        while (go_on.load()) timers.expire(at(1'000'000));
    });
    struct Short : Timers::Node {
        int fired = 0;
    };
    int in_all = 0;
    // And on until the other thread has had its share: on a busy machine it may not have begun.
    for (int i = 0; i < 3'000 || (in_all == 0 && i < 30'000'000); ++i) {
        auto node = std::make_unique<Short>();
        node->deadline = at(i % 3'000);
        node->fire = [](Timers::Node& self) noexcept { ++static_cast<Short&>(self).fired; };
        timers.start(*node);
        if (i % 64 == 0) std::this_thread::yield();
        Timers::stop(*node);
        EXPECT_LE(node->fired, 1);
        in_all += node->fired;
    }
    go_on.store(false);
    firing.join();
    EXPECT_EQ(timers.size(), 0u);
    EXPECT_GT(in_all, 0) << "nothing was ever fired: the test shows nothing";
}

}  // namespace
}  // namespace weft::rt
