// Two threads hold one exception; the first has read it, and only the exception's own count orders
// that before the second destroys it. ThreadSanitizer has to know of that count, or it reports every
// task that fails (tests/support/tsan_exceptions.cpp).
#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

#include <gtest/gtest.h>

namespace {

TEST(SharedException, IsDestroyedAfterAllWhoReadIt) {
    for (int round = 0; round < 100; ++round) {
        auto error = std::make_exception_ptr(std::out_of_range("of both"));
        std::atomic<bool> has_read = false;
        std::string read;
        std::thread reader([mine = error, &has_read, &read]() mutable {
            try {
                std::rethrow_exception(std::move(mine));
            } catch (const std::out_of_range& e) {
                read = e.what();
            }
            // order: relaxed on purpose, so that it orders nothing.
            has_read.store(true, std::memory_order_relaxed);
        });
        // order: relaxed on purpose, as the store.
        while (!has_read.load(std::memory_order_relaxed)) std::this_thread::yield();
        error = nullptr;
        reader.join();
        EXPECT_EQ(read, "of both");
    }
}

}  // namespace
