// CoreBudget: a real arena beside busy workers. Left out under ThreadSanitizer, as arena_test.cpp; what is parked and who
// sleeps is tested there without oneTBB (runtime/core_budget_test.cpp).
#include <array>
#include <chrono>

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

using std::chrono::steady_clock;

/// An arena in one long call, and how many of its threads have lately run something.
class BusyArena {
public:
    /// Until end(), and not for more than a minute.
    void run() {
        while (!ends_ && steady_clock::now() < limit_)
            oneapi::tbb::parallel_for(0, 64, [this](int) {
                auto slot =
                    static_cast<std::size_t>(oneapi::tbb::this_task_arena::current_thread_index());
                seen_.at(slot) = steady_clock::now().time_since_epoch().count();
                auto until = steady_clock::now() + 20us;
                while (steady_clock::now() < until && !ends_) {
                }
            });
    }
    void end() { ends_ = true; }
    bool over() const { return steady_clock::now() >= limit_; }
    int threads_within(steady_clock::duration time) const {
        auto since = (steady_clock::now() - time).time_since_epoch().count();
        return static_cast<int>(
            std::count_if(seen_.begin(), seen_.end(), [&](auto& last) { return last > since; }));
    }

private:
    const steady_clock::time_point limit_ = steady_clock::now() + 60s;
    std::atomic<bool> ends_ = false;
    std::array<std::atomic<steady_clock::rep>, 16> seen_{};
};

TEST(ArenaBudget, AnArenaHasOneThreadBesideWorkersThatTakeAllCoresAndAllAfterThem) {
    weft::run(
        [] {
            BusyArena arena;
            auto call = create_task([&] { to_arena([&] { arena.run(); }); });
            while (arena.threads_within(1s) < 2 && !arena.over()) weft::sleep(1ms);
            ASSERT_FALSE(arena.over()) << "with idle workers it has two";
            // Both workers compute on until one of the arena's threads has run nothing for long.
            auto compute = [&] {
                while (arena.threads_within(300ms) > 1 && !arena.over()) {
                }
            };
            gather(compute, compute);
            EXPECT_FALSE(arena.over()) << "it kept both threads beside two busy workers";
            while (arena.threads_within(50ms) < 2 && !arena.over()) weft::sleep(1ms);
            EXPECT_FALSE(arena.over())
                << "the workers are idle, and it has not got its second back";
            arena.end();
            await(call);
        },
        {.workers = 2, .cores = 2, .core_budget = CoreBudget::strict});
}

TEST(ArenaBudget, CallsComeAndGoWhileWorkersAreBusyNowAndThen) {
    std::atomic<int> bodies = 0;
    constexpr int kCalls = 300;
    weft::run(
        [&] {
            auto call = [&] {
                to_arena([&] {
                    oneapi::tbb::parallel_for(0, 50, [&](int) {
                        ++bodies;
                        auto until = steady_clock::now() + 20us;
                        while (steady_clock::now() < until) {
                        }
                    });
                });
                auto until = steady_clock::now() + 1ms;
                while (steady_clock::now() < until) {
                }
            };
            for (int i = 0; i < kCalls / 3; ++i) gather(call, call, call);
        },
        {.workers = 2, .cores = 3, .core_budget = CoreBudget::strict});
    EXPECT_EQ(bodies, 50 * kCalls);
}

TEST(ArenaBudget, ARuntimeEndsAndAnotherBeginsWithThreadsParked) {
    for (int round = 0; round < 20; ++round)
        weft::run(
            [] {
                BusyArena arena;
                auto call = create_task([&] { to_arena([&] { arena.run(); }); });
                while (arena.threads_within(1s) < 1 && !arena.over()) weft::sleep(1ms);
                auto compute = [] {
                    auto until = steady_clock::now() + 40ms;
                    while (steady_clock::now() < until) {
                    }
                };
                gather(compute, compute);
                arena.end();
                await(call);
            },
            {.workers = 2, .cores = 4, .core_budget = CoreBudget::strict});
}

}  // namespace

}  // namespace weft::test
