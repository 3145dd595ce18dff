// The set of sleepers beyond one word. Its races are in tests/model.
#include "idle.hpp"

#include <weft/detail/env.hpp>

#include <set>

#include <gtest/gtest.h>

namespace weft::rt {
namespace {

TEST(Idle, EverySleeperOfManyIsWokenOnce) {
    constexpr unsigned kWorkers = 200;
    Idle<detail::StdEnv> idle(kWorkers);
    for (unsigned i = 0; i < kWorkers; ++i) idle.announce_sleep(i, false);
    EXPECT_EQ(idle.sleeping(), kWorkers);
    std::set<int> woken;
    for (unsigned i = 0; i < kWorkers; ++i) {
        int worker = idle.notify();
        ASSERT_NE(worker, Idle<detail::StdEnv>::kNobody);
        EXPECT_TRUE(woken.insert(worker).second);
        EXPECT_EQ(idle.searching(), 1u);
        // While one searches, nobody else is woken.
        EXPECT_EQ(idle.notify(), Idle<detail::StdEnv>::kNobody);
        EXPECT_TRUE(idle.found());
    }
    EXPECT_EQ(idle.notify(), Idle<detail::StdEnv>::kNobody);
    EXPECT_EQ(idle.sleeping(), 0u);
}

}  // namespace
}  // namespace weft::rt
