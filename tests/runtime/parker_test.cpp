// One sleeper, one token: a token that comes before the sleep is not lost.
#include "parker.hpp"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "driver.hpp"

namespace weft::rt {
namespace {

TimePoint soon() {
    return TimePoint(std::chrono::steady_clock::now()) + std::chrono::milliseconds(1);
}

TEST(Parker, ATokenGivenBeforeTheSleepEndsItAtOnce) {
    Parker parker;
    parker.give_token(nullptr);
    parker.give_token(nullptr);
    EXPECT_TRUE(parker.sleep(lowlevel::kNever));
    EXPECT_FALSE(parker.sleep(soon())) << "two tokens before one sleep are one";
}

TEST(Parker, WithoutATokenTheDeadlineEndsIt) {
    Parker parker;
    auto deadline = soon();
    EXPECT_FALSE(parker.sleep(deadline));
    EXPECT_GE(TimePoint(std::chrono::steady_clock::now()), deadline);
    auto driver = make_driver(detail::PollerKind::epoll);
    deadline = soon();
    EXPECT_FALSE(parker.sleep_in(*driver, deadline));
    EXPECT_GE(TimePoint(std::chrono::steady_clock::now()), deadline);
}

class ParkerPingPong : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Where, ParkerPingPong, testing::Bool(),
                         [](const auto& p) { return p.param ? "InTheDriver" : "OnTheFutex"; });

TEST_P(ParkerPingPong, NoTokenIsLost) {
    constexpr int kRounds = 10'000;
    auto driver = make_driver(detail::PollerKind::epoll);
    Parker here, there;
    std::atomic<int> turn{0};
    std::thread other([&] {
        for (int i = 0; i < kRounds; ++i) {
            while (turn.load() != 2 * i + 1) there.sleep(lowlevel::kNever);
            turn.store(2 * i + 2);
            here.give_token(driver.get());
        }
    });
    for (int i = 0; i < kRounds; ++i) {
        turn.store(2 * i + 1);
        there.give_token(nullptr);
        while (turn.load() != 2 * i + 2)
            GetParam() ? here.sleep_in(*driver, lowlevel::kNever) : here.sleep(lowlevel::kNever);
    }
    other.join();
    EXPECT_EQ(turn.load(), 2 * kRounds);
}

}  // namespace
}  // namespace weft::rt
