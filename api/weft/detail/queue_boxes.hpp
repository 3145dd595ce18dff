// How values get into a queue's items and out again, and how a range-for does.
//
// All code of the user's that a queue runs on values (moves, copies, destructors) runs here, without the queue's lock.
#pragma once

#include <weft/detail/queue_gate.hpp>
#include <weft/detail/queue_store.hpp>
#include <weft/error.hpp>

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace weft::detail {

/// A range over what a queue gives until it is shut down.
template <class Queue, class T>
class QueueIterator {
public:
    using iterator_category = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = T*;
    using reference = T&;

    explicit QueueIterator(Queue& queue) : queue_(&queue) { ++*this; }
    T& operator*() noexcept { return item_->value; }
    T* operator->() noexcept { return std::addressof(item_->value); }
    QueueIterator& operator++() {
        item_.reset();
        try {
            item_.emplace(*queue_);
        } catch (const QueueShutDown&) {
        }
        return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return !item_.has_value(); }

private:
    // Made from what get() returns, without a move: one that threw there would lose the item.
    struct Got {
        T value;
        explicit Got(Queue& queue) : value(queue.get()) {}
    };
    Queue* queue_;
    std::optional<Got> item_;
};

/// A gate, and the boxes for items that may not be moved under its lock.
template <class T>
class BoxingGate : public QueueGate {
protected:
    using Item = Stored<T>;

    constexpr explicit BoxingGate(std::ptrdiff_t maxsize) noexcept : QueueGate(maxsize) {}

    /// Calls `put_item(Item&)` with the value as an item. If that throws, the value is back where it was.
    template <class PutItem>
    void wrap(T&& value, PutItem put_item) {
        if constexpr (kQuietMove<T>) {
            put_item(value);
        } else {
            Box<T>* box = fill_box(value);
            try {
                put_item(box);
            } catch (...) {
                empty_box(box, value);
                throw;
            }
        }
    }
    /// The value moves into a box. If that throws, there is none.
    Box<T>* fill_box(T& value) {
        Box<T>* box = take_box();
        try {
            std::construct_at(std::addressof(box->room.value), std::move(value));
        } catch (...) {
            recycle(box);
            throw;
        }
        return box;
    }
    /// The value moves back, if it can be assigned, and the box is free again.
    void empty_box(Box<T>* box, T& value) noexcept {
        if constexpr (std::is_move_assignable_v<T>) {
            try {
                value = std::move(box->room.value);
            } catch (...) {
                // What the put has thrown matters more, and goes on.
            }
        }
        std::destroy_at(std::addressof(box->room.value));
        recycle(box);
    }
    /// Whether an item may be in the queue again because it could not be moved out.
    static constexpr bool kMayComeBack = !kQuietMove<T> && !std::is_nothrow_move_constructible_v<T>;

    /// The value of an item that was taken. If its move throws, the item is in the queue again.
    T unwrap(Item&& item) {
        if constexpr (kQuietMove<T>) {
            return std::move(item);
        } else {
            struct Emptied {
                BoxingGate& gate;
                Box<T>* box;
                ~Emptied() {
                    if (box == nullptr) return;
                    std::destroy_at(std::addressof(box->room.value));
                    gate.recycle(box);
                }
            } emptied{*this, item};
            if constexpr (!kMayComeBack) {
                return std::move(item->room.value);
            } else {
                try {
                    return std::move(item->room.value);
                } catch (...) {
                    emptied.box = nullptr;
                    come_back(item);
                    throw;
                }
            }
        }
    }
    /// With the lock: an item that has come back, or null.
    Box<T>* take_returned() noexcept {
        if constexpr (kMayComeBack) return returned_.take();
        return nullptr;
    }
    /// Those that have come back and were not taken, in a destructor or after a shutdown.
    void discard_returned() noexcept {
        if constexpr (kMayComeBack) {
            for (;;) {
                lock_.lock();
                Box<T>* box = returned_.take();
                lock_.unlock();
                if (box == nullptr) return;
                discard(box);
            }
        }
    }
    static const T& look(const Item& item) noexcept {
        if constexpr (kQuietMove<T>)
            return item;
        else
            return item->room.value;
    }
    static void discard(Item& item) {
        if constexpr (!kQuietMove<T>) {
            std::destroy_at(std::addressof(item->room.value));
            delete item;
        }
    }

private:
    struct NoBoxes {};
    struct NoneReturned {};

    // Its room is somebody else's already: until that many more are taken, there is none.
    void come_back(Box<T>* box) noexcept {
        lock_.lock();
        if (shut_ == Shut::immediate) {
            finish_one_and_unlock();
            return discard(box);
        }
        returned_.give(box);
        --room_.free;
        give_and_unlock(items_);
    }

    Box<T>* take_box() {
        lock_.lock();
        Box<T>* box = boxes_.take();
        lock_.unlock();
        return box != nullptr ? box : new Box<T>;
    }
    void recycle(Box<T>* box) noexcept {
        lock_.lock();
        bool kept = boxes_.give(box);
        lock_.unlock();
        if (!kept) delete box;
    }

    [[no_unique_address]] std::conditional_t<kQuietMove<T>, NoBoxes, BoxPool<T>> boxes_;
    [[no_unique_address]] std::conditional_t<kMayComeBack, ReturnedBoxes<T>, NoneReturned>
        returned_;
};

}  // namespace weft::detail
