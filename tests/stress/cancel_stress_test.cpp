// Races of cancels with ends, from other threads and from other workers: whatever comes first, each wait ends once,
// with one result; nobody is forgotten. Counts are what is checked: every round ends in one of the ways that it may.
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

#if WEFT_TSAN || WEFT_ASAN
constexpr int kMany = 10'000;
#else
constexpr int kMany = 250'000;  // in each of four places: a million races of each kind
#endif

class CancelStressTest : public Everywhere {};
WEFT_TEST_ON_THREADS(CancelStressTest);

/// A few steps that take a different time each round, so that the racers meet everywhere.
void wander(int steps) {
    for (int i = 0; i < steps; ++i) asm volatile("");
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

// Both sides go through a batch at once: a race costs less than the meeting of two threads.
constexpr int kBatch = 100;
constexpr int kBatches = kMany / kBatch;

TEST_P(CancelStressTest, AThreadThatSetsFuturesAgainstCancelsOfTheirWaiters) {
    run([] {
        std::vector<Future<int>> futures;
        std::atomic<int> set = 0;
        OtherThread setter([&](int round) {
            for (int i = 0; i < kBatch; ++i) {
                wander((round + 7 * i) % 97);
                if (futures[static_cast<std::size_t>(i)].try_set_result(i)) ++set;
            }
        });
        int values = 0;
        int cancelled = 0;
        for (int round = 0; round < kBatches; ++round) {
            futures = std::vector<Future<int>>(kBatch);
            std::vector<Task<int>> waiters;
            for (auto& future : futures)
                waiters.push_back(start([future] { return await(future); }));
            std::vector<bool> asked;
            setter.begin(round);
            for (auto& waiter : waiters) {
                wander((round + 5 * static_cast<int>(asked.size())) % 89);
                asked.push_back(waiter.cancel());
            }
            for (std::size_t i = 0; i < kBatch; ++i) {
                End end = end_of([&] { EXPECT_EQ(await(waiters[i]), static_cast<int>(i)); });
                ASSERT_NE(end, End::other);
                ASSERT_TRUE(asked[i] || end == End::value) << "cancelled without a cancel";
                (end == End::value ? values : cancelled) += 1;
            }
            // Not before: a waiter that met its cancel does not wait for the setter that was faster by a hair.
            setter.wait_for_end(round);
            for (auto& future : futures) ASSERT_TRUE(future.done());
        }
        EXPECT_EQ(values + cancelled, kBatch * kBatches);
        EXPECT_GE(set, values);
    });
}

TEST_P(CancelStressTest, AThreadThatSetsEventsAgainstCancelsOfTheirWaiters) {
    run([] {
        std::unique_ptr<Event[]> events;
        OtherThread setter([&](int round) {
            for (int i = 0; i < kBatch; ++i) {
                wander((round + 7 * i) % 97);
                events[static_cast<std::size_t>(i)].set();
            }
        });
        for (int round = 0; round < kBatches; ++round) {
            events = std::make_unique<Event[]>(kBatch);
            std::vector<Task<bool>> waiters;
            for (std::size_t i = 0; i < kBatch; ++i)
                waiters.push_back(start([&event = events[i]] { return event.wait(); }));
            setter.begin(round);
            int turn = 0;
            for (auto& waiter : waiters) {
                wander((round + 5 * ++turn) % 89);
                waiter.cancel();
            }
            for (auto& waiter : waiters)
                ASSERT_NE(end_of([&] { EXPECT_TRUE(await(waiter)); }), End::other);
            setter.wait_for_end(round);
        }
    });
}

TEST_P(CancelStressTest, AThreadThatCancelsAgainstTheEndsOfTasks) {
    run([] {
        std::vector<Task<int>> tasks;
        std::atomic<int> asked = 0;
        OtherThread canceller([&](int round) {
            for (auto& task : tasks) {
                wander((round * 7) % 97);
                if (task.cancel("race")) ++asked;
            }
        });
        int cancelled = 0;
        for (int round = 0; round < kBatches; ++round) {
            tasks.clear();
            for (int i = 0; i < kBatch; ++i)
                tasks.push_back(create_task([i, round] {
                    wander((round + i) % 31);
                    yield();
                    wander((round + i) % 37);
                    return i;
                }));
            canceller.begin(round);
            if (round % 3 != 0) yield();
            for (int i = 0; i < kBatch; ++i) {
                End end = end_of([&] { EXPECT_EQ(await(tasks[static_cast<std::size_t>(i)]), i); });
                ASSERT_NE(end, End::other);
                if (end == End::cancelled) ++cancelled;
            }
            canceller.wait_for_end(round);
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
                        // The canceller may have come since.
                        if (i != round % 8) {
                            EXPECT_EQ(current_task().cancelling(), 0);
                        }
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
        for (int i = 0; i < 8; ++i) tasks.push_back(start(contend));
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
        // Begun: one that is cancelled before its first step takes nothing.
        for (int i = 0; i < 4; ++i) consumers.push_back(start(consume));
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
