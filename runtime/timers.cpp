#include "timers.hpp"

#include <algorithm>
#include <bit>
#include <mutex>

namespace weft::rt {

namespace {

std::int64_t key_of(const Timers::Node& node) noexcept {
    return node.deadline.time_since_epoch().count();
}

}  // namespace

void Timers::link(Node& node) noexcept {
    std::int64_t key = std::max(key_of(node), last_);
    auto differs = static_cast<std::uint64_t>(key ^ last_);
    int b = differs == 0 ? 0 : std::bit_width(differs);
    Bucket& bucket = buckets_[static_cast<std::size_t>(b)];
    node.bucket = static_cast<std::int8_t>(b);
    node.prev = bucket.last;
    node.next = nullptr;
    (bucket.last != nullptr ? bucket.last->next : bucket.first) = &node;
    bucket.last = &node;
    bucket.earliest = bucket.first == &node ? key : std::min(bucket.earliest, key);
    occupied_ |= std::uint64_t{1} << b;
}

void Timers::unlink(Node& node) noexcept {
    Bucket& bucket = buckets_[static_cast<std::size_t>(node.bucket)];
    (node.prev != nullptr ? node.prev->next : bucket.first) = node.next;
    (node.next != nullptr ? node.next->prev : bucket.last) = node.prev;
    if (bucket.first == nullptr) occupied_ &= ~(std::uint64_t{1} << node.bucket);
    node.bucket = -1;
}

void Timers::publish_next() noexcept {
    std::int64_t next =
        occupied_ == 0 ? lowlevel::kNever.time_since_epoch().count()
                       : buckets_[static_cast<std::size_t>(std::countr_zero(occupied_))].earliest;
    // order [timers.1]: relaxed to compare - only writers under the lock change it.
    if (next_.load(std::memory_order_relaxed) != next) next_.store(next);
}

void Timers::start(Node& node) noexcept {
    std::lock_guard guard(lock_);
    node.home = this;
    link(node);
    ++size_;
    publish_next();
}

void Timers::stop(Node& node) noexcept {
    // A node is started once and `home` stays, so reading it without a lock is safe for the node's owner.
    auto* timers = static_cast<Timers*>(node.home);
    if (timers == nullptr) return;
    std::lock_guard guard(timers->lock_);
    if (node.bucket < 0) return;
    timers->unlink(node);
    --timers->size_;
    timers->publish_next();
}

std::int64_t Timers::exact_earliest(Bucket& bucket) noexcept {
    std::int64_t earliest = key_of(*bucket.first);
    for (Node* n = bucket.first->next; n != nullptr; n = n->next)
        earliest = std::min(earliest, key_of(*n));
    return bucket.earliest = std::max(earliest, last_);
}

void Timers::lower(int b, std::int64_t new_last) noexcept {
    last_ = new_last;
    Bucket bucket = buckets_[static_cast<std::size_t>(b)];
    buckets_[static_cast<std::size_t>(b)] = {};
    occupied_ &= ~(std::uint64_t{1} << b);
    for (Node* n = bucket.first; n != nullptr;) {
        Node* next = n->next;
        link(*n);
        n = next;
    }
}

std::size_t Timers::expire(TimePoint now) noexcept {
    if (now < next_deadline()) return 0;
    std::int64_t due = now.time_since_epoch().count();
    std::size_t fired = 0;
    std::lock_guard guard(lock_);
    while (occupied_ != 0) {
        int b = std::countr_zero(occupied_);
        Bucket& bucket = buckets_[static_cast<std::size_t>(b)];
        if (bucket.earliest > due) break;
        std::int64_t earliest = exact_earliest(bucket);
        if (earliest > due) break;
        if (b != 0) {
            lower(b, earliest);
            continue;
        }
        while (bucket.first != nullptr) {
            Node& node = *bucket.first;
            unlink(node);
            --size_;
            ++fired;
            node.fire(node);
        }
    }
    publish_next();
    return fired;
}

}  // namespace weft::rt
