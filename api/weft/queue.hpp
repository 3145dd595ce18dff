// asyncio's queues: Queue (first in, first out), LifoQueue (last in, first out), PriorityQueue (smallest first).
//
// For any number of producers and consumers, tasks or plain threads. Those who wait to get, and those who wait to put,
// are served in the order of arrival, and what comes for them is set aside: nobody who comes later gets it, and
// qsize(), empty() and full() do not count it. detail/queue_gate.hpp has the waiting, detail/queue_store.hpp the items.
//
// No code of the user's runs under a spin lock. Moving an item happens outside of it, or is known to be harmless
// (kQuietMove). PriorityQueue compares items under a weft::Lock of its own, since nobody may change the heap meanwhile: a
// comparison may take long, or even wait, and then others wait for it as tasks and do not spin; it costs a comparison its
// uncontended Lock, and the *_nowait calls a wait (shielded, as long as other comparisons last). A std::mutex could not
// be held over such a wait. A comparison that puts or gets in the same queue would wait for itself: that is a UsageError.
#pragma once

#include <weft/detail/queue_boxes.hpp>
#include <weft/sync.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft {

namespace detail {

enum class Takes : std::uint8_t { oldest, newest };

/// Queue and LifoQueue.
template <class T, Takes kTakes>
class LinearQueue : public BoxingGate<T> {
    using Item = Stored<T>;
    using Store = ChunkStore<Item>;
    using Chunk = typename Store::Chunk;
    using Line = QueueGate::Line;
    using Shut = QueueGate::Shut;

public:
    using value_type = T;

    /// For at most maxsize items; 0 or less: any number. Allocates nothing yet.
    constexpr explicit LinearQueue(std::ptrdiff_t maxsize = 0) noexcept : BoxingGate<T>(maxsize) {}
    /// Nobody may be waiting. Items left are destroyed.
    ~LinearQueue() {
        this->close_for_good();
        this->discard_returned();
        store_.clear(BoxingGate<T>::discard);
    }

    /// Puts an item, waiting in line while the queue is full. Any task or thread. Cancelled there: the item is not in
    /// the queue. If it throws, the value is as it was (if its type can be move-assigned and that does not throw).
    /// @throws  CancelledError; QueueShutDown after shutdown(); std::bad_alloc; what the value's move throws
    /// @cost    room, and nobody waits: two atomic operations; full: one park. In the long run no allocation
    void put(T&& value) {
        this->wrap(std::move(value), [this](Item& item) {
            if (!put_at_once(item)) put_slow(item);
        });
    }
    void put(const T& value)
        requires std::is_copy_constructible_v<T>
    {
        put(T(value));
    }
    /// Puts an item without ever waiting. Otherwise as put().
    /// @throws  QueueFull, QueueShutDown, std::bad_alloc
    void put_nowait(T&& value) {
        this->wrap(std::move(value), [this](Item& item) {
            if (put_at_once(item) || put_with_new_chunk(item)) return;
            this->lock_.lock();
            this->fail_put_and_unlock();
        });
    }
    void put_nowait(const T& value)
        requires std::is_copy_constructible_v<T>
    {
        put_nowait(T(value));
    }

    /// Takes an item, waiting in line while there is none. Any task or thread. Cancelled there: none is taken, and
    /// one that had been set aside for it goes to the next in line. If the item's move throws, the item stays: it is the
    /// next to be taken. (The queue may then hold one more than maxsize.)
    /// @throws  CancelledError; QueueShutDown when nothing is left after shutdown(); what the item's move throws
    /// @cost    an item is there: two atomic operations; none: one park
    T get() {
        this->lock_.lock();
        if (this->items_.free > 0) [[likely]]
            return take_and_unlock();
        this->lock_.unlock();
        return this->unwrap(wait_for_item());
    }
    /// Takes an item without ever waiting. Otherwise as get().
    /// @throws  QueueEmpty; QueueShutDown when nothing is left after shutdown()
    T get_nowait() {
        this->lock_.lock();
        if (this->items_.free <= 0) this->fail_get_and_unlock();
        return take_and_unlock();
    }

    /// From now on nothing is put. What is in the queue can still be taken; who waits gets QueueShutDown. Any task or
    /// thread; never waits.
    void shutdown() noexcept {
        this->lock_.lock();
        this->shut_and_unlock(Shut::drain, 0);
    }
    /// And what is in the queue is dropped, and counts as done for join().
    void shutdown(Immediate) {
        Store dropped;
        this->lock_.lock();
        store_.move_to(dropped);
        this->shut_and_unlock(Shut::immediate, this->count_items());
        this->discard_returned();
        dropped.clear(BoxingGate<T>::discard);
    }

    /// `for (auto& item : queue)` takes items until the queue is shut down and empty. It waits, and is cancelled, as get().
    QueueIterator<LinearQueue, T> begin() { return QueueIterator<LinearQueue, T>(*this); }
    std::default_sentinel_t end() const noexcept { return {}; }

private:
    bool may_put() const noexcept { return this->room_.free > 0 && this->shut_ == Shut::no; }

    // What follows is called with the lock held and returns without it, where its name says so.
    void push_and_unlock(Item& item) noexcept {
        --this->room_.free;
        ++this->unfinished_;
        store_.push(std::move(item));
        this->give_and_unlock(this->items_);
    }
    Item pop(Chunk** surplus) noexcept {
        if constexpr (BoxingGate<T>::kMayComeBack)
            if (Item returned = this->take_returned()) return returned;
        if constexpr (kTakes == Takes::oldest)
            return store_.pop_oldest(surplus);
        else
            return store_.pop_newest(surplus);
    }
    T take_and_unlock() {
        --this->items_.free;
        Chunk* surplus = nullptr;
        Item item = pop(&surplus);
        this->give_and_unlock(this->room_);
        if (surplus != nullptr) [[unlikely]]
            delete surplus;
        return this->unwrap(std::move(item));
    }

    bool put_at_once(Item& item) noexcept {
        this->lock_.lock();
        if (may_put() && store_.has_room()) [[likely]] {
            push_and_unlock(item);
            return true;
        }
        this->lock_.unlock();
        return false;
    }
    // False if it cannot be put now.
    bool put_with_new_chunk(Item& item) {
        for (;;) {
            this->lock_.lock();
            if (!may_put()) break;
            if (store_.has_room()) {
                push_and_unlock(item);
                return true;
            }
            this->lock_.unlock();
            bring_chunk();
        }
        this->lock_.unlock();
        return false;
    }
    void bring_chunk() {
        auto* chunk = new Chunk;
        this->lock_.lock();
        chunk = store_.add_chunk(chunk);
        this->lock_.unlock();
        delete chunk;
    }

    void put_slow(Item& item) {
        if (put_with_new_chunk(item)) return;
        WaitNode node;
        node.item = std::addressof(item);
        end_put(this->wait_in_line(this->room_, node, {"Queue.put", this}), node);
    }
    void end_put(Line line, WaitNode& node) {
        while (line == Line::promised) {
            if (!store_.has_room()) {
                this->lock_.unlock();
                try {
                    bring_chunk();
                } catch (...) {
                    if (this->leave_line(this->room_, node)) throw;
                    return;
                }
            } else if (put_for(this->room_.promised.pop_front(), node)) {
                return;
            }
            line = this->back_in_line(this->room_, node);
        }
    }
    // Keeps a promise with the item in its frame; lets go of the lock. True if it was the caller's own.
    bool put_for(WaitNode& first, const WaitNode& own) noexcept {
        bool is_own = &first == &own;
        store_.push(std::move(*static_cast<Item*>(first.item)));
        ++this->unfinished_;
        first.set_turn(Turn::served);
        this->give_and_unlock(this->items_);
        return is_own;
    }

    Item wait_for_item() {
        Room<Item> place;
        WaitNode node;
        node.item = std::addressof(place);
        end_get(this->wait_in_line(this->items_, node, {"Queue.get", this}), node);
        Item item(std::move(place.value));
        std::destroy_at(std::addressof(place.value));
        return item;
    }
    void end_get(Line line, WaitNode& node) {
        while (line == Line::promised) {
            if (get_for(this->items_.promised.pop_front(), node)) break;
            line = this->back_in_line(this->items_, node);
        }
    }
    bool get_for(WaitNode& first, const WaitNode& own) noexcept {
        bool is_own = &first == &own;
        Chunk* surplus = nullptr;
        std::construct_at(std::addressof(static_cast<Room<Item>*>(first.item)->value),
                          pop(&surplus));
        first.set_turn(Turn::served);
        this->give_and_unlock(this->room_);
        delete surplus;
        return is_own;
    }

    // For select(), with end_get() and end_put(): what can be had at once.
    template <class, class>
    friend class GetCase;
    template <class, class, class>
    friend class PutCase;
    bool try_get(Room<Item>& place) {
        this->lock_.lock();
        bool there = this->items_.free > 0;
        if (!there) {
            this->lock_.unlock();
            return false;
        }
        --this->items_.free;
        Chunk* surplus = nullptr;
        std::construct_at(std::addressof(place.value), pop(&surplus));
        this->give_and_unlock(this->room_);
        delete surplus;
        return true;
    }
    bool try_put(Item& item) { return put_at_once(item) || put_with_new_chunk(item); }

    Store store_;  // guarded by lock_
};

/// Smaller than, by the type's own operator.
struct Less {
    template <class T>
    bool operator()(const T& a, const T& b) const {
        return a < b;
    }
};

}  // namespace detail

/// First in, first out. put(), get(), put_nowait(), get_nowait(), qsize(), empty(), full(), maxsize(), task_done(),
/// join(), shutdown(), shutdown(weft::immediate); `for (auto& item : queue)`.
template <class T>
class Queue : public detail::LinearQueue<T, detail::Takes::oldest> {
public:
    using detail::LinearQueue<T, detail::Takes::oldest>::LinearQueue;
};

/// Last in, first out. Members as Queue's.
template <class T>
class LifoQueue : public detail::LinearQueue<T, detail::Takes::newest> {
public:
    using detail::LinearQueue<T, detail::Takes::newest>::LinearQueue;
};

/// Smallest first; of equals, any. Members as Queue's. `compare(a, b)` says whether a goes before b; when it throws,
/// the call that compared fails and the queue is as it was. It is called under a weft::Lock of the queue's: it may wait,
/// and ask the same queue for qsize(), empty(), full(), or say task_done() or shutdown(); to put into it, get from it or
/// shut it down with `immediate` would be to wait for itself, and throws UsageError. Moves and destructors of items run under no lock.
template <class T, class Compare = detail::Less>
class PriorityQueue : public detail::BoxingGate<T> {
    using Item = detail::Stored<T>;
    using QueueGate = detail::QueueGate;
    using Shut = QueueGate::Shut;

public:
    using value_type = T;

    /// For at most maxsize items; 0 or less: any number.
    constexpr explicit PriorityQueue(std::ptrdiff_t maxsize = 0, Compare compare = Compare())
        : detail::BoxingGate<T>(maxsize), compare_(std::move(compare)) {}
    /// Nobody may be waiting. Items left are destroyed.
    ~PriorityQueue() {
        for (std::ptrdiff_t left = this->close_for_good(); left > 0; --left) drop_one();
    }

    /// As Queue::put(). Also throws what the comparison throws.
    /// @cost    O(log n) comparisons, and five more atomic operations than a Queue
    void put(T&& value) {
        this->wrap(std::move(value), [this](Item& item) {
            if (!take_free(this->room_)) wait_for(this->room_, "PriorityQueue.put");
            insert(item);
        });
    }
    void put(const T& value)
        requires std::is_copy_constructible_v<T>
    {
        put(T(value));
    }
    /// As Queue::put_nowait(), but waits, as no cancel point, while others compare.
    void put_nowait(T&& value) {
        this->wrap(std::move(value), [this](Item& item) {
            if (!take_free(this->room_)) {
                this->lock_.lock();
                this->fail_put_and_unlock();
            }
            insert(item);
        });
    }
    void put_nowait(const T& value)
        requires std::is_copy_constructible_v<T>
    {
        put_nowait(T(value));
    }

    /// As Queue::get(): the smallest there is when it goes on. Also throws what the comparison throws.
    T get() {
        if (!take_free(this->items_)) wait_for(this->items_, "PriorityQueue.get");
        return this->unwrap(extract());
    }
    /// As Queue::get_nowait(), but waits, as no cancel point, while others compare.
    T get_nowait() {
        if (!take_free(this->items_)) {
            this->lock_.lock();
            this->fail_get_and_unlock();
        }
        return this->unwrap(extract());
    }

    /// As Queue::shutdown().
    void shutdown() noexcept {
        // Said by a comparison: what is being put comes before it.
        std::optional<HeapGuard> guard;
        if (!is_comparing()) guard.emplace(*this);
        this->lock_.lock();
        this->shut_and_unlock(Shut::drain, 0);
    }
    void shutdown(Immediate) {
        std::ptrdiff_t dropped = 0;
        {
            HeapGuard guard(*this);
            this->lock_.lock();
            dropped = this->count_items();
            this->shut_and_unlock(Shut::immediate, dropped);
        }
        for (; dropped > 0; --dropped) drop_one();
    }

    /// As Queue's.
    detail::QueueIterator<PriorityQueue, T> begin() {
        return detail::QueueIterator<PriorityQueue, T>(*this);
    }
    std::default_sentinel_t end() const noexcept { return {}; }

private:
    // The right to an item that is in the heap, or to a place in it, is taken first; then the heap is changed; then
    // the other side gets its right. So there is never less in the heap than has been promised.
    bool take_free(detail::QueueGate::Side& side) noexcept {
        this->lock_.lock();
        bool took = side.free > 0 && (&side == &this->items_ || this->shut_ == Shut::no);
        if (took) --side.free;
        this->lock_.unlock();
        return took;
    }
    void wait_for(detail::QueueGate::Side& side, const char* what) {
        if (is_comparing()) detail::throw_called_by_comparison();
        detail::WaitNode node;
        this->wait_in_line(side, node, {what, this});
        keep_right_and_unlock(node);
    }
    // Nobody serves others here: who has the right takes or puts by itself.
    void keep_right_and_unlock(detail::WaitNode& node) noexcept {
        node.unlink();
        this->lock_.unlock();
    }
    auto less() {
        return [this](const Item& left, const Item& right) -> bool {
            return compare_(this->look(left), this->look(right));
        };
    }

    // Holds heap_lock_, and knows for whom.
    class HeapGuard {
    public:
        explicit HeapGuard(PriorityQueue& queue)
            : queue_(not_comparing(queue)), lock_(queue.heap_lock_) {
            // order [heap.1]: relaxed - see is_comparing().
            queue.comparer_.store(QueueGate::caller(), std::memory_order_relaxed);
        }
        ~HeapGuard() {
            // order [heap.1]: relaxed - as above.
            queue_.comparer_.store(nullptr, std::memory_order_relaxed);
        }
        HeapGuard(const HeapGuard&) = delete;
        HeapGuard& operator=(const HeapGuard&) = delete;

    private:
        static PriorityQueue& not_comparing(PriorityQueue& queue) {
            if (queue.is_comparing()) detail::throw_called_by_comparison();
            return queue;
        }
        PriorityQueue& queue_;
        detail::ShieldedGuard lock_;
    };
    // Whether the caller holds heap_lock_: so it is a comparison that calls.
    bool is_comparing() const noexcept {
        // order [heap.1]: relaxed - who asks looks for what it has stored itself.
        return comparer_.load(std::memory_order_relaxed) == QueueGate::caller();
    }

    void insert(Item& item) {
        try {
            HeapGuard guard(*this);
            this->lock_.lock();
            bool shut = this->shut_ != Shut::no;  // stays so until the item is in: see shutdown()
            this->lock_.unlock();
            if (shut) detail::throw_queue_shut_down();
            heap_.push(std::move(item), less());
            this->lock_.lock();
            ++this->unfinished_;
            this->give_and_unlock(this->items_);
        } catch (...) {
            this->lock_.lock();
            this->give_and_unlock(this->room_);
            throw;
        }
    }
    Item extract() {
        if constexpr (detail::BoxingGate<T>::kMayComeBack) {
            this->lock_.lock();
            if (Item returned = this->take_returned()) {
                this->give_and_unlock(this->room_);
                return returned;
            }
            this->lock_.unlock();
        }
        try {
            HeapGuard guard(*this);
            Item item = heap_.pop(less());
            this->lock_.lock();
            this->give_and_unlock(this->room_);
            return item;
        } catch (...) {
            give_item_back();
            throw;
        }
    }
    // Not under heap_lock_: an item may be destroyed.
    void give_item_back() noexcept {
        this->lock_.lock();
        if (this->shut_ != Shut::immediate) return this->give_and_unlock(this->items_);
        this->finish_one_and_unlock();
        drop_one();
    }
    void drop_one() {
        Item item = [this] {
            if constexpr (detail::BoxingGate<T>::kMayComeBack) {
                this->lock_.lock();
                Item returned = this->take_returned();
                this->lock_.unlock();
                if (returned != nullptr) return returned;
            }
            HeapGuard guard(*this);
            return heap_.pop_last();
        }();
        this->discard(item);
    }

    // For select(): as Queue's.
    template <class, class>
    friend class detail::GetCase;
    template <class, class, class>
    friend class detail::PutCase;
    bool try_get(detail::Room<Item>& place) {
        if (is_comparing()) detail::throw_called_by_comparison();
        if (!take_free(this->items_)) return false;
        std::construct_at(std::addressof(place.value), extract());
        return true;
    }
    void end_get(detail::QueueGate::Line, detail::WaitNode& node) {
        keep_right_and_unlock(node);
        std::construct_at(std::addressof(static_cast<detail::Room<Item>*>(node.item)->value),
                          extract());
    }
    bool try_put(Item& item) {
        if (is_comparing()) detail::throw_called_by_comparison();
        if (!take_free(this->room_)) return false;
        insert(item);
        return true;
    }
    void end_put(detail::QueueGate::Line, detail::WaitNode& node) {
        keep_right_and_unlock(node);
        insert(*static_cast<Item*>(node.item));
    }

    [[no_unique_address]] Compare compare_;
    detail::Heap<Item> heap_;  // guarded by heap_lock_, which is taken before lock_
    Lock heap_lock_;
    std::atomic<const void*> comparer_{nullptr};  // who holds heap_lock_
};

}  // namespace weft
