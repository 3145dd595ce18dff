// ExceptionGroup, and how weft's errors stand to std's.
#include <stdexcept>
#include <type_traits>

#include "api/core_support.hpp"

namespace weft::test {

namespace {

template <class E, class... Args>
std::exception_ptr error(Args&&... args) {
    return std::make_exception_ptr(E(std::forward<Args>(args)...));
}

/// "message[a, b, message[c]]"
std::string shape_of(const ExceptionGroup& group) {
    std::string shape;
    for (const std::exception_ptr& member : group.exceptions()) {
        if (!shape.empty()) shape += ", ";
        try {
            std::rethrow_exception(member);
        } catch (const ExceptionGroup& nested) {
            shape += shape_of(nested);
        } catch (const std::exception& e) {
            shape += e.what();
        } catch (int number) {
            shape += std::to_string(number);
        }
    }
    return group.message() + "[" + shape + "]";
}
std::string shape_of(const std::optional<ExceptionGroup>& group) {
    return group ? shape_of(*group) : "none";
}

TEST(ExceptionGroupTest, ItsTextHasTheMessageAndTheCount) {
    ExceptionGroup one("several", {error<std::runtime_error>("a")});
    ExceptionGroup two("several", {error<std::runtime_error>("a"), error<int>(1)});
    EXPECT_EQ(one.message(), "several");
    EXPECT_STREQ(one.what(), "several (1 sub-exception)");
    EXPECT_STREQ(two.what(), "several (2 sub-exceptions)");
    EXPECT_EQ(two.exceptions().size(), 2U);
}

TEST(ExceptionGroupTest, SplitParts) {
    ExceptionGroup group("g", {error<std::invalid_argument>("a"), error<std::runtime_error>("b"),
                               error<std::invalid_argument>("c"), error<int>(4)});
    auto [arguments, rest] = group.split<std::invalid_argument>();
    EXPECT_EQ(shape_of(arguments), "g[a, c]");
    EXPECT_EQ(shape_of(rest), "g[b, 4]");
}

TEST(ExceptionGroupTest, SplitWithoutAMatchOrWithoutARestGivesNothingThere) {
    ExceptionGroup group("g", {error<std::runtime_error>("a"), error<std::runtime_error>("b")});
    auto [none, all] = group.split<std::logic_error>();
    EXPECT_EQ(shape_of(none), "none");
    EXPECT_EQ(shape_of(all), "g[a, b]");
    auto [matching, rest] = group.split<std::runtime_error>();
    EXPECT_EQ(shape_of(matching), "g[a, b]");
    EXPECT_EQ(shape_of(rest), "none");
}

TEST(ExceptionGroupTest, SplitMatchesABaseClass) {
    ExceptionGroup group("g", {error<std::out_of_range>("a"), error<std::runtime_error>("b")});
    EXPECT_EQ(shape_of(group.split<std::logic_error>().first), "g[a]");
    EXPECT_EQ(shape_of(group.split<std::exception>().first), "g[a, b]");
}

// As Python's: the nesting is kept, and groups that come out empty are left out.
TEST(ExceptionGroupTest, SplitKeepsTheNesting) {
    ExceptionGroup inner("inner",
                         {error<std::invalid_argument>("a"), error<std::runtime_error>("b")});
    ExceptionGroup only("only", {error<std::runtime_error>("c")});
    ExceptionGroup outer("outer",
                         {std::make_exception_ptr(inner), error<std::invalid_argument>("d"),
                          std::make_exception_ptr(only)});
    auto [arguments, rest] = outer.split<std::invalid_argument>();
    EXPECT_EQ(shape_of(arguments), "outer[inner[a], d]");
    EXPECT_EQ(shape_of(rest), "outer[inner[b], only[c]]");
}

TEST(ExceptionGroupTest, ANestedGroupMayItselfMatch) {
    ExceptionGroup inner("inner", {error<std::runtime_error>("a")});
    ExceptionGroup outer("outer", {std::make_exception_ptr(inner), error<std::logic_error>("b")});
    EXPECT_EQ(shape_of(outer.split<ExceptionGroup>().first), "outer[inner[a]]");
    EXPECT_EQ(shape_of(outer.split<ExceptionGroup>().second), "outer[b]");
}

TEST(ExceptionGroupTest, SubgroupIsTheFirstHalfOfSplit) {
    ExceptionGroup group("g", {error<std::invalid_argument>("a"), error<std::runtime_error>("b")});
    EXPECT_EQ(shape_of(group.subgroup<std::invalid_argument>()), "g[a]");
    EXPECT_EQ(shape_of(group.subgroup<std::bad_alloc>()), "none");
}

TEST(ExceptionGroupTest, PartsShareTheMembersAndOutliveTheGroup) {
    std::exception_ptr member = error<std::invalid_argument>("a");
    std::optional<ExceptionGroup> part;
    {
        ExceptionGroup group("g", {member});
        part = group.subgroup<std::invalid_argument>();
    }
    ASSERT_TRUE(part);
    EXPECT_EQ(part->exceptions().at(0), member);
}

TEST(ExceptionGroupTest, WhatATaskGroupThrowsCanBeSplit) {
    weft::run([] {
        try {
            task_group([](TaskGroup& group) {
                auto fail_with = [&](auto exception) {
                    group.create_task(
                        [exception] {
                            cancel_message_of([] { wait_for_ever(); });
                            throw exception;
                        },
                        {.eager = true});
                };
                fail_with(std::invalid_argument("argument"));
                fail_with(std::runtime_error("runtime"));
                throw std::out_of_range("block");
            });
            ADD_FAILURE();
        } catch (const ExceptionGroup& group) {
            auto [logic, rest] = group.split<std::logic_error>();
            ASSERT_TRUE(logic && rest);
            EXPECT_EQ(logic->exceptions().size(), 2U);
            EXPECT_EQ(rest->exceptions().size(), 1U);
        }
    });
}

template <class E, class Base>
constexpr bool kIsA = std::is_base_of_v<Base, E>;

TEST(ErrorTest, RunTimeErrorsAreErrorsAndMisuseIsALogicError) {
    static_assert(kIsA<Error, std::runtime_error>);
    static_assert(kIsA<TimeoutError, Error> && kIsA<QueueEmpty, Error> && kIsA<QueueFull, Error>);
    static_assert(kIsA<QueueShutDown, Error> && kIsA<BrokenBarrierError, Error>);
    static_assert(kIsA<ExceptionGroup, Error>);
    static_assert(kIsA<InvalidStateError, std::logic_error> && kIsA<UsageError, std::logic_error>);
    static_assert(!kIsA<InvalidStateError, Error> && !kIsA<UsageError, Error>);
    static_assert(!kIsA<CancelledError, std::exception>);
    EXPECT_STREQ(TimeoutError("text").what(), "text");
    EXPECT_STRNE(TimeoutError().what(), "");
    EXPECT_EQ(CancelledError().message(), "");
    EXPECT_EQ(CancelledError("text").message(), "text");
}

}  // namespace

}  // namespace weft::test
