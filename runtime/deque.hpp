// The work-stealing deque of one worker: two views, one ring.
//
// Owner: push() at the bottom; pop_oldest() from the top, so that tasks run in the order they were made ready (as in
// asyncio); claim() takes one particular entry out, wherever it is, when a task awaits a child that has not started.
// Thief: steal() takes the oldest.
//
// Source: Chase & Lev, SPAA 2005; orders as in Le, Pop, Cohen & Zappa Nardelli, PPoPP 2013, fig. 1. What differs:
// the owner also takes from the top, by the thieves' own CAS; seq_cst operations stand for their fences, which
// ThreadSanitizer cannot follow (on x86 a seq_cst store is the same xchg); indices are 64-bit and never wrap; a
// grown buffer keeps the old ones until the worker ends (together less than the last), so nothing is reclaimed
// under a thief. Rejected: Go's and tokio's 256-slot ring with overflow to a shared queue (it breaks first in, first
// out in strict mode, and 1,000 tasks spawned at once are common here); stealing half in one CAS (it cannot be
// combined with taking from the bottom).
//
// Invariant [place]: an item is *in* this deque at index i iff its `place` says so. An entry whose item says
// something else is dead: its item was claimed by the owner from the middle, and the entry holds a reference that
// whoever removes the entry gives back. Each item is obtained by exactly one of: owner popping index i, thief winning
// top at i and then its place, owner winning its place. An owner's pop needs no read-modify-write on place, since the
// only rival for a place at i is a thief that won top at i, and then the owner did not.
//
// Thread rules: every public function says Owner or Thief. `Item` has a member `place`, Env's atomic of uint64_t.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace weft::rt {

/// Whether any thief exists: a runtime of one worker pays for no rival.
enum class Rivals : std::uint8_t { none, thieves };

template <class Env, class Item>
class Deque {
    using Index = std::int64_t;
    template <class T>
    using Atomic = typename Env::template atomic<T>;

public:
    static constexpr std::uint64_t kNowhere = 0;

    Deque(unsigned id, Rivals rivals, std::size_t capacity = 1024, Index first_index = 1)
        : id_(id), rivals_(rivals), top_(first_index), bottom_(first_index) {
        buffers_.push_back(std::make_unique<Buffer>(capacity));
        buffer_.store(buffers_.back().get());
    }

    /// Owner. Publishes an item at the bottom. std::bad_alloc when the ring must grow and cannot; nothing is changed.
    void push(Item* item) {
        // order [deque.1]: relaxed - the owner is the only writer of bottom.
        Index b = bottom_.load(std::memory_order_relaxed);
        Index t = top_.load();
        Buffer* ring = buffers_.back().get();
        if (b - t >= ring->capacity()) ring = grow(t, b);
        // order [deque.2]: relaxed - published by the store of bottom below.
        ring->slot(b).store(item, std::memory_order_relaxed);
        item->place.store(place_of(b), std::memory_order_relaxed);
        // seq_cst with thieves about: the caller looks for sleepers next (idle.hpp), and that look must not pass
        // this store. Pairs with the load in steal.
        if (rivals_ == Rivals::none)
            // order [deque.1]: release - publishes the slot to size() seen from other threads.
            bottom_.store(b + 1, std::memory_order_release);
        else
            bottom_.store(b + 1);
    }

    /// Owner. The oldest item, or null. `dead(item)` is called for each dead entry that is met.
    template <class Dead>
    Item* pop_oldest(Dead&& dead) {
        for (;;) {
            // order [deque.1]: relaxed - own writes.
            Index b = bottom_.load(std::memory_order_relaxed);
            Index t = top_.load();
            if (t >= b) return nullptr;
            Item* item = own_slot(t);
            if (!take_top(t)) continue;
            if (leave(item, t)) return item;
            dead(item);
        }
    }

    /// Owner. Takes this very item, if it is the newest one: what a fork-join asks for.
    bool claim_newest(Item* item) noexcept {
        // order [deque.1], [place]: relaxed - own writes, and a hint; only taking the entry decides.
        Index b = bottom_.load(std::memory_order_relaxed);
        if (item->place.load(std::memory_order_relaxed) != place_of(b - 1)) return false;
        return pop_newest(b) && leave(item, b - 1);
    }

    enum class Claimed : std::uint8_t { no, whole, left_dead_entry };

    /// Owner. Takes this very item, if it is in this deque. left_dead_entry: its entry stays behind and needs a
    /// reference of its own, which the caller adds (it holds one, since it knows the item).
    template <class Dead>
    Claimed claim(Item* item, Dead&& dead) {
        // order [place]: relaxed - a hint; only taking the entry, or the CAS below, decides.
        std::uint64_t place = item->place.load(std::memory_order_relaxed);
        if ((place >> kPositionBits) != id_ + 1) return Claimed::no;
        Index b = bottom_.load(std::memory_order_relaxed);
        if (place != place_of(b - 1)) b = trim(b, dead);
        if (place == place_of(b - 1))
            return pop_newest(b) && leave(item, b - 1) ? Claimed::whole : Claimed::no;
        Index t = top_.load();
        if (place == place_of(t))
            return take_top(t) && leave(item, t) ? Claimed::whole : Claimed::no;
        return item->place.compare_exchange_strong(place, kNowhere) ? Claimed::left_dead_entry
                                                                    : Claimed::no;
    }

    /// Thief. The oldest item, or null when there is none or another one was faster.
    template <class Dead>
    Item* steal(Dead&& dead) {
        for (;;) {
            Index t = top_.load();
            Index b = bottom_.load();
            if (t >= b) return nullptr;
            Buffer* ring = buffer_.load();
            // order [deque.2]: relaxed - bottom's load has synchronised with its store.
            Item* item = ring->slot(t).load(std::memory_order_relaxed);
            if (!top_.compare_exchange_strong(t, t + 1)) return nullptr;
            std::uint64_t expected = place_of(t);
            if (item->place.compare_exchange_strong(expected, kNowhere)) return item;
            dead(item);
        }
    }

    /// Owner. The item that is `ahead` places behind the oldest, or null: a hint, for prefetching.
    Item* peek(Index ahead) noexcept {
        // order [deque.1]: relaxed - a hint.
        Index i = top_.load(std::memory_order_relaxed) + ahead;
        return i < bottom_.load(std::memory_order_relaxed) ? own_slot(i) : nullptr;
    }

    /// Any thread. Entries, dead ones included; exact only for the owner.
    std::size_t size() const noexcept {
        Index b = bottom_.load();
        Index t = top_.load();
        return b > t ? static_cast<std::size_t>(b - t) : 0;
    }

private:
    static constexpr int kPositionBits = 48;
    static constexpr std::uint64_t kPositionMask = (std::uint64_t{1} << kPositionBits) - 1;

    class Buffer {
    public:
        explicit Buffer(std::size_t capacity)
            : mask_(static_cast<Index>(capacity) - 1), slots_(new Atomic<Item*>[capacity]) {}
        Index capacity() const noexcept { return mask_ + 1; }
        Atomic<Item*>& slot(Index i) noexcept {
            return slots_[static_cast<std::size_t>(i & mask_)];
        }

    private:
        Index mask_;
        std::unique_ptr<Atomic<Item*>[]> slots_;
    };

    std::uint64_t place_of(Index i) const noexcept {
        return (std::uint64_t{id_ + 1} << kPositionBits) |
               (static_cast<std::uint64_t>(i) & kPositionMask);
    }

    Item* own_slot(Index i) noexcept {
        // order [deque.2]: relaxed - the owner wrote it.
        return buffers_.back()->slot(i).load(std::memory_order_relaxed);
    }

    /// Owner: after removing entry i, whether the item was still in it; then it is nowhere.
    bool leave(Item* item, Index i) noexcept {
        // order [place]: relaxed - see the invariant: no rival for this place is left.
        if (item->place.load(std::memory_order_relaxed) != place_of(i)) return false;
        item->place.store(kNowhere, std::memory_order_relaxed);
        return true;
    }

    bool take_top(Index t) noexcept {
        if (rivals_ == Rivals::none) {
            // order [deque.1]: release - for size() only; there is no thief.
            top_.store(t + 1, std::memory_order_release);
            return true;
        }
        return top_.compare_exchange_strong(t, t + 1);
    }

    /// Owner: removes the entry at b-1. False: a thief has got it.
    bool pop_newest(Index b) noexcept {
        if (rivals_ == Rivals::none) {
            // order [deque.1]: release - for size() only; there is no thief.
            bottom_.store(b - 1, std::memory_order_release);
            return true;
        }
        bottom_.store(b - 1);
        Index t = top_.load();
        if (t < b - 1) return true;
        bool won = t == b - 1 && top_.compare_exchange_strong(t, t + 1);
        // order [deque.1]: relaxed - the deque is empty at this index either way.
        bottom_.store(b, std::memory_order_relaxed);
        return won;
    }

    /// Owner: removes dead entries from the bottom, or nested fork-joins would heap them up. Returns bottom.
    template <class Dead>
    Index trim(Index b, Dead&& dead) {
        while (b - 1 > top_.load()) {
            Item* newest = own_slot(b - 1);
            // The entry's own reference keeps a dead item's block alive, so looking is safe.
            if (newest->place.load(std::memory_order_relaxed) == place_of(b - 1)) break;
            if (!pop_newest(b)) break;
            dead(newest);
            --b;
        }
        return bottom_.load(std::memory_order_relaxed);
    }

    Buffer* grow(Index t, Index b) {
        Buffer& old = *buffers_.back();
        auto wider = std::make_unique<Buffer>(static_cast<std::size_t>(old.capacity()) * 2);
        for (Index i = t; i < b; ++i)
            wider->slot(i).store(old.slot(i).load(std::memory_order_relaxed),
                                 std::memory_order_relaxed);
        buffers_.push_back(std::move(wider));
        buffer_.store(buffers_.back().get());
        return buffers_.back().get();
    }

    const std::uint64_t id_;
    const Rivals rivals_;
    std::vector<std::unique_ptr<Buffer>> buffers_;  // owner; the last one is in use
    Atomic<Buffer*> buffer_{nullptr};               // the same for thieves
    alignas(64) Atomic<Index> top_;                 // thieves and owner CAS
    alignas(64) Atomic<Index> bottom_;              // owner writes
};

}  // namespace weft::rt
