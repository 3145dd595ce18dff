// What the queues keep their items in: chunks for Queue and LifoQueue, a heap for PriorityQueue.
//
// Everything here runs under a spin lock of the queue (the heap's comparisons excepted), so nothing here may run code
// of the user's, allocate, throw, or take long. Hence:
//   - An item is kept as it is only if moving it is nobody's business but the compiler's and std's (kQuietMove).
//     Any other lives in a Box of its own, filled and emptied outside of the lock, and what moves is the pointer.
//   - Chunks are brought by the caller, who allocates without the lock. One spare is kept, so that a queue which
//     neither grows nor shrinks allocates nothing; so are some empty boxes.
// Rejected: a ring that doubles (moving a million items is no critical section), one node for each item (an allocation
// or two more atomic operations an item: 25 ns instead of 14).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft::detail {

/// Whether moving a T, and destroying one that was moved from, runs no code of the user's, cannot throw and is short.
template <class T>
inline constexpr bool kQuietMove =
    std::is_trivially_copyable_v<T> && std::is_move_constructible_v<T> && sizeof(T) <= 256;
// With standard characters: a string that is short is moved by its traits.
template <class C>
inline constexpr bool kQuietMove<std::basic_string<C, std::char_traits<C>, std::allocator<C>>> =
    std::is_integral_v<C>;
template <class T>
inline constexpr bool kQuietMove<std::vector<T, std::allocator<T>>> = true;
template <class T>
inline constexpr bool kQuietMove<std::unique_ptr<T, std::default_delete<T>>> =
    std::is_trivially_copyable_v<std::default_delete<T>> &&
    std::is_pointer_v<typename std::unique_ptr<T>::pointer>;
template <class T>
inline constexpr bool kQuietMove<std::shared_ptr<T>> = true;
template <>
inline constexpr bool kQuietMove<std::exception_ptr> = true;
template <class T>
inline constexpr bool kQuietMove<std::optional<T>> = kQuietMove<T>;
template <class A, class B>
inline constexpr bool kQuietMove<std::pair<A, B>> = kQuietMove<A> && kQuietMove<B>;
template <class... Ts>
inline constexpr bool kQuietMove<std::tuple<Ts...>> = (kQuietMove<Ts> && ...);

/// Room for a T that is or is not there; its owner knows.
template <class T>
union Room {
    T value;
    constexpr Room() noexcept {}
    ~Room() {}
};

/// An item with a place of its own. Empty ones are linked to each other.
template <class T>
struct Box {
    Room<T> room;
    Box* next = nullptr;
};

template <class T>
using Stored = std::conditional_t<kQuietMove<T>, T, Box<T>*>;

/// Empty boxes, to be used again. Guarded by the queue's lock.
template <class T>
class BoxPool {
public:
    static constexpr std::size_t kMost = 64;

    constexpr BoxPool() noexcept = default;
    BoxPool(const BoxPool&) = delete;
    BoxPool& operator=(const BoxPool&) = delete;
    ~BoxPool() {
        while (Box<T>* box = take()) delete box;
    }
    /// Null if there is none.
    Box<T>* take() noexcept {
        Box<T>* box = first_;
        if (box != nullptr) {
            first_ = box->next;
            --count_;
        }
        return box;
    }
    /// False if there are enough.
    bool give(Box<T>* box) noexcept {
        if (count_ == kMost) return false;
        box->next = first_;
        first_ = box;
        ++count_;
        return true;
    }

private:
    Box<T>* first_ = nullptr;
    std::size_t count_ = 0;
};

/// Items whose move out of their box has thrown: the next to be taken. Guarded by the queue's lock.
template <class T>
class ReturnedBoxes {
public:
    void give(Box<T>* box) noexcept { box->next = std::exchange(first_, box); }
    /// Null if there is none.
    Box<T>* take() noexcept {
        Box<T>* box = first_;
        if (box != nullptr) first_ = box->next;
        return box;
    }

private:
    Box<T>* first_ = nullptr;
};

/// A double-ended line of quietly moving items, in chunks of about half a KiB.
template <class Item>
class ChunkStore {
public:
    static constexpr std::size_t kSlots = sizeof(Item) <= 64 ? 512 / sizeof(Item) : 8;

    struct Chunk {
        Chunk* prev = nullptr;
        Chunk* next = nullptr;
        std::array<Room<Item>, kSlots> slots;
    };

    constexpr ChunkStore() noexcept = default;
    ChunkStore(const ChunkStore&) = delete;
    ChunkStore& operator=(const ChunkStore&) = delete;
    ~ChunkStore() {
        clear([](Item&) {});
        delete first_;
        delete spare_;
    }

    /// Whether push() has room; else give it a chunk.
    bool has_room() const noexcept { return end_ < kSlots || spare_ != nullptr; }
    /// Returns what it has no use for, to be deleted without the lock.
    Chunk* add_chunk(Chunk* chunk) noexcept {
        if (spare_ != nullptr) return chunk;
        spare_ = chunk;
        return nullptr;
    }

    void push(Item&& item) noexcept {
        if (end_ == kSlots) [[unlikely]]
            append_spare();
        std::construct_at(std::addressof(last_->slots[end_].value), std::move(item));
        ++end_;
    }
    /// The store is not empty. `surplus` gets a chunk to be deleted without the lock, or is left alone.
    Item pop_oldest(Chunk** surplus) noexcept {
        Item item = take(first_->slots[begin_]);
        ++begin_;
        if (first_ == last_) {
            if (begin_ == end_) begin_ = end_ = 0;
        } else if (begin_ == kSlots) {
            Chunk* emptied = std::exchange(first_, first_->next);
            first_->prev = nullptr;
            begin_ = 0;
            *surplus = add_chunk(emptied);
        }
        return item;
    }
    Item pop_newest(Chunk** surplus) noexcept {
        --end_;
        Item item = take(last_->slots[end_]);
        if (first_ == last_) {
            if (begin_ == end_) begin_ = end_ = 0;
        } else if (end_ == 0) {
            Chunk* emptied = std::exchange(last_, last_->prev);
            last_->next = nullptr;
            end_ = kSlots;
            *surplus = add_chunk(emptied);
        }
        return item;
    }

    /// Moves all that is here into an empty store.
    void move_to(ChunkStore& other) noexcept {
        std::swap(first_, other.first_);
        std::swap(last_, other.last_);
        std::swap(begin_, other.begin_);
        std::swap(end_, other.end_);
    }
    /// Destroys all items, after a look at each. Not under the lock.
    template <class Look>
    void clear(Look look) {
        while (first_ != nullptr && (first_ != last_ || begin_ != end_)) {
            Chunk* surplus = nullptr;
            Item item = pop_oldest(&surplus);
            delete surplus;
            look(item);
        }
    }

private:
    static Item take(Room<Item>& room) noexcept {
        Item item(std::move(room.value));
        std::destroy_at(std::addressof(room.value));
        return item;
    }
    void append_spare() noexcept {
        Chunk* chunk = std::exchange(spare_, nullptr);
        chunk->prev = last_;
        chunk->next = nullptr;
        if (last_ != nullptr)
            last_->next = chunk;
        else
            first_ = chunk;
        last_ = chunk;
        end_ = 0;
    }

    // Items: from slot begin_ of the first chunk to before slot end_ of the last. Without a chunk: end_ is kSlots.
    Chunk* first_ = nullptr;
    Chunk* last_ = nullptr;
    std::size_t begin_ = 0;
    std::size_t end_ = kSlots;
    Chunk* spare_ = nullptr;
};

/// A binary heap that stays as it was if a comparison throws: each change first finds its path by comparing, and then
/// moves along it. Dropping any number of its last elements leaves a heap, with the smallest still in it.
template <class Item>
class Heap {
public:
    std::size_t size() const noexcept { return items_.size(); }

    /// `less(a, b)` may throw; std::bad_alloc.
    template <class Less>
    void push(Item&& item, Less less) {
        reserve_one_more();
        std::size_t place = items_.size();
        while (place > 0 && less(item, items_[parent(place)])) place = parent(place);
        std::size_t hole = items_.size();
        if (hole == place) return items_.push_back(std::move(item));
        items_.push_back(std::move(items_[parent(hole)]));
        for (hole = parent(hole); hole != place; hole = parent(hole))
            set(hole, items_[parent(hole)]);
        set(place, item);
    }

    /// The heap is not empty.
    template <class Less>
    Item pop(Less less) {
        std::size_t last = items_.size() - 1;
        std::uint64_t path = 0;  // by bits, lowest first: which child is the smaller
        unsigned depth = 0;
        for (std::size_t i = 0; 2 * i + 1 < last;) {
            std::size_t child = 2 * i + 1;
            bool right = child + 1 < last && less(items_[child + 1], items_[child]);
            i = child + (right ? 1 : 0);
            if (!less(items_[i], items_[last])) break;
            path |= std::uint64_t{right} << depth++;
        }
        Item smallest(std::move(items_[0]));
        std::size_t hole = 0;
        for (; depth > 0; --depth, path >>= 1) {
            std::size_t child = 2 * hole + 1 + (path & 1);
            set(hole, items_[child]);
            hole = child;
        }
        if (hole != last) set(hole, items_[last]);
        items_.pop_back();
        return smallest;
    }

    Item pop_last() noexcept {
        Item item(std::move(items_.back()));
        items_.pop_back();
        return item;
    }

private:
    static std::size_t parent(std::size_t i) noexcept { return (i - 1) / 2; }
    // By construction: an item need not be assignable.
    void set(std::size_t place, Item& from) noexcept {
        std::destroy_at(&items_[place]);
        std::construct_at(&items_[place], std::move(from));
    }
    void reserve_one_more() {
        if (items_.size() == items_.capacity())
            items_.reserve(items_.empty() ? 16 : 2 * items_.size());
    }

    std::vector<Item> items_;
};

}  // namespace weft::detail
