// Deadlines of one worker: a radix heap of intrusive nodes, exact to the nanosecond.
//
// Source: Ahuja, Mehlhorn, Orlin & Tarjan, "Faster algorithms for the shortest path problem", JACM 1990 (radix
// heaps). A node sits in the bucket of the highest bit in which its deadline differs from `last_`, the latest
// deadline that has been served. Serving lowers a bucket's nodes into smaller ones, so each node moves at most 63
// times and, with deadlines as programs set them, a handful. Starting and stopping are O(1), which matters more:
// most timeouts never fire. Equal deadlines fire in the order they were started. Rejected: a binary heap (stopping
// costs log n and an index kept in each node; a million sleepers cost a million walks), a timing wheel (a tick to
// choose: tokio's sleeps are 1 ms late).
//
// Any thread may start, stop and expire; one short lock a worker. `fire` runs under it, so that when stop() returns
// the node's owner may destroy it. fire is engine code: it ends a wait or asks for a cancel.
// `next_deadline()` may be read without the lock: a lower bound, exact after expire().
#pragma once

#include <weft/lowlevel.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace weft::rt {

class Timers {
public:
    using Node = detail::TimerNode;

    void start(Node& node) noexcept;
    /// Takes the node out of whatever Timers it is in.
    static void stop(Node& node) noexcept;
    /// Fires what is due. Returns how many were.
    std::size_t expire(TimePoint now) noexcept;

    TimePoint next_deadline() const noexcept { return TimePoint(Duration(next_.load())); }
    std::size_t size() const noexcept { return size_; }

private:
    struct Bucket {
        Node* first = nullptr;
        Node* last = nullptr;
        std::int64_t earliest = 0;  // a lower bound of the deadlines in it
    };
    static constexpr int kBuckets = 64;

    void link(Node& node) noexcept;
    void unlink(Node& node) noexcept;
    void publish_next() noexcept;
    std::int64_t exact_earliest(Bucket& bucket) noexcept;
    void lower(int bucket, std::int64_t new_last) noexcept;

    detail::SpinLock lock_;
    std::int64_t last_ = 0;
    std::uint64_t occupied_ = 0;  // bit b: bucket b is not empty
    std::size_t size_ = 0;
    std::array<Bucket, kBuckets> buckets_;
    std::atomic<std::int64_t> next_{lowlevel::kNever.time_since_epoch().count()};
};

}  // namespace weft::rt
