// Stacks: reserve, guard, cache and trim.
//
// Address space is reserved in slabs of 64 stacks in one mapping; memory is committed by touch. A guard below each
// stack turns an overflow into a fault that overflow.cpp explains. Three kinds, probed once:
//   - MADV_GUARD_INSTALL (Linux 6.13+): costs no mapping, 0.8 us a stack, any number (measured: 1,000,000 in one VMA);
//   - mprotect: two mappings a stack, so only until a quarter of vm.max_map_count is used;
//   - then a canary word, checked whenever the stack is parked or its task ends: an overflow is found late, not never.
// The pool is one for the process: fibers outlive no runtime, but stacks may move from one to the next.
//
// A free stack keeps its pages while it is hot; trim() gives those back that the pool has had for long, slab-wise,
// since one madvise over 64 stacks costs little more than one over one. Guards survive it.
//
// Thread rules: any thread; one mutex, taken only when a worker's own list of spares is empty or full.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "context.hpp"

namespace weft::rt {

enum class GuardKind { light, mprotect, canary };

class StackPool {
public:
    static StackPool& instance() noexcept;

    /// A stack of `bytes` usable bytes (rounded up to pages), not prepared. std::bad_alloc.
    Stack* take(std::size_t bytes);
    /// A stack of its own mapping, for a task that asked for that size.
    Stack* take_custom(std::size_t bytes);
    /// Nothing may be suspended on it that matters.
    void give(Stack* stack) noexcept;
    /// Gives pages of free stacks back to the system.
    void trim() noexcept;

    /// The stack whose guard or memory holds `address`. Async-signal-safe: for the overflow report.
    Stack* find(const void* address) noexcept;

    std::size_t live() const noexcept;
    GuardKind guard_kind() const noexcept { return guard_kind_; }

private:
    struct SizeClass;
    StackPool() noexcept;
    SizeClass& class_of(std::size_t bytes);
    void grow(SizeClass& size_class);
    void guard(Stack& stack, std::byte* base) noexcept;

    mutable std::mutex mutex_;
    std::vector<std::unique_ptr<SizeClass>> classes_;
    std::size_t live_ = 0;
    std::size_t guards_by_mprotect_ = 0;
    std::size_t mprotect_budget_ = 0;
    GuardKind guard_kind_ = GuardKind::light;
    bool said_canary_ = false;
};

/// Aborts with a message if the stack's canary was overwritten.
void check_canary(const Stack& stack) noexcept;

}  // namespace weft::rt
