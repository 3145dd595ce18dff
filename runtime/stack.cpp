#include "stack.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>

#include "check.hpp"
#include "sanitizers.hpp"
#include "sys.hpp"

namespace weft::rt {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kStacksPerSlab = 64;
// 16 pages: users' frames are probed page by page (-fstack-clash-protection), but a library that was built without
// it may jump as far as its largest frame.
constexpr std::size_t kGuardBytes = 16 * kPage;
constexpr std::uint64_t kCanary = 0x57454654'53544143;  // "WEFTSTAC"
constexpr std::size_t kCanaryWords = 8;

std::size_t round_to_pages(std::size_t bytes) noexcept {
    return (bytes + kPage - 1) & ~(kPage - 1);
}

}  // namespace

/// Slabs are never unmapped while the process lives, and linked into one list, so that the overflow handler may
/// walk it at any time.
struct StackSlab {
    std::byte* base = nullptr;
    std::size_t stride = 0;
    std::size_t count = 0;
    std::size_t free = 0;  // guarded by the pool's mutex
    StackSlab* next_all = nullptr;
    std::array<Stack, kStacksPerSlab> stacks;
};

struct StackPool::SizeClass {
    std::size_t bytes = 0;
    Stack* free = nullptr;  // last in, first out: the hottest first
    std::vector<StackSlab*> slabs;
};

namespace {

std::atomic<StackSlab*> all_slabs{nullptr};

void publish(StackSlab* slab) noexcept {
    slab->next_all = all_slabs.load();
    while (!all_slabs.compare_exchange_weak(slab->next_all, slab)) {
    }
}

void write_canary(Stack& stack) noexcept {
    auto* words = reinterpret_cast<std::uint64_t*>(stack.limit);
    std::fill(words, words + kCanaryWords, kCanary);
    stack.has_canary = true;
}

}  // namespace

void check_canary(const Stack& stack) noexcept {
    if (!stack.has_canary) return;
    const auto* words = reinterpret_cast<const std::uint64_t*>(stack.limit);
    check(std::all_of(words, words + kCanaryWords, [](std::uint64_t w) { return w == kCanary; }),
          "stack overflow: the canary below a task's stack was overwritten");
}

StackPool& StackPool::instance() noexcept {
    static auto* pool = new StackPool;  // never destroyed: threads may outlive main's statics
    return *pool;
}

StackPool::StackPool() noexcept : mprotect_budget_(sys::max_map_count() / 4) {
    void* probe = sys::map_stack_memory(kPage);
    if (probe == nullptr) return;
    if (sys::install_guard(probe, kPage) != 0) {
        guard_kind_ = GuardKind::mprotect;
        complain(
            "weft: this kernel has no light-weight guard pages (Linux 6.13 has); stacks get "
            "mprotect guards");
    }
    sys::unmap(probe, kPage);
}

StackPool::SizeClass& StackPool::class_of(std::size_t bytes) {
    for (auto& c : classes_)
        if (c->bytes == bytes) return *c;
    classes_.push_back(std::make_unique<SizeClass>());
    classes_.back()->bytes = bytes;
    return *classes_.back();
}

void StackPool::guard(Stack& stack, std::byte* base) noexcept {
    stack.guard_bytes = kGuardBytes;
    if (guard_kind_ == GuardKind::light && sys::install_guard(base, kGuardBytes) == 0) return;
    // Each guard by mprotect splits a mapping in two.
    if (2 * (guards_by_mprotect_ + 1) <= mprotect_budget_ &&
        sys::protect_none(base, kGuardBytes) == 0) {
        ++guards_by_mprotect_;
        return;
    }
    guard_kind_ = GuardKind::canary;
    write_canary(stack);
    if (!said_canary_)
        complain(
            "weft: no more guard pages within a quarter of vm.max_map_count; "
            "further stacks have canaries");
    said_canary_ = true;
}

void StackPool::grow(SizeClass& c) {
    auto slab = std::make_unique<StackSlab>();
    slab->stride = c.bytes + kGuardBytes;
    slab->count = kStacksPerSlab;
    slab->base = static_cast<std::byte*>(sys::map_stack_memory(slab->stride * slab->count));
    if (slab->base == nullptr) throw std::bad_alloc();
    c.slabs.reserve(c.slabs.size() + 1);
    for (std::size_t i = kStacksPerSlab; i-- > 0;) {
        Stack& stack = slab->stacks[i];
        std::byte* base = slab->base + i * slab->stride;
        stack.limit = base + kGuardBytes;
        stack.top = base + slab->stride - (i * 64) % 2560;
        stack.slab = slab.get();
        guard(stack, base);
        stack.next = c.free;
        c.free = &stack;
        (void)VALGRIND_STACK_REGISTER(stack.limit, stack.top);
#if WEFT_ASAN
        // What only a parked fiber points to is not leaked. Stack by stack: the leak check reads all of a region, and
        // would fault in the guards.
        __lsan_register_root_region(stack.limit, stack.size());
#endif
    }
    slab->free = kStacksPerSlab;
    c.slabs.push_back(slab.get());
    publish(slab.release());
}

Stack* StackPool::take(std::size_t bytes) {
    std::lock_guard guard(mutex_);
    SizeClass& c = class_of(round_to_pages(bytes));
    if (c.free == nullptr) grow(c);
    Stack* stack = c.free;
    c.free = stack->next;
    stack->next = nullptr;
    --stack->slab->free;
    ++live_;
    return stack;
}

Stack* StackPool::take_custom(std::size_t bytes) {
    Stack* stack = take(bytes);
    stack->custom = true;
    return stack;
}

void StackPool::give(Stack* stack) noexcept {
    check_canary(*stack);
    abandon_stack(*stack);
    std::lock_guard guard(mutex_);
    stack->custom = false;
    std::size_t bytes = stack->slab->stride - kGuardBytes;
    // Big ones are rare and their pages are worth having back at once.
    if (bytes > 1024 * 1024) {
        sys::give_back_pages(stack->limit, stack->size());
        stack->touched = false;
        if (stack->has_canary) write_canary(*stack);
    }
    for (auto& c : classes_) {
        if (c->bytes != bytes) continue;
        stack->next = c->free;
        c->free = stack;
    }
    ++stack->slab->free;
    --live_;
}

void StackPool::trim() noexcept {
    std::lock_guard guard(mutex_);
    for (auto& c : classes_) {
        for (StackSlab* slab : c->slabs) {
            if (slab->free != slab->count) continue;
            bool touched = std::any_of(slab->stacks.begin(), slab->stacks.end(),
                                       [](const Stack& s) { return s.touched; });
            if (!touched) continue;
            sys::give_back_pages(slab->base, slab->stride * slab->count);
            for (Stack& stack : slab->stacks) {
                stack.touched = false;
                if (stack.has_canary) write_canary(stack);
            }
        }
    }
}

Stack* StackPool::find(const void* address) noexcept {
    const auto* a = static_cast<const std::byte*>(address);
    for (StackSlab* slab = all_slabs.load(); slab != nullptr; slab = slab->next_all) {
        if (a < slab->base || a >= slab->base + slab->stride * slab->count) continue;
        return &slab->stacks[static_cast<std::size_t>(a - slab->base) / slab->stride];
    }
    return nullptr;
}

std::size_t StackPool::live() const noexcept {
    std::lock_guard guard(mutex_);
    return live_;
}

}  // namespace weft::rt
