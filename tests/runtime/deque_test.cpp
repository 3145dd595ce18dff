// The deque's one-thread behaviour, on std::atomic. What thieves may do to it is in tests/model and tests/stress.
#include "deque.hpp"

#include <weft/detail/env.hpp>

#include <atomic>
#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace weft::rt {
namespace {

struct Item {
    std::atomic<std::uint64_t> place{0};
    int number = 0;
    int dead = 0;
};

class DequeTest : public testing::TestWithParam<Rivals> {
protected:
    using Queue = Deque<detail::StdEnv, Item>;
    using Claimed = Queue::Claimed;

    DequeTest() : items_(1000) {
        for (std::size_t i = 0; i < items_.size(); ++i) items_[i].number = static_cast<int>(i);
    }
    static auto dead() {
        return [](Item* item) { ++item->dead; };
    }
    Item* item(int i) { return &items_[static_cast<std::size_t>(i)]; }
    void push(int from, int to) {
        for (int i = from; i < to; ++i) queue_.push(item(i));
    }
    int pop() {
        Item* found = queue_.pop_oldest(dead());
        return found == nullptr ? -1 : found->number;
    }

    std::vector<Item> items_;
    Queue queue_{0, GetParam(), 2};
};

INSTANTIATE_TEST_SUITE_P(Rivals, DequeTest, testing::Values(Rivals::none, Rivals::thieves),
                         [](const auto& p) {
                             return p.param == Rivals::none ? "Alone" : "WithThieves";
                         });

TEST_P(DequeTest, TheOwnerTakesTheOldestFirst) {
    push(0, 3);
    EXPECT_EQ(pop(), 0);
    push(3, 4);
    EXPECT_EQ(pop(), 1);
    EXPECT_EQ(pop(), 2);
    EXPECT_EQ(pop(), 3);
    EXPECT_EQ(pop(), -1);
}

TEST_P(DequeTest, GrowingKeepsTheOrder) {
    push(0, 700);
    EXPECT_EQ(queue_.size(), 700u);
    for (int i = 0; i < 700; ++i) ASSERT_EQ(pop(), i);
    EXPECT_EQ(queue_.size(), 0u);
}

TEST_P(DequeTest, ClaimingTheLastOrTheFirstLeavesNoEntryBehind) {
    push(0, 3);
    EXPECT_EQ(queue_.claim(item(2), dead()), Claimed::whole);
    EXPECT_EQ(queue_.size(), 2u);
    EXPECT_EQ(queue_.claim(item(0), dead()), Claimed::whole);
    EXPECT_EQ(queue_.size(), 1u);
    EXPECT_EQ(pop(), 1);
    EXPECT_EQ(pop(), -1);
}

TEST_P(DequeTest, ClaimingFromTheMiddleLeavesAnEntryThatIsReportedOnce) {
    push(0, 4);
    EXPECT_EQ(queue_.claim(item(1), dead()), Claimed::left_dead_entry);
    EXPECT_EQ(queue_.size(), 4u);
    EXPECT_EQ(pop(), 0);
    EXPECT_EQ(item(1)->dead, 0);
    EXPECT_EQ(pop(), 2);
    EXPECT_EQ(item(1)->dead, 1);
    EXPECT_EQ(pop(), 3);
    EXPECT_EQ(item(1)->dead, 1);
}

TEST_P(DequeTest, DeadEntriesAtTheEndGoWithTheNextClaim) {
    push(0, 5);
    EXPECT_EQ(queue_.claim(item(3), dead()), Claimed::left_dead_entry);
    EXPECT_EQ(queue_.claim(item(2), dead()), Claimed::left_dead_entry);
    EXPECT_EQ(queue_.claim(item(4), dead()), Claimed::whole);
    // Now 3 and 2 are the last ones; they go before 1 is looked at.
    EXPECT_EQ(queue_.claim(item(1), dead()), Claimed::whole);
    EXPECT_EQ(queue_.size(), 1u);
    EXPECT_EQ(item(3)->dead, 1);
    EXPECT_EQ(item(2)->dead, 1);
}

TEST_P(DequeTest, WhatIsNotThereCannotBeClaimed) {
    EXPECT_EQ(queue_.claim(item(0), dead()), Claimed::no);
    push(0, 2);
    EXPECT_EQ(pop(), 0);
    EXPECT_EQ(queue_.claim(item(0), dead()), Claimed::no);
    EXPECT_EQ(queue_.claim(item(1), dead()), Claimed::whole);
    EXPECT_EQ(queue_.claim(item(1), dead()), Claimed::no);
}

TEST_P(DequeTest, AnItemOfAnotherDequeCannotBeClaimed) {
    Queue other(1, GetParam(), 2);
    other.push(item(0));
    push(1, 2);
    EXPECT_EQ(queue_.claim(item(0), dead()), Claimed::no);
    EXPECT_EQ(other.claim(item(0), dead()), Claimed::whole);
}

TEST_P(DequeTest, AClaimedItemMayComeBackBesideItsDeadEntry) {
    push(0, 3);
    EXPECT_EQ(queue_.claim(item(1), dead()), Claimed::left_dead_entry);
    queue_.push(item(1));
    EXPECT_EQ(pop(), 0);
    EXPECT_EQ(pop(), 2);
    EXPECT_EQ(item(1)->dead, 1);
    EXPECT_EQ(pop(), 1);
    EXPECT_EQ(item(1)->dead, 1);
}

TEST_P(DequeTest, RandomOperationsAgreeWithAList) {
    std::mt19937 random(7);
    std::deque<int> model;
    std::vector<int> free(items_.size());
    for (std::size_t i = 0; i < free.size(); ++i) free[i] = static_cast<int>(i);
    int dead_entries = 0;
    for (int step = 0; step < 200'000; ++step) {
        unsigned what = random() % 8;
        if (what < 4 && !free.empty()) {
            int i = free.back();
            free.pop_back();
            queue_.push(item(i));
            model.push_back(i);
        } else if (what < 6) {
            int expected = model.empty() ? -1 : model.front();
            if (!model.empty()) model.pop_front();
            ASSERT_EQ(pop(), expected);
            if (expected >= 0) free.push_back(expected);
        } else if (!model.empty()) {
            auto at = static_cast<std::ptrdiff_t>(random() % model.size());
            int i = model[static_cast<std::size_t>(at)];
            Claimed claimed = queue_.claim(item(i), dead());
            ASSERT_NE(claimed, Claimed::no);
            if (claimed == Claimed::left_dead_entry) ++dead_entries;
            model.erase(model.begin() + at);
            free.push_back(i);
        }
    }
    while (pop() >= 0) {
    }
    int reported = 0;
    for (const Item& i : items_) reported += i.dead;
    EXPECT_EQ(reported, dead_entries);
}

TEST(DequeSteal, TakesTheOldestAndSkipsDeadEntries) {
    std::vector<Item> items(4);
    Deque<detail::StdEnv, Item> queue(0, Rivals::thieves, 4);
    for (Item& i : items) queue.push(&i);
    auto dead = [](Item* item) { ++item->dead; };
    queue.claim(&items[1], dead);
    EXPECT_EQ(queue.steal(dead), &items[0]);
    EXPECT_EQ(queue.steal(dead), &items[2]);
    EXPECT_EQ(items[1].dead, 1);
    EXPECT_EQ(queue.claim(&items[2], dead), (Deque<detail::StdEnv, Item>::Claimed::no));
    EXPECT_EQ(queue.steal(dead), &items[3]);
    EXPECT_EQ(queue.steal(dead), nullptr);
}

}  // namespace
}  // namespace weft::rt
