// Hearing of the end of several tasks and futures: what gather, wait and as_completed have in common.
//
// A Watch has a node in each core's list. The cores' finishers tell it; the one who made it waits until over() says
// that it has heard enough. In asyncio one hears by a callback, a turn later, and strict mode keeps that.
// With at_most, only so many of the cores run at once: the others are tasks that are not launched, and one is launched
// as one ends.
//
// Thread rules: a finisher calls hear() under the core's lock and then `lock`; begin(), wait() and end() are for the one
// task that watches. A callback of strict mode may come after end(), so it shares the Watch.
#pragma once

#include <weft/task.hpp>

#include <cstddef>
#include <memory>
#include <mutex>

namespace weft::detail {

class Watch : public std::enable_shared_from_this<Watch> {
public:
    Watch() = default;
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    virtual ~Watch() = default;

    /// Links into each core and, unless at_most is 0, launches the first at_most of them. The array and the cores live
    /// until end(). std::bad_alloc.
    void begin(Core* const* cores, std::size_t n, std::size_t at_most = 0);
    /// Unlinks. Tasks that were not launched are closed.
    void end() noexcept;
    /// Waits until over(): by_unpark. A cancel or the deadline may come first.
    lowlevel::Woken wait(lowlevel::WaitReason reason,
                         TimePoint deadline = lowlevel::kNever) noexcept;

protected:
    /// With the lock: that core has ended.
    virtual void hear(Core& core, std::size_t index) noexcept = 0;
    /// With the lock: whether there is no need to wait.
    virtual bool over() const noexcept = 0;

    /// With the lock: whether to launch one more of those that are not.
    virtual bool may_launch() const noexcept { return true; }

    /// With the lock: all that were launched, if no more are to be.
    bool all_have_ended() const noexcept {
        return pending == (may_launch() ? 0 : size_ - launched_);
    }

    bool is_over() noexcept {
        std::lock_guard guard(lock);
        return over();
    }
    bool strict() const noexcept { return strict_; }
    std::size_t size() const noexcept { return size_; }
    Core& core(std::size_t i) const noexcept { return *cores_[i]; }

    TaskCore* awaiter() const noexcept { return awaiter_.load(); }

    /// By the one who watches, or while it stands still: that core counts as ended, and is not heard of.
    void let_go_of(std::size_t i) noexcept;
    bool let_go(std::size_t i) noexcept { return nodes()[i].let_go; }

    SpinLock lock;
    std::size_t pending = 0;
    /// In strict mode: whether what is done when it begins is heard of then and there, as by asyncio's gather, or by a
    /// callback all the same, as by its wait and as_completed.
    bool hears_done_at_once = false;
    /// A cancel of the one who waits goes to the cores.
    bool passes_cancel = false;

private:
    struct Node : JoinNode {
        Watch* watch = nullptr;
        bool let_go = false;
    };
    static void on_done(JoinNode& self, Core& core) noexcept;
    void settle(Core& core, std::size_t index) noexcept;
    TaskCore* next_to_launch() noexcept;
    Node* nodes() noexcept { return many_ != nullptr ? many_.get() : few_; }

    Waiter waiter_;                            // guarded by lock
    std::atomic<TaskCore*> awaiter_{nullptr};  // who waits; see JoinNode
    Core* const* cores_ = nullptr;
    std::size_t size_ = 0;
    std::size_t launched_ = 0;  // guarded by lock; the cores from here on are not launched
    HomeRef home_;
    bool strict_ = false;
    Node few_[4];
    std::unique_ptr<Node[]> many_;
};

}  // namespace weft::detail
