// test_futures.py: done callbacks, which are taken back by the id that adding them gives.
#include <memory>
#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

namespace {

WEFT_CONFORMS(test_futures, BaseFutureDoneCallbackTests);

/// What callbacks put into it, in order where there is one worker, and sorted elsewhere.
class Bag {
public:
    auto put(int thing) {
        return [this, thing](const Future<std::string>&) {
            std::lock_guard guard(mutex_);
            things_.push_back(thing);
        };
    }
    std::vector<int> things(bool in_order) {
        settle();
        std::lock_guard guard(mutex_);
        if (!in_order) std::sort(things_.begin(), things_.end());
        return things_;
    }

private:
    std::mutex mutex_;
    std::vector<int> things_;
};

std::vector<int> in(bool order, std::vector<int> things) {
    if (!order) std::sort(things.begin(), things.end());
    return things;
}

TEST_P(BaseFutureDoneCallbackTests, test_callbacks_remove_first_callback) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        CallbackId first = future.add_done_callback(bag.put(42));
        future.add_done_callback(bag.put(17));
        future.add_done_callback(bag.put(100));
        EXPECT_EQ(future.remove_done_callback(first), 1U);
        EXPECT_EQ(future.remove_done_callback(first), 0U);
        EXPECT_TRUE(bag.things(alone()).empty());
        future.set_result("foo");
        EXPECT_EQ(bag.things(alone()), in(alone(), {17, 100}));
        EXPECT_EQ(future.result(), "foo");
    });
}

TEST_P(BaseFutureDoneCallbackTests, test_callbacks_remove_first_and_second_callback) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        CallbackId first = future.add_done_callback(bag.put(42));
        CallbackId second = future.add_done_callback(bag.put(17));
        future.add_done_callback(bag.put(100));
        EXPECT_EQ(future.remove_done_callback(first), 1U);
        EXPECT_EQ(future.remove_done_callback(second), 1U);
        EXPECT_EQ(future.remove_done_callback(first), 0U);
        future.set_result("foo");
        EXPECT_EQ(bag.things(alone()), std::vector<int>{100});
        EXPECT_EQ(future.result(), "foo");
    });
}

TEST_P(BaseFutureDoneCallbackTests, test_callbacks_remove_third_callback) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        future.add_done_callback(bag.put(42));
        future.add_done_callback(bag.put(17));
        CallbackId third = future.add_done_callback(bag.put(100));
        EXPECT_EQ(future.remove_done_callback(third), 1U);
        EXPECT_EQ(future.remove_done_callback(third), 0U);
        future.set_result("foo");
        EXPECT_EQ(bag.things(alone()), in(alone(), {42, 17}));
        EXPECT_EQ(future.result(), "foo");
    });
}

TEST_P(BaseFutureDoneCallbackTests, test_callbacks_invoked_on_set_result) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        future.add_done_callback(bag.put(42));
        future.add_done_callback(bag.put(17));
        EXPECT_TRUE(bag.things(alone()).empty());
        future.set_result("foo");
        EXPECT_EQ(bag.things(alone()), in(alone(), {42, 17}));
        EXPECT_EQ(future.result(), "foo");
    });
}

TEST_P(BaseFutureDoneCallbackTests, test_callbacks_invoked_on_set_exception) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        future.add_done_callback(bag.put(100));
        EXPECT_TRUE(bag.things(alone()).empty());
        std::exception_ptr error = std::make_exception_ptr(std::runtime_error("error"));
        future.set_exception(error);
        EXPECT_EQ(bag.things(alone()), std::vector<int>{100});
        EXPECT_EQ(future.exception(), error);
    });
}

// An id is one adding of a callback: the same callable, added again, has another.
TEST_P(BaseFutureDoneCallbackTests, test_remove_done_callback) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        Future<std::string> other;
        auto one = bag.put(1);
        auto two = bag.put(2);
        std::vector<CallbackId> ones{future.add_done_callback(one)};
        CallbackId two_at_first = future.add_done_callback(two);
        EXPECT_EQ(future.remove_done_callback(two_at_first), 1U);
        EXPECT_EQ(future.remove_done_callback(CallbackId{}), 0U);
        EXPECT_EQ(future.remove_done_callback(other.add_done_callback(one)), 0U)
            << "the id of another future's";
        CallbackId two_again = future.add_done_callback(two);
        EXPECT_FALSE(two_again == two_at_first);
        for (int i = 0; i < 5; ++i) ones.push_back(future.add_done_callback(one));
        std::size_t removed = 0;
        for (CallbackId id : ones) removed += future.remove_done_callback(id);
        EXPECT_EQ(removed, 6U);
        future.set_result("foo");
        EXPECT_EQ(bag.things(alone()), std::vector<int>{2});
        EXPECT_EQ(future.result(), "foo");
    });
}

// A callback takes back others of the same future: too late, where all were scheduled before it could run.
TEST_P(BaseFutureDoneCallbackTests, test_schedule_callbacks_list_mutation_1) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        std::vector<CallbackId> later;
        std::atomic<std::size_t> removed = 0;
        future.add_done_callback([&](const Future<std::string>& done) {
            for (CallbackId id : later) removed += done.remove_done_callback(id);
        });
        for (int i = 0; i < 2; ++i) later.push_back(future.add_done_callback(bag.put(i)));
        future.set_result("foo");
        EXPECT_EQ(bag.things(alone()).size() + removed, 2U);
        if (alone()) {
            EXPECT_EQ(removed, 0U);
        }
    });
}

// --- while the list changes ---------------------------------------------------------------------------------------

// Ids are compared by weft alone, where Python asks the callbacks. But what is taken back is destroyed, and its destructor
// may change the list.

/// Does something when it is destroyed.
template <class F>
auto callback_that_ends_with(F f) {
    std::shared_ptr<void> at_end(nullptr, [f](void*) { f(); });
    return [at_end = std::move(at_end)](const Future<std::string>&) {};
}

// It takes back all the others.
TEST_P(BaseFutureDoneCallbackTests, test_remove_done_callbacks_list_mutation) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        std::vector<CallbackId> others;
        std::size_t removed = 0;
        CallbackId evil = future.add_done_callback(callback_that_ends_with([&] {
            for (CallbackId id : others) removed += future.remove_done_callback(id);
        }));
        for (int i = 0; i < 63; ++i) others.push_back(future.add_done_callback(bag.put(i)));
        EXPECT_EQ(future.remove_done_callback(evil), 1U);
        EXPECT_EQ(removed, 63U);
        future.set_result("foo");
        EXPECT_TRUE(bag.things(alone()).empty());
    });
}

// Each takes back the next one.
TEST_P(BaseFutureDoneCallbackTests, test_remove_done_callbacks_list_clear) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        std::vector<CallbackId> evil;
        std::size_t removed = 0;
        for (std::size_t i = 0; i < 64; ++i)
            evil.push_back(future.add_done_callback(callback_that_ends_with([&, i] {
                if (i + 1 < evil.size()) removed += future.remove_done_callback(evil[i + 1]);
            })));
        future.add_done_callback(bag.put(1));
        EXPECT_EQ(future.remove_done_callback(evil[0]), 1U);
        EXPECT_EQ(removed, 63U);
        future.set_result("foo");
        EXPECT_EQ(bag.things(alone()), std::vector<int>{1});
    });
}

// It adds others.
TEST_P(BaseFutureDoneCallbackTests, test_schedule_callbacks_list_mutation_2) {
    run([&] {
        Bag bag;
        Future<std::string> future;
        CallbackId evil = future.add_done_callback(callback_that_ends_with([&] {
            for (int i = 0; i < 100; ++i) future.add_done_callback(bag.put(i));
        }));
        for (int i = 0; i < 63; ++i) future.add_done_callback(bag.put(-1));
        EXPECT_EQ(future.remove_done_callback(evil), 1U);
        future.set_result("foo");
        std::vector<int> things = bag.things(alone());
        ASSERT_EQ(things.size(), 163U);
        EXPECT_TRUE(std::is_sorted(things.begin(), things.end())) << "the late ones come last";
    });
}

}  // namespace

}  // namespace weft::test
