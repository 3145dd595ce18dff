// Who sleeps, who searches, whom to wake.
//
// Two facts, each one word: `searching`, the number of workers that look for work in other places than their own, and
// `sleepers`, a set of bits. A worker that has just published work calls notify(): one more worker is woken only if
// nobody is searching already (a searcher will find it) and somebody sleeps. That is Go's rule; waking one for each
// item, or handing items to sleepers, was rejected there for thrashing and here because a wake costs the waker 6 us.
//
// Invariant: once the publisher's notify() has returned, published work has a worker to come. It is one of
//   (a) a worker that is busy: it looks at its own queue, and every source, before it sleeps;
//   (b) a searcher, counted in `searching`: if it finds other work and was the last one, it calls notify() again;
//       if it finds nothing it enters `sleepers`, leaves `searching`, and only then looks at every queue once more;
//   (c) a sleeper that notify() took out of the set, counted as a searcher by notify() itself before it takes it.
// Proof of (b) against notify(): the publisher writes the work, then reads `searching` (both seq_cst). If it reads
// the searcher as present, that worker's decrement comes later, and its last look later still, so it sees the work.
// If it reads it as gone, the worker's bit was set before the decrement, so notify() finds the bit. Hence order: set
// the bit, decrement, look. All operations are seq_cst: this is a store-load (Dekker) pattern, acquire and release
// do not suffice.
//
// A worker is woken by a token in its Parker (parker.hpp), so a wake that comes before the sleep is not lost.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace weft::rt {

template <class Env>
class Idle {
    using Mask = std::uint64_t;
    template <class T>
    using Atomic = typename Env::template atomic<T>;

public:
    static constexpr int kNobody = -1;

    explicit Idle(unsigned workers)
        : workers_(workers), words_((workers + 63) / 64), sleepers_(new Atomic<Mask>[words_]) {
        for (std::size_t i = 0; i < words_; ++i) sleepers_[i].store(0);
    }

    /// Any thread, after publishing work: whom to give a token to, or kNobody.
    int notify() noexcept {
        if (searching_.load() != 0) return kNobody;
        return take_sleeper();
    }

    /// As notify(), though somebody may be searching: for work that only a wake-up can bring to light.
    int take_sleeper() noexcept {
        while (anybody_sleeps()) {
            // Counted before the bit is taken: the sleeper may wake by itself, see that it was taken, and leave the
            // searchers at once.
            searching_.fetch_add(1);
            for (std::size_t i = 0; i < words_; ++i) {
                Mask mask = sleepers_[i].load();
                while (mask != 0) {
                    Mask lowest = mask & (~mask + 1);
                    if (sleepers_[i].compare_exchange_weak(mask, mask & ~lowest))
                        return static_cast<int>(i * 64) + std::countr_zero(lowest);
                }
            }
            // Nobody was left to take. Meanwhile another publisher may have counted on this searcher that never was:
            // so the last one to leave looks again.
            if (searching_.fetch_sub(1) != 1) break;
        }
        return kNobody;
    }

    /// One particular worker, if it sleeps.
    bool take(unsigned worker) noexcept {
        searching_.fetch_add(1);
        if (remove(worker)) return true;
        // As above; the caller must call notify().
        searching_.fetch_sub(1);
        return false;
    }

    /// A worker with nothing of its own: may it look elsewhere? At most half of them, or they only meet each other.
    bool start_search() noexcept {
        if (2 * searching_.load() >= workers_ + (workers_ & 1)) return false;
        searching_.fetch_add(1);
        return true;
    }

    /// A searcher that found work. True: it was the last one and must call notify(), since there may be more.
    bool found() noexcept { return searching_.fetch_sub(1) == 1; }

    /// Goes to sleep, in the order that the proof asks for. After it the worker looks at all queues once more.
    void announce_sleep(unsigned worker, bool was_searching) noexcept {
        sleepers_[worker / 64].fetch_or(bit(worker));
        if (was_searching) searching_.fetch_sub(1);
    }

    /// A worker that saw work at its last look, or woke by itself. True: it is out of the set (and no searcher).
    /// False: somebody has taken it out; its token is on the way and it counts as a searcher.
    bool cancel_sleep(unsigned worker) noexcept { return remove(worker); }

    unsigned searching() const noexcept { return searching_.load(); }
    bool anybody_sleeps() const noexcept {
        for (std::size_t i = 0; i < words_; ++i)
            if (sleepers_[i].load() != 0) return true;
        return false;
    }
    unsigned sleeping() const noexcept {
        unsigned n = 0;
        for (std::size_t i = 0; i < words_; ++i)
            n += static_cast<unsigned>(std::popcount(sleepers_[i].load()));
        return n;
    }

private:
    static Mask bit(unsigned worker) noexcept { return Mask{1} << (worker % 64); }
    bool remove(unsigned worker) noexcept {
        return (sleepers_[worker / 64].fetch_and(~bit(worker)) & bit(worker)) != 0;
    }

    const unsigned workers_;
    const std::size_t words_;
    alignas(64) Atomic<unsigned> searching_{0};
    std::unique_ptr<Atomic<Mask>[]> sleepers_;
};

}  // namespace weft::rt
