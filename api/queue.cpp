// The queues' slow paths: getting in line, being cancelled in it, shutting down. See detail/queue_gate.hpp.
#include <weft/detail/queue_gate.hpp>
#include <weft/error.hpp>

#include <algorithm>
#include <mutex>
#include <stdexcept>

namespace weft::detail {

using lowlevel::Woken;

void throw_queue_empty() { throw QueueEmpty(); }
void throw_queue_full() { throw QueueFull(); }
void throw_queue_shut_down() { throw QueueShutDown(); }
void throw_called_by_comparison() {
    throw UsageError("weft::PriorityQueue: called by a comparison of the same queue");
}

std::size_t QueueGate::qsize() const noexcept {
    std::lock_guard guard(lock_);
    return static_cast<std::size_t>(items_.free);
}

bool QueueGate::full() const noexcept {
    std::lock_guard guard(lock_);
    return room_.free <= 0;
}

void QueueGate::fail_get_and_unlock() {
    Shut shut = shut_;
    lock_.unlock();
    if (shut != Shut::no) throw_queue_shut_down();
    throw_queue_empty();
}

void QueueGate::fail_put_and_unlock() {
    Shut shut = shut_;
    lock_.unlock();
    if (shut != Shut::no) throw_queue_shut_down();
    throw_queue_full();
}

// --- in line ------------------------------------------------------------------------------------

Waiter QueueGate::Side::promise() noexcept {
    do {
        WaitNode& first = waiting.pop_front();
        if (!first.claim()) [[unlikely]]
            continue;
        first.set_turn(Turn::promised);
        promised.push_back(first);
        return first.waiter;
    } while (!waiting.empty());
    ++free;
    return {};
}

// With the lock. What is promised to a getter is still there after a shutdown, unless all was dropped.
bool QueueGate::refuses(const Side& side, Turn turn) const noexcept {
    if (shut_ == Shut::no) return false;
    if (&side == &room_ || shut_ == Shut::immediate) return true;
    return turn != Turn::promised && side.free == 0;
}

QueueGate::Line QueueGate::wait_in_line(Side& side, WaitNode& node, lowlevel::WaitReason reason) {
    check_not_refused(side);
    auto commit = [&](Waiter self) noexcept { return enter_line(side, node, self); };
    Woken woken = lowlevel::park(reason, commit);
    return after_wait(side, node, woken);
}

void QueueGate::check_not_refused(const Side& side) {
    lock_.lock();
    bool too_late = refuses(side, Turn::waiting);
    lock_.unlock();
    if (too_late) throw_queue_shut_down();
}

bool QueueGate::enter_line(Side& side, WaitNode& node, Waiter self) noexcept {
    std::lock_guard guard(lock_);
    bool refused = refuses(side, Turn::waiting);
    if (!refused && side.free <= 0) {
        node.waiter = self;
        side.waiting.push_back(node);
        return true;
    }
    if (!node.claim()) return false;
    if (refused) {
        node.set_turn(Turn::refused);
    } else {
        --side.free;
        node.set_turn(Turn::promised);
        side.promised.push_back(node);
    }
    return false;
}

QueueGate::Line QueueGate::after_wait(Side& side, WaitNode& node, Woken woken) {
    // Served: it is done, and the queue may be gone. A cancel that is due is kept for the next wait.
    if (node.turn() == Turn::served) return Line::served;
    if (woken == Woken::by_cancel || cancel_due()) {
        if (!leave_line(side, node)) return Line::served;
        lowlevel::throw_cancelled();
    }
    return back_in_line(side, node);
}

void QueueGate::quit_line(WaitNode& node) noexcept {
    std::lock_guard guard(lock_);
    if (node.linked()) node.unlink();
}

QueueGate::Line QueueGate::back_in_line(Side& side, WaitNode& node) {
    lock_.lock();
    Turn turn = node.turn();
    if (turn == Turn::served) {
        lock_.unlock();
        return Line::served;
    }
    if (turn == Turn::refused && !refuses(side, Turn::waiting)) {
        // Refused at a shutdown, but then somebody gave a promise back: what is in the queue is still to be had.
        --side.free;
        node.set_turn(Turn::promised);
        side.promised.push_back(node);
    } else if (turn == Turn::refused || refuses(side, turn)) {
        if (node.linked()) node.unlink();
        lock_.unlock();
        throw_queue_shut_down();
    }
    return Line::promised;
}

bool QueueGate::leave_line(Side& side, WaitNode& node) noexcept {
    lock_.lock();
    Turn turn = node.turn();
    if (node.linked()) node.unlink();
    if (turn == Turn::promised && !refuses(side, turn))
        give_and_unlock(side);
    else
        lock_.unlock();
    return turn != Turn::served;
}

// --- the end ------------------------------------------------------------------------------------

void QueueGate::shut_and_unlock(Shut how, std::ptrdiff_t dropped) noexcept {
    shut_ = std::max(shut_, how);
    if (how == Shut::immediate) items_.free = 0;
    WaitList finished;
    if (finish(dropped)) finished.splice(joiners_);
    // All who wait are refused: with somebody in line there is no item, or no room.
    finished.splice(items_.waiting);
    finished.splice(room_.waiting);
    wake_all(lock_, finished, Turn::refused);
}

// With the lock: true if all that was put is done.
bool QueueGate::finish(std::ptrdiff_t n) noexcept {
    unfinished_ -= std::min(n, unfinished_);
    return unfinished_ == 0;
}

void QueueGate::task_done() {
    lock_.lock();
    if (unfinished_ == 0) {
        lock_.unlock();
        throw std::invalid_argument(
            "weft::Queue::task_done: called more often than items were put");
    }
    finish_one_and_unlock();
}

void QueueGate::finish_one_and_unlock() noexcept {
    if (finish(1))
        wake_all(lock_, joiners_);
    else
        lock_.unlock();
}

std::ptrdiff_t QueueGate::close_for_good() noexcept {
    std::lock_guard guard(lock_);
    std::ptrdiff_t left = count_items();
    shut_ = Shut::immediate;
    items_.free = 0;
    return left;
}

const void* QueueGate::caller() noexcept {
    if (const void* task = current_task()) return task;
    static thread_local char thread;
    return &thread;
}

void QueueGate::join() {
    lock_.lock();
    bool done = unfinished_ == 0;
    lock_.unlock();
    if (done) return;
    WaitNode node;
    auto commit = [&](Waiter self) noexcept {
        std::lock_guard guard(lock_);
        if (unfinished_ == 0) return false;
        node.waiter = self;
        joiners_.push_back(node);
        return true;
    };
    Woken woken = lowlevel::park({"Queue.join", this}, commit);
    if (woken != Woken::by_cancel) {
        if (!cancel_due()) return;
        lowlevel::throw_cancelled();
    }
    lock_.lock();
    if (node.linked()) node.unlink();
    lock_.unlock();
    lowlevel::throw_cancelled();
}

}  // namespace weft::detail
