#include "detail/watch.hpp"

#include <weft/detail/engine.hpp>

#include <algorithm>
#include <iterator>
#include <mutex>

#include "detail/call_soon.hpp"

namespace weft::detail {

void Watch::begin(Core* const* cores, std::size_t n, std::size_t at_most) {
    cores_ = cores;
    size_ = pending = launched_ = n;
    home_ = home_of(current_scheduler());
    strict_ = options_of(*home_.scheduler).strict;
    if (n > std::size(few_)) many_ = std::make_unique<Node[]>(n);
    if (at_most != 0) launched_ = 0;
    if (passes_cancel) awaiter_.store(current_task());
    for (std::size_t i = 0; i < n; ++i) {
        Node& node = nodes()[i];
        node.watch = this;
        node.notify = on_done;
        node.awaiter = &awaiter_;
        node.passes_cancel = passes_cancel;
        if (add_joiner(*cores[i], node)) continue;
        if (hears_done_at_once)
            settle(*cores[i], i);
        else
            on_done(node, *cores[i]);
    }
    for (std::size_t i = std::min(at_most, n); i > 0; --i) {
        lock.lock();
        TaskCore* next = next_to_launch();
        lock.unlock();
        if (next != nullptr) try_launch(home_, *next);
    }
}

void Watch::end() noexcept {
    std::size_t unlaunched = size_;
    {
        std::lock_guard guard(lock);
        std::swap(unlaunched, launched_);
    }
    for (std::size_t i = 0; i < size_; ++i) remove_joiner(*cores_[i], nodes()[i]);
    for (; unlaunched < size_; ++unlaunched)
        close_unlaunched(static_cast<TaskCore&>(*cores_[unlaunched]));
}

void Watch::let_go_of(std::size_t i) noexcept {
    Node& node = nodes()[i];
    if (!remove_joiner(*cores_[i], node)) return;
    node.let_go = true;
    std::lock_guard guard(lock);
    --pending;
    if (over() && waiter_.core != nullptr) lowlevel::unpark(waiter_);
}

// With the lock; to be launched without it, for where that fails the task is ended here and now.
TaskCore* Watch::next_to_launch() noexcept {
    if (launched_ == size_ || !may_launch()) return nullptr;
    return static_cast<TaskCore*>(cores_[launched_++]);
}

void Watch::on_done(JoinNode& self, Core& core) noexcept {
    auto& node = static_cast<Node&>(self);
    Watch& watch = *node.watch;
    auto index = static_cast<std::size_t>(&node - watch.nodes());
    if (watch.strict_) {
        auto hear = [kept = watch.shared_from_this(), ref = CoreRef::share(core), index] {
            kept->settle(*ref, index);
        };
        if (call_soon(*watch.home_.scheduler, hear)) return;
    }
    watch.settle(core, index);
}

void Watch::settle(Core& core, std::size_t index) noexcept {
    TaskCore* next = nullptr;
    HomeRef home = home_;
    {
        std::lock_guard guard(lock);
        --pending;
        hear(core, index);
        next = next_to_launch();
        // With the lock: the waiter takes it before it leaves, so the Watch outlives it.
        if (over() && waiter_.core != nullptr) lowlevel::unpark(waiter_);
    }
    // The runtime has stopped if this fails, and the one who waits for them is gone with it.
    if (next != nullptr) try_launch(home, *next);
}

lowlevel::Woken Watch::wait(lowlevel::WaitReason reason, TimePoint deadline) noexcept {
    auto commit = [this](Waiter self) noexcept {
        std::lock_guard guard(lock);
        if (over()) return false;
        waiter_ = self;
        return true;
    };
    struct Named {
        Watch& watch;
        // Who passes its cancels on is named from begin() to end(), which are in one frame of its. An as_completed may
        // be gone through by one task after another, and outlive them.
        ~Named() {
            if (!watch.passes_cancel) watch.awaiter_.store(nullptr);
        }
    } named{*this};
    awaiter_.store(current_task());
    for (;;) {
        {
            std::lock_guard guard(lock);
            waiter_ = {};
            if (over()) return lowlevel::Woken::by_unpark;
        }
        lowlevel::Woken woken = lowlevel::park(reason, commit, deadline);
        if (woken == lowlevel::Woken::by_unpark) continue;
        std::lock_guard guard(lock);
        waiter_ = {};
        return woken;
    }
}

}  // namespace weft::detail
