// The C++ exception state belongs to the task: what a catch block handles, and how many exceptions are in flight.
//
// It is per thread in the ABI. Without care, a task that waits inside a catch block sees another one's exception, or
// none; `throw;` rethrows the wrong one or terminates; uncaught_exceptions() goes below zero.
#include <weft/weft.hpp>

#include <exception>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include "support/migrate.hpp"

namespace {

using weft::test_support::migrate;

enum class Moves { no, yes };

class ExceptionState : public testing::TestWithParam<Moves> {
protected:
    /// Two tasks whose waits lie across each other.
    template <class Body>
    void run(Body body) {
        bool moves = GetParam() == Moves::yes;
        auto wait = [moves] {
            for (int i = 0; i < 3; ++i) {
                weft::yield();
                if (moves) migrate();
            }
        };
        weft::run(
            [&] {
                weft::task_group([&](weft::TaskGroup& group) {
                    for (int i = 0; i < 2; ++i) group.create_task([&, i] { body(i, wait); });
                    for (int i = 0; i < 4; ++i) {
                        weft::yield();
                        EXPECT_EQ(std::current_exception(), nullptr);
                        EXPECT_EQ(std::uncaught_exceptions(), 0);
                    }
                });
                EXPECT_EQ(std::uncaught_exceptions(), 0);
            },
            {.workers = moves ? 2u : 1u});
        EXPECT_EQ(std::current_exception(), nullptr);
        EXPECT_EQ(std::uncaught_exceptions(), 0);
    }
};

INSTANTIATE_TEST_SUITE_P(Worker, ExceptionState, testing::Values(Moves::no, Moves::yes),
                         [](const auto& p) { return p.param == Moves::no ? "Same" : "Migrated"; });

std::string text_of(const std::exception_ptr& error) {
    if (error == nullptr) return "none";
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return e.what();
    }
}

TEST_P(ExceptionState, CurrentExceptionIsTheTasksOwn) {
    run([](int number, auto wait) {
        std::string mine = "error of " + std::to_string(number);
        try {
            throw std::runtime_error(mine);
        } catch (const std::exception& e) {
            wait();
            EXPECT_EQ(text_of(std::current_exception()), mine);
            EXPECT_EQ(e.what(), mine);
        }
        wait();
        EXPECT_EQ(std::current_exception(), nullptr);
    });
}

TEST_P(ExceptionState, ARethrowIsOfTheTasksOwn) {
    run([](int number, auto wait) {
        std::string mine = "error of " + std::to_string(number);
        std::string caught;
        try {
            try {
                throw std::runtime_error(mine);
            } catch (...) {
                wait();
                throw;
            }
        } catch (const std::exception& e) {
            caught = e.what();
        }
        EXPECT_EQ(caught, mine);
    });
}

TEST_P(ExceptionState, AWaitDuringUnwindingKeepsTheCount) {
    run([](int, auto wait) {
        struct Waiting {
            decltype(wait)& wait_in_destructor;
            ~Waiting() {
                EXPECT_EQ(std::uncaught_exceptions(), 1);
                wait_in_destructor();
                EXPECT_EQ(std::uncaught_exceptions(), 1);
            }
        };
        try {
            Waiting waiting{wait};
            throw std::runtime_error("unwinding");
        } catch (const std::exception& e) {
            EXPECT_STREQ(e.what(), "unwinding");
            EXPECT_EQ(std::uncaught_exceptions(), 0);
        }
        wait();
        EXPECT_EQ(std::uncaught_exceptions(), 0);
    });
}

TEST_P(ExceptionState, ExceptionsMayBeThrownAndCaughtBetweenWaitsInACatch) {
    run([](int number, auto wait) {
        std::string mine = "outer " + std::to_string(number);
        try {
            throw std::runtime_error(mine);
        } catch (...) {
            for (int i = 0; i < 3; ++i) {
                try {
                    wait();
                    throw std::logic_error("inner " + std::to_string(i));
                } catch (const std::logic_error& e) {
                    wait();
                    EXPECT_EQ(e.what(), "inner " + std::to_string(i));
                }
                EXPECT_EQ(text_of(std::current_exception()), mine);
            }
        }
    });
}

// A child that is run inline in a catch block, or while its parent unwinds, begins with a clean state.
TEST_P(ExceptionState, AnInlineChildDoesNotSeeItsParentsException) {
    run([](int number, auto wait) {
        std::string mine = "parent " + std::to_string(number);
        try {
            throw std::runtime_error(mine);
        } catch (...) {
            auto child = weft::create_task([&] {
                EXPECT_EQ(std::current_exception(), nullptr);
                wait();
                EXPECT_EQ(std::current_exception(), nullptr);
                throw std::logic_error("child");
            });
            EXPECT_THROW(weft::await(child), std::logic_error);
            EXPECT_EQ(text_of(std::current_exception()), mine);
        }
    });
}

}  // namespace
