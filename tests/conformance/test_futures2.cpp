// test_futures2.py: errors of futures, and the context in which an exception handler is told of them.
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_futures2, FutureTests);

ContextVar<std::string> name{"name", "foo"};

// An error that is thrown again and again stays what it was.
TEST_P(FutureTests, test_future_traceback) {
    run([] {
        auto task = create_task([] { throw std::domain_error("42"); });
        const std::domain_error* first = nullptr;
        for (int i = 0; i < 5; ++i) {
            try {
                await(task);
                ADD_FAILURE() << "nothing thrown";
            } catch (const std::domain_error& error) {
                EXPECT_STREQ(error.what(), "42");
                if (first == nullptr) first = &error;
                EXPECT_EQ(&error, first);
            }
        }
    });
}

/// A handler that keeps the name it is called with.
class Names {
public:
    RunOptions options() {
        return {.exception_handler = [this](const ExceptionContext&) {
            std::lock_guard guard(mutex_);
            seen_.push_back(name.get());
        }};
    }
    std::vector<std::string> take() {
        std::lock_guard guard(mutex_);
        return std::exchange(seen_, {});
    }
    std::size_t size() {
        std::lock_guard guard(mutex_);
        return seen_.size();
    }

private:
    std::mutex mutex_;
    std::vector<std::string> seen_;
};

void set_name_and_fail() {
    name.set("bar");
    throw std::domain_error("division");
}

TEST_P(FutureTests, test_task_exc_handler_correct_context) {
    Names names;
    run(names.options(), [&] {
        create_task(set_name_and_fail);
        yield_until([&] { return names.size() != 0; });
        EXPECT_EQ(names.take(), std::vector<std::string>{"bar"});
        EXPECT_EQ(name.get(), "foo");
    });
}

TEST_P(FutureTests, test_handle_exc_handler_correct_context) {
    Names names;
    run(names.options(), [&] {
        current_runtime().post(set_name_and_fail);
        yield_until([&] { return names.size() != 0; });
        EXPECT_EQ(names.take(), std::vector<std::string>{"bar"});
        EXPECT_EQ(name.get(), "foo");
    });
}

}  // namespace

}  // namespace weft::test
