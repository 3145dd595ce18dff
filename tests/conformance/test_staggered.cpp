// test_staggered.py: staggered_race.
#include <functional>
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_staggered, StaggeredTests);

using Attempts = std::vector<std::function<std::string()>>;

std::string fail(const char* why) { throw std::runtime_error(why); }

TEST_P(StaggeredTests, test_empty) {
    run([] {
        auto [winner, index, exceptions] = staggered_race(Attempts{});
        EXPECT_FALSE(winner.has_value());
        EXPECT_FALSE(index.has_value());
        EXPECT_TRUE(exceptions.empty());
    });
}

TEST_P(StaggeredTests, test_one_successful) {
    run([] {
        std::atomic<int> begun = 0;
        auto attempt = [&](std::string name) {
            return [&begun, name] {
                ++begun;
                weft::sleep(1s);
                return name;
            };
        };
        auto [winner, index, exceptions] = staggered_race(Attempts{attempt("a"), attempt("b")});
        EXPECT_EQ(winner, "a");
        EXPECT_EQ(index, 0U);
        ASSERT_EQ(exceptions.size(), 1U);
        EXPECT_EQ(exceptions[0], nullptr);
        EXPECT_EQ(begun, 1);  // without a delay the second waits for a failure
    });
}

TEST_P(StaggeredTests, test_first_error_second_successful) {
    run([] {
        auto [winner, index, exceptions] =
            staggered_race(Attempts{[] { return fail("first"); }, [] { return std::string("b"); }});
        EXPECT_EQ(winner, "b");
        EXPECT_EQ(index, 1U);
        ASSERT_EQ(exceptions.size(), 2U);
        EXPECT_EQ(text_of(exceptions[0]), "first");
        EXPECT_EQ(exceptions[1], nullptr);
    });
}

TEST_P(StaggeredTests, test_first_timeout_second_successful) {
    run([] {
        TimePoint begin = now();
        auto [winner, index, exceptions] = staggered_race(Attempts{[] {
                                                                       weft::sleep(10s);
                                                                       return std::string("a");
                                                                   },
                                                                   [] { return std::string("b"); }},
                                                          100ms);
        EXPECT_LT(now() - begin, 1s);
        EXPECT_EQ(winner, "b");
        EXPECT_EQ(index, 1U);
        ASSERT_EQ(exceptions.size(), 2U);
        EXPECT_EQ(
            cancel_message_of([&, &errors = exceptions] { std::rethrow_exception(errors[0]); }),
            "");
        EXPECT_EQ(exceptions[1], nullptr);
    });
}

TEST_P(StaggeredTests, test_none_successful) {
    run([] {
        auto [winner, index, exceptions] = staggered_race(
            Attempts{[] { return fail("first"); }, [] { return fail("second"); }}, 1s);
        EXPECT_FALSE(winner.has_value());
        EXPECT_FALSE(index.has_value());
        ASSERT_EQ(exceptions.size(), 2U);
        EXPECT_EQ(text_of(exceptions[0]), "first");
        EXPECT_EQ(text_of(exceptions[1]), "second");
    });
}

}  // namespace

}  // namespace weft::test
