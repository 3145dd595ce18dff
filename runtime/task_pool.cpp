#include "task_pool.hpp"

#include <new>

#if WEFT_ASAN
extern "C" void __asan_poison_memory_region(const volatile void* begin, std::size_t size);
#endif

namespace weft::rt {

using detail::kTaskBlockBytes;

static_assert(kTaskBlockBytes[TaskPool::kClasses - 1] ==
              detail::kTaskPayloadOffset + detail::kTaskPayloadMax);
static_assert(kTaskBlockBytes[0] > detail::kTaskPayloadOffset);

#if WEFT_ASAN
namespace {

std::size_t payload_bytes(const TaskCore& block) noexcept {
    return kTaskBlockBytes[block.size_class] - detail::kTaskPayloadOffset;
}

}  // namespace

void poison(TaskCore& block) noexcept {
    __asan_poison_memory_region(detail::task_payload(block), payload_bytes(block));
}

TaskCore* unpoison(TaskCore* block) noexcept {
    __asan_unpoison_memory_region(detail::task_payload(*block), payload_bytes(*block));
    return block;
}
#endif

TaskPool& TaskPool::instance() noexcept {
    static auto* pool = new TaskPool;  // never destroyed: handles may outlive main's statics
    return *pool;
}

void TaskPool::carve(std::size_t c) {
    auto* memory = static_cast<std::byte*>(::operator new(kSlabBytes, std::align_val_t{64}));
    auto* slab = new (memory)
        Slab{slabs_, kTaskBlockBytes[c], (kSlabBytes - kSlabHeader) / kTaskBlockBytes[c]};
    slabs_ = slab;
    for (std::size_t i = slab->count; i-- > 0;) {
        auto* block = new (slab->block(i)) TaskCore;
        block->size_class = static_cast<std::uint8_t>(c);
        block->next = free_[c];
        free_[c] = block;
        poison(*block);
    }
}

std::size_t TaskPool::take_batch(std::size_t c, std::size_t most, TaskCore** first) {
    if (free_[c] == nullptr) carve(c);
    *first = free_[c];
    TaskCore* last = *first;
    std::size_t n = 1;
    while (n < most && last->next != nullptr) {
        last = last->next;
        ++n;
    }
    free_[c] = last->next;
    last->next = nullptr;
    return n;
}

TaskCore* TaskPool::take(std::size_t c) {
    std::lock_guard guard(mutex_);
    TaskCore* block = nullptr;
    take_batch(c, 1, &block);
    return unpoison(block);
}

void TaskPool::give(TaskCore* block) noexcept {
    poison(*block);
    std::lock_guard guard(mutex_);
    block->next = free_[block->size_class];
    free_[block->size_class] = block;
}

void TaskPool::Cache::refill(std::size_t c) {
    TaskPool& pool = instance();
    std::lock_guard guard(pool.mutex_);
    lists_[c].size = pool.take_batch(c, kBatch, &lists_[c].first);
}

// So that a worker that only frees and one that only spawns meet in the depot.
void TaskPool::Cache::give_half_back(std::size_t c) noexcept {
    List& list = lists_[c];
    TaskCore* first = list.first;
    TaskCore* last = first;
    std::size_t n = list.size / 2;
    for (std::size_t i = 1; i < n; ++i) last = last->next;
    list.first = last->next;
    list.size -= n;
    TaskPool& pool = instance();
    std::lock_guard guard(pool.mutex_);
    last->next = pool.free_[c];
    pool.free_[c] = first;
}

void TaskPool::Cache::flush() noexcept {
    for (List& list : lists_) {
        while (list.first != nullptr) {
            TaskCore* block = list.first;
            list.first = block->next;
            instance().give(block);
        }
        list.size = 0;
    }
}

}  // namespace weft::rt
