// The table of watched descriptors, by hand: no runtime, one thread.
#include "reactor.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace weft::rt {
namespace {

class ReactorTest : public testing::TestWithParam<std::unique_ptr<Poller> (*)()> {};

TEST_P(ReactorTest, AnEventThatWasFetchedBeforeTheCloseDoesNotReachWhoHasTheSlotNow) {
    std::unique_ptr<Poller> poller = GetParam()();
    if (poller == nullptr) GTEST_SKIP() << "no io_uring here";
    int first[2];
    int second[2];
    ASSERT_EQ(::pipe2(first, O_CLOEXEC | O_NONBLOCK), 0);
    ASSERT_EQ(::pipe2(second, O_CLOEXEC | O_NONBLOCK), 0);
    auto& reactor = *new Reactor(std::move(poller));
    IoSlot& slot = reactor.open(first[0]);
    // Registered by a wait whose time is up.
    EXPECT_EQ(reactor.wait(slot, detail::Side::in, "test", std::chrono::steady_clock::now()),
              lowlevel::Woken::by_deadline);
    ASSERT_EQ(::write(first[1], "x", 1), 1);
    reactor.fetch(std::chrono::steady_clock::now() + std::chrono::seconds(10));
    Reactor::close(slot, IoSlot::generation_of(slot.word.load()));
    IoSlot& reused = reactor.open(second[0]);
    ASSERT_EQ(&reused, &slot);
    EXPECT_TRUE(reactor.deliver()) << "nothing had been fetched";
    EXPECT_FALSE(reused.ready[0]);
    Reactor::close(reused, IoSlot::generation_of(reused.word.load()));
    reactor.drop();
    ::close(first[1]);
    ::close(second[1]);
}

TEST_P(ReactorTest, ManyEdgesComeToEachThatIsWatched) {
    constexpr int kPipes = 200;
    std::unique_ptr<Poller> poller = GetParam()();
    if (poller == nullptr) GTEST_SKIP() << "no io_uring here";
    auto& reactor = *new Reactor(std::move(poller));
    int ends[kPipes][2];
    IoSlot* slots[kPipes];
    for (int i = 0; i < kPipes; ++i) {
        ASSERT_EQ(::pipe2(ends[i], O_CLOEXEC | O_NONBLOCK), 0);
        slots[i] = &reactor.open(ends[i][0]);
        EXPECT_EQ(
            reactor.wait(*slots[i], detail::Side::in, "test", std::chrono::steady_clock::now()),
            lowlevel::Woken::by_deadline);
    }
    for (int round = 0; round < 20; ++round) {
        for (auto& pipe : ends) ASSERT_EQ(::write(pipe[1], "x", 1), 1);
        auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        auto come = [&] {
            int n = 0;
            for (IoSlot* slot : slots) n += slot->ready[0] ? 1 : 0;
            return n;
        };
        while (come() < kPipes && std::chrono::steady_clock::now() < until) {
            reactor.fetch(until);
            reactor.deliver();
        }
        ASSERT_EQ(come(), kPipes) << "in round " << round;
        for (IoSlot* slot : slots) slot->ready[0] = false;
    }
    for (IoSlot* slot : slots) Reactor::close(*slot, IoSlot::generation_of(slot->word.load()));
    reactor.drop();
    for (auto& pipe : ends) ::close(pipe[1]);
}

INSTANTIATE_TEST_SUITE_P(Pollers, ReactorTest,
                         testing::Values(&make_epoll_poller, &make_uring_poller),
                         [](const auto& which) { return which.index == 0 ? "Epoll" : "Uring"; });

}  // namespace
}  // namespace weft::rt
