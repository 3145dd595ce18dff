// Everything at once: answers, exceptions, deaths of all kinds, garbage, and cancels that come at
// any moment. Each call ends in what it must end in, and the books balance.
#include <weft/process.hpp>
#include <weft/weft.hpp>

#include <array>
#include <csignal>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "offload/process_support.hpp"

namespace {

enum class Fate : std::uint8_t {
    value,
    large_value,
    exception,
    killed,
    exits,
    garbage,
    closes_socket,
    hangs_and_is_cancelled,
    is_cancelled_at_some_moment,
};
constexpr unsigned kFates = 9;

std::string meet(Fate fate, unsigned number) {
    switch (fate) {
        case Fate::value:
        case Fate::is_cancelled_at_some_moment:
            return std::to_string(number);
        case Fate::large_value:
            return std::string(200'000 + number, 'x');
        case Fate::exception:
            throw std::range_error(std::to_string(number));
        case Fate::killed:
            ::raise(SIGKILL);
            break;
        case Fate::exits:
            ::_exit(static_cast<int>(number % 2));
        case Fate::garbage:
            ::send(weft::test::worker_socket(), "garbage", 7, MSG_NOSIGNAL);
            break;
        case Fate::closes_socket:
            ::close(weft::test::worker_socket());
            break;
        case Fate::hangs_and_is_cancelled:
            break;
    }
    weft::test::hang();
}

/// Whether the call ended in what its fate allows.
bool ends_well(weft::ProcessPool& pool, Fate fate, unsigned number) {
    try {
        std::string answer = pool.run<&meet>(fate, number);
        if (fate == Fate::large_value) return answer.size() == 200'000 + number;
        return answer == std::to_string(number) &&
               (fate == Fate::value || fate == Fate::is_cancelled_at_some_moment);
    } catch (const std::range_error& error) {
        return fate == Fate::exception && error.what() == std::to_string(number);
    } catch (const weft::WorkerDied& died) {
        if (fate == Fate::exits) return died.exit_status() == static_cast<int>(number % 2);
        return died.signal() == SIGKILL &&
               (fate == Fate::killed || fate == Fate::garbage || fate == Fate::closes_socket);
    } catch (const weft::CancelledError&) {
        return fate == Fate::hangs_and_is_cancelled || fate == Fate::is_cancelled_at_some_moment;
    }
}

class ProcessChaos : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Workers, ProcessChaos, testing::Values(1U, 2U, 4U));

TEST_P(ProcessChaos, EachCallEndsAsItMust) {
    weft::run(
        [] {
            constexpr unsigned kCalls = 400;
            weft::ProcessPool pool{{.workers = 3}};
            std::mt19937 random(GetParam());
            std::vector<weft::Task<bool>> calls;
            std::vector<std::size_t> cancelled;
            for (unsigned number = 0; number < kCalls; ++number) {
                auto fate = static_cast<Fate>(random() % kFates);
                calls.push_back(weft::create_task(
                    [&pool, fate, number] { return ends_well(pool, fate, number); }));
                if (fate >= Fate::hangs_and_is_cancelled) cancelled.push_back(number);
                // Some are cancelled at once, some later, when they may be anywhere.
                for (unsigned turns = random() % 8; turns > 0; --turns) weft::yield();
                while (!cancelled.empty() && random() % 3 == 0) {
                    std::size_t victim = random() % cancelled.size();
                    calls[cancelled[victim]].cancel();
                    cancelled[victim] = cancelled.back();
                    cancelled.pop_back();
                }
            }
            for (std::size_t number : cancelled) calls[number].cancel();
            for (unsigned number = 0; number < kCalls; ++number) {
                bool well = true;
                try {
                    well = weft::await(calls[number]);
                } catch (const weft::CancelledError&) {
                    // Before its first step.
                }
                EXPECT_TRUE(well) << "call " << number;
            }
            EXPECT_EQ(pool.run([] { return 1; }), 1);
            weft::ProcessPoolFigures figures = pool.figures();
            EXPECT_EQ(figures.queued, 0U);
            EXPECT_LE(figures.workers, 3U);
        },
        {.workers = GetParam()});
}

}  // namespace
