// Blocks for tasks: of the right size, never given out twice, found again by the registry.
#include "task_pool.hpp"

#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace weft::rt {
namespace {

TEST(TaskPool, ASizeClassIsTheSmallestThatFits) {
    for (std::size_t bytes = 0; bytes <= detail::kTaskPayloadMax; ++bytes) {
        std::size_t c = detail::size_class_of(bytes);
        ASSERT_LT(c, TaskPool::kClasses);
        EXPECT_GE(detail::kTaskBlockBytes[c], detail::kTaskPayloadOffset + bytes);
        if (c > 0) {
            EXPECT_LT(detail::kTaskBlockBytes[c - 1], detail::kTaskPayloadOffset + bytes);
        }
    }
}

TEST(TaskPool, BlocksAreDistinctWholeAndAligned) {
    for (std::size_t c = 0; c < TaskPool::kClasses; ++c) {
        TaskPool::Cache cache;
        std::set<TaskCore*> blocks;
        for (int i = 0; i < 5'000; ++i) {
            TaskCore* block = cache.take(c);
            ASSERT_TRUE(blocks.insert(block).second) << "a block was given out twice";
            ASSERT_EQ(block->size_class, c);
            auto payload = reinterpret_cast<std::uintptr_t>(detail::task_payload(*block));
            ASSERT_EQ(payload % 16, 0u);
            // The whole payload is the task's; with AddressSanitizer this would be reported otherwise.
            auto* bytes = static_cast<unsigned char*>(detail::task_payload(*block));
            bytes[0] = 1;
            bytes[detail::kTaskBlockBytes[c] - detail::kTaskPayloadOffset - 1] = 2;
        }
        auto next = blocks.begin();
        for (TaskCore* block : blocks) {
            if (++next == blocks.end()) break;
            auto distance =
                reinterpret_cast<std::byte*>(*next) - reinterpret_cast<std::byte*>(block);
            ASSERT_GE(static_cast<std::size_t>(distance), detail::kTaskBlockBytes[c])
                << "two blocks overlap";
        }
        for (TaskCore* block : blocks) cache.give(block);
    }
}

TEST(TaskPool, TheHottestBlockIsUsedFirst) {
    TaskPool::Cache cache;
    TaskCore* first = cache.take(0);
    TaskCore* second = cache.take(0);
    cache.give(first);
    cache.give(second);
    EXPECT_EQ(cache.take(0), second);
    EXPECT_EQ(cache.take(0), first);
    cache.give(first);
    cache.give(second);
}

TEST(TaskPool, TheRegistryMeetsEveryLiveBlockOnce) {
    TaskPool::Cache cache;
    std::multiset<TaskCore*> found;
    std::vector<TaskCore*> mine;
    for (int i = 0; i < 300; ++i) {
        mine.push_back(cache.take(static_cast<std::size_t>(i) % TaskPool::kClasses));
        mine.back()->word.reset(1);
    }
    TaskPool::instance().for_each([&](TaskCore& block) {
        if (block.word.try_add_ref()) found.insert(&block);
    });
    EXPECT_EQ(found, std::multiset<TaskCore*>(mine.begin(), mine.end()));
    for (TaskCore* block : mine) {
        block->word.reset(0);
        cache.give(block);
    }
}

// One thread only makes tasks and another only ends them.
TEST(TaskPool, BlocksComeBackThroughTheDepot) {
    std::set<TaskCore*> seen;
    for (int round = 0; round < 20; ++round) {
        std::vector<TaskCore*> blocks;
        TaskPool::Cache maker;
        for (int i = 0; i < 10'000; ++i) blocks.push_back(maker.take(1));
        seen.insert(blocks.begin(), blocks.end());
        std::thread([&] {
            TaskPool::Cache ender;
            for (TaskCore* block : blocks) ender.give(block);
        }).join();
    }
    EXPECT_LT(seen.size(), 20'000u) << "blocks pile up where they are freed";
}

}  // namespace
}  // namespace weft::rt
