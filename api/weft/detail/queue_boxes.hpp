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
    T& operator*() noexcept { return *item_; }
    T* operator->() noexcept { return &*item_; }
    QueueIterator& operator++() {
        item_.reset();
        try {
            item_.emplace(queue_->get());
        } catch (const QueueShutDown&) {
        }
        return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return !item_.has_value(); }

private:
    Queue* queue_;
    std::optional<T> item_;
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
    /// The value moves back, and the box is free again.
    void empty_box(Box<T>* box, T& value) noexcept {
        if constexpr (std::is_nothrow_move_assignable_v<T>) value = std::move(box->room.value);
        std::destroy_at(std::addressof(box->room.value));
        recycle(box);
    }
    T unwrap(Item&& item) {
        if constexpr (kQuietMove<T>) {
            return std::move(item);
        } else {
            struct Emptied {
                BoxingGate& gate;
                Box<T>* box;
                ~Emptied() {
                    std::destroy_at(std::addressof(box->room.value));
                    gate.recycle(box);
                }
            } emptied{*this, item};
            return std::move(item->room.value);
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
};

}  // namespace weft::detail
