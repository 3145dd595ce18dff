#include "api/failing_new.hpp"

#include <cstdlib>
#include <limits>
#include <new>

namespace weft::test {

namespace {

constexpr int kNever = std::numeric_limits<int>::max();
thread_local int calls_left = kNever;

// Not inlined: a fiber that changed its thread must not keep the old one's address.
[[gnu::noinline]] bool fails_now() noexcept {
    bool fails = calls_left == 0;
    if (!fails && calls_left != kNever) --calls_left;
    asm volatile("" ::: "memory");
    return fails;
}

}  // namespace

FailingNew::FailingNew(int calls_before) noexcept { calls_left = calls_before; }
void FailingNew::end() noexcept { calls_left = kNever; }
}  // namespace weft::test

// All forms, since a sanitizer has its own of each, which do not go by way of these.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return weft::test::fails_now() ? nullptr : std::malloc(bytes != 0 ? bytes : 1);
}
void* operator new(std::size_t bytes) {
    if (void* memory = operator new(bytes, std::nothrow)) return memory;
    throw std::bad_alloc();
}
void* operator new[](std::size_t bytes, const std::nothrow_t& no_throw) noexcept {
    return operator new(bytes, no_throw);
}
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
