// The state word where numbers wrap, and for one thread. Its races are in tests/model.
#include <weft/detail/task_word.hpp>

#include <gtest/gtest.h>

namespace weft::detail {
namespace {

TEST(TaskWord, TheNumberOfTheWaitWrapsIntoNoOtherBits) {
    TaskWord word(3);
    for (std::uint32_t i = 0; i < (1u << 24) + 3; ++i) {
        std::uint32_t epoch = word.epoch();
        ASSERT_EQ(epoch, i & 0xffffffu);
        ASSERT_EQ(word.claim(epoch, Woken::by_deadline), Claim::won_running);
    }
    EXPECT_EQ(word.refs(), 3u);
    EXPECT_FALSE(word.done());
    EXPECT_FALSE(word.parked());
    EXPECT_FALSE(word.cancel_pending());
    EXPECT_EQ(word.reason(), Woken::by_deadline);
}

TEST(TaskWord, ASecondLifeKeepsOnlyTheNumberOfTheWait) {
    TaskWord word(2);
    word.claim(0, Woken::by_cancel);
    word.request_cancel();
    word.announce_joiner();
    word.finish();
    word.drop_ref();
    word.drop_ref();
    word.reset(2);
    EXPECT_EQ(word.epoch(), 1u) << "a late waker of the first life must not meet the same number";
    EXPECT_EQ(word.refs(), 2u);
    EXPECT_FALSE(word.done());
    EXPECT_FALSE(word.cancel_pending());
    EXPECT_EQ(word.reason(), Woken::by_unpark);
    EXPECT_EQ(word.finish_alone(IfCancelled::refuse), Finish::finished)
        << "neither joiners nor cancel of the first life are there";
}

TEST(TaskWord, ACancelGoesWhereTheTaskIs) {
    TaskWord word(2);
    EXPECT_EQ(word.request_cancel(), CancelRequest::pending);
    EXPECT_EQ(word.park(0, false), Parked::already_woken)
        << "a due cancel ends the wait before it begins";
    EXPECT_EQ(word.reason(), Woken::by_cancel);
    EXPECT_TRUE(word.take_cancel());
    EXPECT_FALSE(word.take_cancel());
    EXPECT_EQ(word.park(1, false), Parked::yes);
    EXPECT_EQ(word.request_cancel(), CancelRequest::claimed);
    EXPECT_TRUE(word.take_cancel());
    EXPECT_EQ(word.park(2, true), Parked::yes);
    EXPECT_EQ(word.request_cancel(), CancelRequest::pending) << "a shielded wait goes on";
    EXPECT_TRUE(word.parked());
    EXPECT_EQ(word.claim(2, Woken::by_unpark), Claim::won_parked);
    EXPECT_TRUE(word.bury()) << "the pending cancel is told to who buries";
    EXPECT_EQ(word.request_cancel(), CancelRequest::is_buried);
    word.unbury();
    word.finish();
    EXPECT_EQ(word.request_cancel(), CancelRequest::is_done);
}

TEST(TaskWord, ADoneBlockGivesNoReferenceToWhoFindsIt) {
    TaskWord word(1);
    EXPECT_TRUE(word.try_add_ref());
    EXPECT_FALSE(word.drop_ref());
    word.finish();
    EXPECT_FALSE(word.try_add_ref());
    EXPECT_TRUE(word.drop_ref());
    EXPECT_FALSE(word.try_add_ref());
}

}  // namespace
}  // namespace weft::detail
