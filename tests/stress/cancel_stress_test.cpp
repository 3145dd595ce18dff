// Races of cancels with ends, from other threads and from other workers: whatever comes first, each wait ends once,
// with one result; nobody is forgotten. Counts are what is checked: every round ends in one of the ways that it may.
#include <barrier>
#include <random>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kMany = 10'000;
#else
constexpr int kMany = 100'000;
#endif

class CancelStressTest : public Everywhere {};
WEFT_TEST_ON_THREADS(CancelStressTest);

/// A few steps that take a different time each round, so that the racers meet everywhere.
void wander(int steps) {
    for (volatile int i = 0; i < steps; i = i + 1) {
    }
}

enum class End { value, cancelled, other };

template <class F>
End end_of(F&& f) {
    try {
        std::forward<F>(f)();
        return End::value;
    } catch (const CancelledError&) {
        return End::cancelled;
    } catch (...) {
        return End::other;
    }
}

/// A thread that does f(round) once in each round, at the same time as the round's other side.
class OtherThread {
public:
    template <class F>
    explicit OtherThread(F f)
        : thread_([this, f] {
              for (int round = 0;; ++round) {
                  int next = 0;
                  while ((next = wanted_.load()) == round) std::this_thread::yield();
                  if (next < 0) return;
                  f(round);
                  done_.store(round + 1);
              }
          }) {}
    ~OtherThread() {
        wanted_ = -1;
        thread_.join();
    }
    void begin(int round) { wanted_ = round + 1; }
    void wait_for_end(int round) {
        while (done_.load() <= round) weft::yield();
    }

private:
    std::atomic<int> wanted_{0};
    std::atomic<int> done_{0};
    std::thread thread_;
};

// --- with another thread ------------------------------------------------------------------------------------------

TEST_P(CancelStressTest, AThreadThatSetsAFutureAgainstACancelOfItsWaiter) {
    run([] {
        std::optional<Future<int>> future;
        std::atomic<int> set = 0;
        OtherThread setter([&](int round) {
            wander(round % 97);
            if (future->try_set_result(round)) ++set;
        });
        int values = 0;
        int cancelled = 0;
        for (int round = 0; round < kMany; ++round) {
            future.emplace();
            Task<int> waiter = start([&, mine = *future] { return await(mine); });
            setter.begin(round);
            wander(round % 89);
            bool asked = waiter.cancel();
            End end = end_of([&] { EXPECT_EQ(await(waiter), round); });
            setter.wait_for_end(round);
            ASSERT_NE(end, End::other);
            ASSERT_TRUE(asked || end == End::value) << "cancelled without a cancel";
            ASSERT_TRUE(future->done());
            (end == End::value ? values : cancelled) += 1;
        }
        EXPECT_EQ(values + cancelled, kMany);
        EXPECT_GE(set, values);
    });
}

TEST_P(CancelStressTest, AThreadThatSetsAnEventAgainstACancelOfItsWaiter) {
    run([] {
        std::optional<Event> event;
        OtherThread setter([&](int round) {
            wander(round % 97);
            event->set();
        });
        for (int round = 0; round < kMany; ++round) {
            event.emplace();
            auto waiter = start([&] { return event->wait(); });
            setter.begin(round);
            wander(round % 89);
            waiter.cancel();
            End end = end_of([&] { EXPECT_TRUE(await(waiter)); });
            setter.wait_for_end(round);
            ASSERT_NE(end, End::other);
        }
    });
}

TEST_P(CancelStressTest, AThreadThatCancelsAgainstTheEndOfTheTask) {
    run([] {
        Task<int> task;
        std::atomic<int> asked = 0;
        OtherThread canceller([&](int round) {
            wander(round % 97);
            if (task.cancel("race")) ++asked;
        });
        int cancelled = 0;
        for (int round = 0; round < kMany; ++round) {
            task = create_task([round] {
                wander(round % 31);
                yield();
                wander(round % 37);
                return round;
            });
            Task<int> mine = task;
            canceller.begin(round);
            if (round % 3 != 0) yield();
            End end = end_of([&] { EXPECT_EQ(await(mine), round); });
            canceller.wait_for_end(round);
            ASSERT_NE(end, End::other);
            if (end == End::cancelled) ++cancelled;
        }
        EXPECT_LE(cancelled, asked) << "a CancelledError that nobody asked for";
    });
}

// --- with other workers -------------------------------------------------------------------------------------------

TEST_P(CancelStressTest, WorkersThatSetAndCancelOneFutureLeaveOneOutcome) {
    run([] {
        for (int round = 0; round < kMany / 10; ++round) {
            Future<int> future;
            std::atomic<int> won = 0;
            auto waiter = create_task([&] { return await(future); });
            auto set = create_task([&] { won += future.try_set_result(1) ? 1 : 0; });
            auto fail = create_task([&] {
                won += future.try_set_exception(std::make_exception_ptr(std::runtime_error("x")))
                           ? 1
                           : 0;
            });
            auto cancel = create_task([&] { won += future.cancel() ? 1 : 0; });
            await(set);
            await(fail);
            await(cancel);
            ASSERT_EQ(won, 1);
            End end = end_of([&] { await(waiter); });
            End of_future = end_of([&] { future.result(); });
            ASSERT_EQ(end, of_future);
        }
    });
}

TEST_P(CancelStressTest, AChainOfAwaitsIsCancelledFromItsTopWhileItsEndCompletes) {
    run([] {
        for (int round = 0; round < kMany / 20; ++round) {
            Future<int> bottom;
            auto one = create_task([&] { return await(bottom) + 1; });
            auto two = create_task([&] { return await(one) + 1; });
            auto three =
                create_task([&] { return await(create_task([&] { return await(two); })) + 1; });
            for (int i = 0; i < round % 5; ++i) yield();
            auto setter = create_task([&] {
                wander(round % 53);
                bottom.try_set_result(1);
            });
            auto canceller = create_task([&] {
                wander(round % 47);
                three.cancel();
            });
            End end = end_of([&] { EXPECT_EQ(await(three), 4); });
            ASSERT_NE(end, End::other);
            await(setter);
            await(canceller);
            ASSERT_NE(end_of([&] { await(two); }), End::other);
            ASSERT_NE(end_of([&] { await(one); }), End::other);
        }
    });
}

TEST_P(CancelStressTest, ManyCancellersOfOneTaskAreCountedAndEndItOnce) {
    run([] {
        for (int round = 0; round < kMany / 50; ++round) {
            std::atomic<int> caught = 0;
            auto victim = create_task([&] {
                try {
                    wait_for_ever();
                } catch (const CancelledError&) {
                    ++caught;
                }
                ShieldScope shield;
                yield();
                return 1;
            });
            std::vector<Task<void>> cancellers;
            std::atomic<int> asked = 0;
            for (int i = 0; i < 4; ++i)
                cancellers.push_back(create_task([&] { asked += victim.cancel() ? 1 : 0; }));
            for (auto& canceller : cancellers) await(canceller);
            End end = end_of([&] { await(victim); });
            ASSERT_NE(end, End::other);
            ASSERT_LE(caught, 1);
            ASSERT_EQ(victim.cancelling(), asked);
        }
    });
}

TEST_P(CancelStressTest, TimersAgainstEventsAgainstCancels) {
    run([] {
        constexpr int kRounds = kMany / 100;
        std::atomic<int> timed_out = 0;
        std::atomic<int> woken = 0;
        std::atomic<int> cancelled = 0;
        for (int round = 0; round < kRounds; ++round) {
            Event event;
            std::vector<Task<void>> waiters;
            for (int i = 0; i < 8; ++i)
                waiters.push_back(start([&, i] {
                    try {
                        wait_for([&] { event.wait(); },
                                 std::chrono::microseconds(10 * (round % 7) + i));
                        ++woken;
                    } catch (const TimeoutError&) {
                        ++timed_out;
                        EXPECT_EQ(current_task().cancelling(), 0);
                    } catch (const CancelledError&) {
                        ++cancelled;
                        throw;
                    }
                }));
            auto canceller = create_task([&] {
                wander(round % 501);
                waiters[static_cast<std::size_t>(round % 8)].cancel();
            });
            auto setter = create_task([&] {
                wander((round % 11) * 500);
                event.set();
            });
            for (auto& waiter : waiters) ASSERT_NE(end_of([&] { await(waiter); }), End::other);
            await(canceller);
            await(setter);
        }
        EXPECT_EQ(timed_out + woken + cancelled, 8 * kRounds);
    });
}

TEST_P(CancelStressTest, LocksChangeHandsAmongCancelsAndNobodyHoldsOneTwice) {
    run([] {
        Lock lock;
        std::atomic<int> inside = 0;
        std::atomic<int> entered = 0;
        std::atomic<bool> stop = false;
        auto contend = [&] {
            while (!stop) {
                try {
                    std::lock_guard guard(lock);
                    EXPECT_EQ(++inside, 1);
                    ++entered;
                    {
                        ShieldScope shield;
                        yield();
                    }
                    EXPECT_EQ(--inside, 0);
                } catch (const CancelledError&) {
                }
                ShieldScope shield;
                yield();
            }
            // A cancel may be due still; whether it ends so does not matter.
        };
        std::vector<Task<void>> tasks;
        for (int i = 0; i < 8; ++i) tasks.push_back(create_task(contend));
        for (int i = 0; i < kMany / 10; ++i) {
            tasks[static_cast<std::size_t>(i) % tasks.size()].cancel();
            yield();
        }
        stop = true;
        for (auto& task : tasks) ASSERT_NE(end_of([&] { await(task); }), End::other);
        EXPECT_GT(entered, 0);
        EXPECT_FALSE(lock.locked());
    });
}

TEST_P(CancelStressTest, ItemsOfAQueueAreNeitherLostNorDoubledAmongCancels) {
    run([] {
        constexpr int kItems = kMany / 10;
        Queue<int> queue(4);
        std::vector<std::atomic<int>> seen(kItems);
        std::atomic<int> taken = 0;
        auto consume = [&] {
            while (taken < kItems) {
                try {
                    int item = queue.get();
                    ++seen[static_cast<std::size_t>(item)];
                    if (++taken == kItems) queue.shutdown();
                } catch (const CancelledError&) {
                } catch (const QueueShutDown&) {
                    return;
                }
            }
        };
        std::vector<Task<void>> consumers;
        for (int i = 0; i < 4; ++i) consumers.push_back(create_task(consume));
        auto producer = create_task([&] {
            for (int i = 0; i < kItems; ++i) queue.put(i);
        });
        int turn = 0;
        while (!producer.done()) {
            consumers[static_cast<std::size_t>(++turn) % consumers.size()].cancel();
            yield();
        }
        await(producer);
        for (auto& consumer : consumers) ASSERT_NE(end_of([&] { await(consumer); }), End::other);
        for (int i = 0; i < kItems; ++i) ASSERT_EQ(seen[static_cast<std::size_t>(i)], 1) << i;
    });
}

}  // namespace

}  // namespace weft::test
