// staggered_race beyond what CPython's own tests ask: who is left running, cancels, odd results.
#include <functional>
#include <memory>
#include <stdexcept>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

class RaceTest : public Everywhere {};
WEFT_TEST_IN_VIRTUAL_TIME(RaceTest);

TEST_P(RaceTest, TheOthersAreCancelledAndWaitedFor) {
    run([] {
        std::atomic<int> running = 0;
        auto slow = [&] {
            ++running;
            try {
                weft::sleep(1h);
            } catch (const CancelledError&) {
                weft::sleep(1s);
                --running;
                throw;
            }
        };
        std::vector<std::function<void()>> attempts{slow, slow, [] { weft::sleep(1s); }};
        auto result = staggered_race(attempts, 1s);
        EXPECT_EQ(result.index, 2U);
        EXPECT_TRUE(result.winner.has_value());
        EXPECT_EQ(running, 0);
    });
}

TEST_P(RaceTest, ACancelEndsAllOfThem) {
    run([] {
        std::atomic<int> running = 0;
        auto racer = create_task([&] {
            auto slow = [&] {
                ++running;
                try {
                    weft::sleep(1h);
                } catch (...) {
                    --running;
                    throw;
                }
            };
            staggered_race(std::vector<std::function<void()>>{slow, slow, slow}, 1s);
        });
        weft::sleep(1500ms);
        EXPECT_EQ(running, 2);
        racer.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(racer); }), "enough");
        EXPECT_EQ(running, 0);
    });
}

TEST_P(RaceTest, TheValueMayBeMoveOnly) {
    run([] {
        auto attempt = weft::async("attempt", [](int i) { return std::make_unique<int>(i); });
        std::vector<Coroutine<std::unique_ptr<int>>> attempts;
        attempts.push_back(attempt(7));
        auto result = staggered_race(std::move(attempts));
        ASSERT_TRUE(result.winner.has_value());
        EXPECT_EQ(**result.winner, 7);
    });
    EXPECT_THROW(staggered_race(std::vector<std::function<void()>>{}), UsageError);
}

TEST_P(RaceTest, AnAttemptThatCannotBeMadeEndsTheRace) {
    run([] {
        auto numbers = std::views::iota(0, 2) | std::views::transform([](int i) {
                           if (i == 1) throw std::runtime_error("no second attempt");
                           return [] { weft::sleep(1h); };
                       });
        EXPECT_EQ(what_of([&] { staggered_race(numbers, 1s); }), "no second attempt");
    });
}

}  // namespace

}  // namespace weft::test
