// The engine's protocols on real threads: what the models in tests/model know by steps, here by numbers. With
// ThreadSanitizer and AddressSanitizer these are where a missing order or a use after the end shows.
#include <weft/weft.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "deque.hpp"
#include "sanitizers.hpp"

namespace {

using namespace std::chrono_literals;
using weft::lowlevel::Waiter;
using weft::lowlevel::Woken;

constexpr int scaled(int n) { return WEFT_TSAN ? n / 20 : WEFT_ASAN ? n / 5 : n; }

// --- the deque ------------------------------------------------------------------------------------------------------

struct Item {
    std::atomic<std::uint64_t> place{0};
    std::atomic<int> obtained{0};
    std::atomic<int> refs{1};
};

TEST(DequeStress, EveryItemIsObtainedOnceAndEveryDeadEntryReleasedOnce) {
    const int rounds = scaled(3'000);
    constexpr int kItems = 100;
    using Queue = weft::rt::Deque<weft::detail::StdEnv, Item>;
    for (unsigned thieves : {1u, 3u}) {
        Queue queue(5, weft::rt::Rivals::thieves, 2);
        std::vector<std::unique_ptr<std::vector<Item>>> all;
        std::atomic<bool> go_on{true};
        auto dead = [](Item* item) { item->refs.fetch_sub(1); };
        std::vector<std::thread> threads;
        for (unsigned t = 0; t < thieves; ++t)
            threads.emplace_back([&] {
                while (go_on.load())
                    if (Item* item = queue.steal(dead)) item->obtained.fetch_add(1);
            });
        std::mt19937 random(thieves);
        for (int round = 0; round < rounds; ++round) {
            all.push_back(std::make_unique<std::vector<Item>>(kItems));
            auto& items = *all.back();
            for (Item& item : items) {
                queue.push(&item);
                if (random() % 4 == 0)
                    if (Item* oldest = queue.pop_oldest(dead)) oldest->obtained.fetch_add(1);
            }
            for (int i = 0; i < kItems / 2; ++i) {
                Item& item = items[random() % kItems];
                auto claimed = queue.claim(&item, dead);
                if (claimed == Queue::Claimed::no) continue;
                if (claimed == Queue::Claimed::left_dead_entry) item.refs.fetch_add(1);
                item.obtained.fetch_add(1);
            }
        }
        while (Item* item = queue.pop_oldest(dead)) item->obtained.fetch_add(1);
        // One that a thief has won, and not counted yet.
        go_on.store(false);
        for (std::thread& thread : threads) thread.join();
        for (auto& items : all)
            for (Item& item : *items) {
                ASSERT_EQ(item.obtained.load(), 1);
                ASSERT_EQ(item.refs.load(), 1);
            }
    }
}

// --- one wait, three who end it --------------------------------------------------------------------------------------

class Engine : public testing::TestWithParam<unsigned> {
protected:
    weft::RunOptions options() const { return {.workers = GetParam()}; }
};
INSTANTIATE_TEST_SUITE_P(Workers, Engine, testing::Values(1u, 2u, 4u),
                         [](const auto& p) { return std::to_string(p.param); });

/// A wait that others may end; shared, since they may be late.
struct Wait {
    std::atomic<bool> published{false};
    std::atomic<bool> over{false};  // perhaps before it was published: cancelled at once
    Waiter waiter;
    std::atomic<int> won{0};
    void end() {
        while (!published.load()) {
            if (over.load()) return;
            weft::yield();
        }
        if (weft::lowlevel::unpark(waiter)) won.fetch_add(1);
    }
};

TEST_P(Engine, UnparkDeadlineAndCancelEndAWaitOnce) {
    const int rounds = scaled(20'000);
    int by[3] = {};
    weft::run(
        [&] {
            for (int i = 0; i < rounds; ++i) {
                auto wait = std::make_shared<Wait>();
                auto sleeper = weft::create_task([&, wait] {
                    auto publish = [&](Waiter self) noexcept {
                        wait->waiter = self;
                        wait->published.store(true);
                        return true;
                    };
                    auto deadline = weft::now() + std::chrono::microseconds(i % 7);
                    Woken woken = weft::lowlevel::park({"stress", nullptr}, publish, deadline);
                    wait->over.store(true);
                    weft::lowlevel::take_cancel(nullptr);
                    return woken;
                });
                auto first = weft::create_task([wait] { wait->end(); });
                auto second = weft::create_task([wait] { wait->end(); });
                auto canceller = weft::create_task([sleeper, i] {
                    if (i % 3 == 0) sleeper.cancel();
                });
                auto [woken, cancelled] = weft::gather(weft::return_exceptions, sleeper, canceller);
                wait->over.store(true);  // cancelled before its first step
                weft::await(first);
                weft::await(second);
                if (!woken.has_value()) continue;
                ++by[static_cast<int>(woken.value())];
                ASSERT_EQ(wait->won.load(), woken.value() == Woken::by_unpark ? 1 : 0);
            }
        },
        options());
    EXPECT_GT(by[0] + by[1] + by[2], rounds / 2);
}

// --- joins ----------------------------------------------------------------------------------------------------------

TEST_P(Engine, NobodyWhoJoinsIsForgotten) {
    const int rounds = scaled(4'000);
    weft::run(
        [&] {
            for (int i = 0; i < rounds; ++i) {
                auto task = weft::create_task([i] {
                    if (i % 2 == 0) weft::yield();
                    return i;
                });
                std::vector<weft::Task<int>> joiners;
                for (int k = 0; k < 4; ++k)
                    joiners.push_back(weft::create_task([task, k] {
                        if (k % 2 == 0) weft::yield();
                        return weft::await(task);
                    }));
                for (auto& joiner : joiners) ASSERT_EQ(weft::await(joiner), i);
            }
        },
        options());
}

TEST_P(Engine, WhatComesFromOutsideIsNotLeftLying) {
    const int rounds = scaled(20'000);
    weft::Runtime runtime(options());
    std::atomic<int> ran{0};
    for (int i = 0; i < rounds; ++i) {
        // One at a time: the workers are about to sleep whenever the next one comes.
        auto future = runtime.submit([&] { return ran.fetch_add(1); });
        ASSERT_EQ(future.result(60s), i);
    }
    EXPECT_TRUE(runtime.shutdown(60s));
}

TEST_P(Engine, ThreadsThatWaitMayEndAtOnce) {
    const int rounds = scaled(3'000);
    weft::Runtime runtime(options());
    for (int i = 0; i < rounds; ++i) {
        weft::Event event;
        std::vector<std::thread> threads;
        for (int k = 0; k < 2; ++k) threads.emplace_back([&] { event.wait(); });
        runtime.post([&] { event.set(); });
        for (std::thread& thread : threads) thread.join();
        // `event` is about to go: the post has to be over.
        runtime.submit([] {}).result(60s);
    }
    EXPECT_TRUE(runtime.shutdown(60s));
}

// --- cancels that meet an end ------------------------------------------------------------------------------------------

// A parent awaits one child after the other; a cancel at any moment must end it before the long sleep does.
TEST_P(Engine, ACancelIsNotLostBetweenTwoChildren) {
    if (GetParam() == 1) GTEST_SKIP() << "nobody is there to cancel at a bad moment";
    const int rounds = scaled(20'000);
    int lost = 0;
    weft::run(
        [&] {
            for (int i = 0; i < rounds && lost == 0; ++i) {
                std::atomic<int> step{0};
                auto parent = weft::create_task([&] {
                    step.store(1);
                    weft::await(weft::create_task([] { weft::yield(); }));
                    weft::await(
                        weft::create_task([] { weft::sleep(std::chrono::microseconds(1)); }));
                    step.store(2);
                    weft::await(weft::create_task([] { weft::sleep(5s); }));
                    return 0;
                });
                auto canceller = weft::create_task([&, i] {
                    while (step.load() == 0) weft::yield();
                    for (int k = 0; k < i % 400; ++k) weft::detail::cpu_relax();
                    parent.cancel();
                });
                weft::await(canceller);
                try {
                    weft::await(parent);
                    ++lost;
                } catch (const weft::CancelledError&) {
                }
            }
        },
        options());
    EXPECT_EQ(lost, 0) << "a cancel was asked for, and the task went on";
}

// --- who looks for work while others compute ------------------------------------------------------------------------------

TEST_P(Engine, ATaskIsRunThoughItsWakerComputesOn) {
    if (GetParam() == 1) GTEST_SKIP() << "one worker has nobody to take it";
    const int rounds = scaled(200);
    weft::Runtime runtime(options());
    for (int i = 0; i < rounds; ++i) {
        std::atomic<bool> parked{false};
        std::atomic<bool> ran{false};
        Waiter waiter;
        auto sleeper = runtime.submit([&] {
            auto publish = [&](Waiter self) noexcept {
                waiter = self;
                parked.store(true);
                return true;
            };
            weft::lowlevel::park({"stress", nullptr}, publish);
            ran.store(true);
        });
        while (!parked.load()) std::this_thread::yield();
        // All workers go to sleep meanwhile, or are about to.
        for (int k = 0; k < (i % 3) * 200; ++k) std::this_thread::yield();
        auto waker = runtime.submit([&] {
            weft::lowlevel::unpark(waiter);
            auto patience = std::chrono::steady_clock::now() + 3s;
            while (!ran.load() && std::chrono::steady_clock::now() < patience) {
            }
            return ran.load();
        });
        ASSERT_TRUE(waker.result(60s))
            << "in round " << i << " a task that had been woken waited for its waker's end";
        sleeper.result(60s);
    }
    EXPECT_TRUE(runtime.shutdown(60s));
}

}  // namespace
