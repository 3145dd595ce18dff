// Blocks for tasks: [TaskCore | callable | result], in a few sizes, handed out from per-worker lists.
//
// A TaskCore is constructed once, when its slab is made, and never destroyed; a new task resets it. Slabs stay until
// the process ends. This type-stable memory buys two things that a general allocator cannot give: the registry of
// all tasks costs nothing when a task is made or ends (it walks the slabs and looks at the words), and a canceller
// may follow a pointer to a task that has just ended. And it is quick: a list per worker, exchanged in batches with
// a shared depot. Rejected: malloc (9 ns a pair here, 31 in batches of 1,000, and no registry).
//
// A callable or result that does not fit the largest size is boxed by the template that makes the task.
//
// With AddressSanitizer the part of a free block behind the TaskCore is poisoned.
#pragma once

#include <weft/lowlevel.hpp>

#include <array>
#include <cstddef>
#include <iterator>
#include <mutex>

#include "sanitizers.hpp"

namespace weft::rt {

using detail::TaskCore;

#if WEFT_ASAN
void poison(TaskCore& block) noexcept;
TaskCore* unpoison(TaskCore* block) noexcept;
#else
inline void poison(TaskCore&) noexcept {}
inline TaskCore* unpoison(TaskCore* block) noexcept { return block; }
#endif

class TaskPool {
public:
    static constexpr std::size_t kClasses = std::size(detail::kTaskBlockBytes);
    static constexpr std::size_t kBatch = 64;

    /// A worker's own store. Owner thread only.
    class Cache {
    public:
        ~Cache() { flush(); }
        TaskCore* take(std::size_t size_class) {
            List& list = lists_[size_class];
            if (list.first == nullptr) [[unlikely]]
                refill(size_class);
            TaskCore* block = list.first;
            list.first = block->next;
            --list.size;
            return unpoison(block);
        }
        void give(TaskCore* block) noexcept {
            poison(*block);
            List& list = lists_[block->size_class];
            block->next = list.first;
            list.first = block;
            if (++list.size >= kMost) [[unlikely]]
                give_half_back(block->size_class);
        }
        void flush() noexcept;

    private:
        void refill(std::size_t size_class);
        void give_half_back(std::size_t size_class) noexcept;
        // Four batches: what a task that spawns a thousand and joins them needs stays here.
        static constexpr std::size_t kMost = 32 * kBatch;
        struct List {
            TaskCore* first = nullptr;
            std::size_t size = 0;
        };
        std::array<List, kClasses> lists_;
    };

    static TaskPool& instance() noexcept;

    /// From outside of any worker. std::bad_alloc.
    TaskCore* take(std::size_t size_class);
    void give(TaskCore* block) noexcept;

    /// Calls f(TaskCore&) for every block there is; f must use try_add_ref() before it believes what it sees.
    template <class F>
    void for_each(F&& f) {
        std::lock_guard guard(mutex_);
        for (Slab* slab = slabs_; slab != nullptr; slab = slab->next)
            for (std::size_t i = 0; i < slab->count; ++i) f(*slab->block(i));
    }

private:
    struct Slab {
        Slab* next;
        std::size_t block_bytes;
        std::size_t count;
        TaskCore* block(std::size_t i) noexcept {
            auto* first = reinterpret_cast<std::byte*>(this) + kSlabHeader;
            return reinterpret_cast<TaskCore*>(first + i * block_bytes);
        }
    };
    static constexpr std::size_t kSlabHeader = 64;
    static constexpr std::size_t kSlabBytes = 256 * 1024;

    /// Under mutex_: up to `most` blocks in a list linked by `next`; returns how many.
    std::size_t take_batch(std::size_t size_class, std::size_t most, TaskCore** first);
    void carve(std::size_t size_class);

    std::mutex mutex_;
    Slab* slabs_ = nullptr;
    std::array<TaskCore*, kClasses> free_{};
};

}  // namespace weft::rt
