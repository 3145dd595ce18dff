// Context variables below their types: an immutable map, shared by reference count, replaced when a variable is set.
//
// A task starts with its creator's map: one count up, or nothing at all while no variable was ever set. Setting one
// makes a new map for the setter alone, so a child's sets are invisible to its parent. A weft::Context is a box that
// holds a map and may be used by tasks as their own; such a task's `context` points to the box, with its low bit set.
#pragma once

#include <weft/detail/spin_lock.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace weft::detail {

struct ContextMap {
    std::atomic<std::uint32_t> refs{1};
    /// By variable; sorted by key. The values are immutable and shared.
    std::vector<std::pair<std::uint64_t, std::shared_ptr<const void>>> entries;

    const std::shared_ptr<const void>* find(std::uint64_t key) const noexcept;
};

struct ContextBox {
    std::atomic<std::uint32_t> refs{1};
    SpinLock lock;
    std::atomic<ContextMap*> map{nullptr};  // guarded by lock; null may be read without it
};

// A "context" is a void*: null, a ContextMap*, or a ContextBox* with its low bit set.
void* context_retain(void* context) noexcept;
void context_release(void* context) noexcept;
/// What a new task starts with: the map alone, though the creator runs in a box.
void* context_snapshot(void* context) noexcept;
void* context_of_box(ContextBox* box) noexcept;

/// The context of the running task, or of this thread outside of one.
void* current_context() noexcept;
/// Puts another one in its place and returns the one before; no counts change.
void* exchange_context(void* context) noexcept;

/// The value of a variable in the current context, or null.
std::shared_ptr<const void> context_get(std::uint64_t key) noexcept;
/// Sets it (null: unsets it) in the current context; returns the value before. std::bad_alloc.
std::shared_ptr<const void> context_set(std::uint64_t key, std::shared_ptr<const void> value);
void check_token_unused(bool used, const char* name);
/// A new key, never used again.
std::uint64_t new_context_key() noexcept;

}  // namespace weft::detail
