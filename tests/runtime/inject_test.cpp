// The queue from outside: first in, first out, from any thread.
#include "inject.hpp"

#include <atomic>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace weft::rt {
namespace {

using detail::TaskCore;

TEST(Inject, FirstInFirstOut) {
    std::vector<TaskCore> tasks(3);
    Inject queue;
    EXPECT_EQ(queue.pop(), nullptr);
    for (TaskCore& task : tasks) queue.push(task);
    EXPECT_EQ(queue.size(), 3u);
    for (TaskCore& task : tasks) EXPECT_EQ(queue.pop(), &task);
    EXPECT_TRUE(queue.empty());
    queue.push(tasks[0]);
    EXPECT_EQ(queue.pop(), &tasks[0]);
    EXPECT_EQ(queue.pop(), nullptr);
}

TEST(Inject, ManyPushersAndPoppersLoseNothing) {
    constexpr std::size_t kThreads = 3;
    constexpr std::size_t kEach = 20'000;
    std::vector<TaskCore> tasks(kThreads * kEach);
    for (TaskCore& task : tasks) task.number = 0;
    Inject queue;
    std::atomic<std::size_t> popped{0};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t i = 0; i < kEach; ++i) queue.push(tasks[t * kEach + i]);
        });
        threads.emplace_back([&] {
            while (popped.load() < tasks.size())
                if (TaskCore* task = queue.pop()) {
                    ++task->number;
                    popped.fetch_add(1);
                }
        });
    }
    for (std::thread& thread : threads) thread.join();
    for (TaskCore& task : tasks) ASSERT_EQ(task.number, 1u);
    EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace weft::rt
