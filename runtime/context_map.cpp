#include <weft/detail/context_map.hpp>

#include <algorithm>
#include <utility>

#include "worker.hpp"

namespace weft::detail {

namespace {

bool is_box(void* context) noexcept { return (reinterpret_cast<std::uintptr_t>(context) & 1) != 0; }
ContextBox* box_of(void* context) noexcept {
    return reinterpret_cast<ContextBox*>(reinterpret_cast<std::uintptr_t>(context) - 1);
}

auto position_of(const std::vector<std::pair<std::uint64_t, std::shared_ptr<const void>>>& entries,
                 std::uint64_t key) noexcept {
    return std::lower_bound(entries.begin(), entries.end(), key,
                            [](const auto& entry, std::uint64_t k) { return entry.first < k; });
}

void release_map(ContextMap* map) noexcept {
    if (map != nullptr && map->refs.fetch_sub(1) == 1) delete map;
}

ContextMap* retain_map(ContextMap* map) noexcept {
    if (map != nullptr) map->refs.fetch_add(1);
    return map;
}

/// A reference of one's own to the map that a context holds now.
ContextMap* hold_map(void* context) noexcept {
    if (!is_box(context)) return retain_map(static_cast<ContextMap*>(context));
    // Most programs never set a variable: their tasks' births take no lock.
    if (box_of(context)->map.load() == nullptr) return nullptr;
    std::lock_guard guard(box_of(context)->lock);
    return retain_map(box_of(context)->map.load());
}

[[gnu::noinline]] void*& thread_context() noexcept {
    struct Holder {
        void* context = nullptr;
        ~Holder() {
            // Taken out first: the values' destructors may read and set others.
            while (context != nullptr) context_release(std::exchange(context, nullptr));
        }
    };
    thread_local Holder holder;
    asm volatile("" ::: "memory");
    return holder.context;
}

void*& context_slot() noexcept {
    TaskCore* task = current_task();
    return task != nullptr ? task->context : thread_context();
}

}  // namespace

const std::shared_ptr<const void>* ContextMap::find(std::uint64_t key) const noexcept {
    auto it = position_of(entries, key);
    return it != entries.end() && it->first == key ? &it->second : nullptr;
}

void* context_retain(void* context) noexcept {
    if (context == nullptr) return nullptr;
    if (is_box(context))
        box_of(context)->refs.fetch_add(1);
    else
        retain_map(static_cast<ContextMap*>(context));
    return context;
}

void context_release(void* context) noexcept {
    if (context == nullptr) return;
    if (!is_box(context)) return release_map(static_cast<ContextMap*>(context));
    ContextBox* box = box_of(context);
    if (box->refs.fetch_sub(1) != 1) return;
    release_map(box->map.load());
    delete box;
}

void* context_snapshot(void* context) noexcept {
    return context == nullptr ? nullptr : hold_map(context);
}

void* context_of_box(ContextBox* box) noexcept {
    return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(box) + 1);
}

void* current_context() noexcept { return context_slot(); }

void* exchange_context(void* context) noexcept { return std::exchange(context_slot(), context); }

std::shared_ptr<const void> context_get(std::uint64_t key) noexcept {
    void* context = current_context();
    if (context == nullptr) return nullptr;
    ContextMap* map = hold_map(context);
    std::shared_ptr<const void> value;
    if (map != nullptr)
        if (const auto* found = map->find(key)) value = *found;
    release_map(map);
    return value;
}

std::shared_ptr<const void> context_set(std::uint64_t key, std::shared_ptr<const void> value) {
    void* context = current_context();
    for (;;) {
        ContextMap* old = context == nullptr ? nullptr : hold_map(context);
        auto fresh = std::make_unique<ContextMap>();
        std::shared_ptr<const void> before;
        if (old != nullptr) {
            fresh->entries = old->entries;
            if (const auto* found = old->find(key)) before = *found;
        }
        auto it =
            fresh->entries.begin() + (position_of(fresh->entries, key) - fresh->entries.cbegin());
        bool present = it != fresh->entries.end() && it->first == key;
        if (value == nullptr) {
            if (present) fresh->entries.erase(it);
        } else if (present) {
            it->second = value;
        } else {
            fresh->entries.insert(it, {key, value});
        }
        if (!is_box(context)) {
            context_slot() = fresh.release();
            release_map(old);
            release_map(static_cast<ContextMap*>(context));
            return before;
        }
        // Another task may have set something in the same Context meanwhile: then once more, on top of that.
        ContextBox* box = box_of(context);
        bool replaced = false;
        {
            std::lock_guard guard(box->lock);
            if (box->map.load() == old) {
                box->map.store(fresh.release());
                replaced = true;
            }
        }
        release_map(old);
        if (!replaced) continue;
        release_map(old);
        return before;
    }
}

std::uint64_t new_context_key() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1) + 1;
}

}  // namespace weft::detail
