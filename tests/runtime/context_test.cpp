// The stack switch by itself: exception state, registers, alignment, and moving to another thread.
//
// Two workers that run no loop stand for two threads. A fiber is a stack with a function; it gives control back to the
// native stack of the worker that it runs on.
#include "context.hpp"

#include <cfenv>
#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "scheduler.hpp"
#include "stack.hpp"
#include "switch.hpp"

namespace weft::rt {
namespace {

/// A worker whose thread is the calling one, while it lives.
class Here {
public:
    explicit Here(Worker& worker) : worker_(worker) {
        adopt_thread_stack(native_);
        worker.exceptions = exception_state_of_this_thread();
        worker.stack = &native_;
    }
    ~Here() { worker_.stack = nullptr; }
    Worker& worker() { return worker_; }
    Stack& native() { return native_; }

private:
    Worker& worker_;
    Stack native_;
};

class Fiber {
public:
    explicit Fiber(std::function<void(Fiber&)> body)
        : body_(std::move(body)), stack_(StackPool::instance().take(256 * 1024)) {
        prepare_stack(*stack_, [](Worker& worker) {
            Fiber& self = *starting;
            self.on_ = &worker;
            self.body_(self);
            self.done_ = true;
            for (;;) self.rest();
        });
    }
    ~Fiber() { StackPool::instance().give(stack_); }

    /// From a native stack: runs the fiber until it rests.
    void go_on(Here& here) {
        starting = this;
        back_ = &here.native();
        switch_stack(here.worker(), here.native(), *stack_, nullptr, nullptr);
    }
    /// From the fiber. Returns on whatever thread goes on with it.
    void rest() { on_ = &switch_stack(*on_, *stack_, *back_, nullptr, nullptr); }
    bool done() const { return done_; }
    Worker& on() const { return *on_; }

private:
    static inline Fiber* starting = nullptr;
    std::function<void(Fiber&)> body_;
    Stack* stack_;
    Stack* back_ = nullptr;
    Worker* on_ = nullptr;
    bool done_ = false;
};

enum class Moves { no, yes };

class ContextTest : public testing::TestWithParam<Moves> {
protected:
    ContextTest() : scheduler_(SchedulerOptions{.workers = 2}) {}

    /// Both fibers to their first rest on this thread; then each to its end, here or on another thread.
    void run(std::function<void(Fiber&, int)> body) {
        Fiber first([&](Fiber& f) { body(f, 0); });
        Fiber second([&](Fiber& f) { body(f, 1); });
        Here here(*scheduler_.workers()[0]);
        first.go_on(here);
        second.go_on(here);
        expect_clean();
        auto finish = [&](Here& there) {
            while (!first.done() || !second.done()) {
                first.go_on(there);
                second.go_on(there);
                expect_clean();
            }
        };
        if (GetParam() == Moves::no) {
            finish(here);
        } else {
            std::thread([&] {
                Here there(*scheduler_.workers()[1]);
                finish(there);
            }).join();
        }
        expect_clean();
    }
    static void expect_clean() {
        EXPECT_EQ(std::current_exception(), nullptr) << "a fiber's exception is seen outside of it";
        EXPECT_EQ(std::uncaught_exceptions(), 0);
    }

    Scheduler scheduler_;
};

INSTANTIATE_TEST_SUITE_P(Threads, ContextTest, testing::Values(Moves::no, Moves::yes),
                         [](const auto& p) { return p.param == Moves::no ? "Same" : "Migrated"; });

std::string text_of(const std::exception_ptr& error) {
    if (error == nullptr) return "none";
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return e.what();
    }
}

TEST_P(ContextTest, AFiberThatRestsInACatchKeepsItsCurrentException) {
    run([](Fiber& fiber, int number) {
        try {
            throw std::runtime_error(std::to_string(number));
        } catch (const std::exception& e) {
            fiber.rest();
            EXPECT_EQ(text_of(std::current_exception()), std::to_string(number));
            EXPECT_EQ(e.what(), std::to_string(number));
        }
        EXPECT_EQ(std::current_exception(), nullptr);
    });
}

TEST_P(ContextTest, AFiberThatRestsInACatchRethrowsItsOwn) {
    run([](Fiber& fiber, int number) {
        std::string caught;
        try {
            try {
                throw std::runtime_error(std::to_string(number));
            } catch (...) {
                fiber.rest();
                throw;
            }
        } catch (const std::exception& e) {
            caught = e.what();
        }
        EXPECT_EQ(caught, std::to_string(number));
    });
}

TEST_P(ContextTest, AFiberThatRestsWhileItUnwindsKeepsItsCount) {
    struct Resting {
        Fiber& fiber;
        ~Resting() {
            EXPECT_EQ(std::uncaught_exceptions(), 1);
            fiber.rest();
            EXPECT_EQ(std::uncaught_exceptions(), 1);
        }
    };
    run([](Fiber& fiber, int) {
        try {
            Resting resting{fiber};
            throw std::runtime_error("unwinding");
        } catch (const std::exception&) {
            EXPECT_EQ(std::uncaught_exceptions(), 0);
        }
        EXPECT_EQ(std::uncaught_exceptions(), 0);
    });
}

TEST_P(ContextTest, NestedCatchesComeBackInTheirOrder) {
    run([](Fiber& fiber, int number) {
        auto name = [number](const char* which) { return which + std::to_string(number); };
        try {
            throw std::runtime_error(name("outer"));
        } catch (...) {
            try {
                throw std::runtime_error(name("inner"));
            } catch (...) {
                fiber.rest();
                EXPECT_EQ(text_of(std::current_exception()), name("inner"));
            }
            fiber.rest();
            EXPECT_EQ(text_of(std::current_exception()), name("outer"));
        }
    });
}

TEST_P(ContextTest, TheRoundingModeIsTheFibersOwn) {
    run([](Fiber& fiber, int number) {
        int mine = number == 0 ? FE_UPWARD : FE_DOWNWARD;
        EXPECT_EQ(std::fegetround(), FE_TONEAREST);
        std::fesetround(mine);
        fiber.rest();
        EXPECT_EQ(std::fegetround(), mine);
        volatile double one = 1, three = 3;
        bool up = one / three * three > 1 || one / three > 0.33333333333333331;
        EXPECT_EQ(up, number == 0);
    });
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
}

TEST_P(ContextTest, LocalsAreAlignedAsAsked) {
    run([](Fiber& fiber, int) {
        struct alignas(64) Line {
            char bytes[64];
        };
        for (int i = 0; i < 3; ++i) {
            Line line{};
            asm volatile("" : : "r"(&line) : "memory");
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&line) % 64, 0u);
            // Uses movaps on its own frame.
            char text[64];
            std::snprintf(text, sizeof text, "%Lf", 1.5L);
            EXPECT_STREQ(text, "1.500000");
            fiber.rest();
        }
    });
}

TEST_P(ContextTest, AFiberKnowsOnWhichWorkerItGoesOn) {
    auto& workers = scheduler_.workers();
    bool moves = GetParam() == Moves::yes;
    run([&](Fiber& fiber, int) {
        EXPECT_EQ(&fiber.on(), workers[0].get());
        fiber.rest();
        EXPECT_EQ(&fiber.on(), workers[moves ? 1 : 0].get());
    });
}

TEST_P(ContextTest, WhatShallBeDoneAfterTheSwitchIsDoneOnTheNewStack) {
    struct Note {
        Stack* left = nullptr;
        const void* ran_at = nullptr;
    } note;
    Stack* stack = StackPool::instance().take(64 * 1024);
    prepare_stack(*stack, [](Worker& worker) {
        static Stack* native = nullptr;
        native = worker.stack;
        for (;;) {
            auto& target = *static_cast<Stack*>(native->next);
            switch_stack(worker, *native, target, nullptr, nullptr);
        }
    });
    Here here(*scheduler_.workers()[0]);
    stack->next = &here.native();
    auto after = [](Worker&, Stack& left, void* argument) noexcept {
        auto& n = *static_cast<Note*>(argument);
        n.left = &left;
        n.ran_at = __builtin_frame_address(0);
    };
    switch_stack(here.worker(), here.native(), *stack, after, &note);
    EXPECT_EQ(note.left, &here.native());
    auto* at = static_cast<const std::byte*>(note.ran_at);
    EXPECT_TRUE(at >= stack->limit && at < stack->top);
    stack->next = nullptr;
    StackPool::instance().give(stack);
}

}  // namespace
}  // namespace weft::rt
