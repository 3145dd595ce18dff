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

void* operator new(std::size_t bytes) {
    if (!weft::test::fails_now())
        if (void* memory = std::malloc(bytes != 0 ? bytes : 1)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
