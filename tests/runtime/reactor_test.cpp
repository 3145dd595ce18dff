// The table of watched descriptors, by hand: no runtime, one thread.
#include "reactor.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace weft::rt {
namespace {

TEST(Reactor, AnEventThatWasFetchedBeforeTheCloseDoesNotReachWhoHasTheSlotNow) {
    int first[2];
    int second[2];
    ASSERT_EQ(::pipe2(first, O_CLOEXEC | O_NONBLOCK), 0);
    ASSERT_EQ(::pipe2(second, O_CLOEXEC | O_NONBLOCK), 0);
    auto& reactor = *new Reactor;
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

}  // namespace
}  // namespace weft::rt
