#include "process/pool.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "process/asking.hpp"

namespace weft::rt::process {

namespace {

/// The peer of a socket is gone: what was sent has not arrived.
bool peer_is_gone(int error) noexcept {
    return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

/// What kills two workers has hardly met two accidents.
constexpr unsigned kKillsMax = 2;
/// A call may be what ends the fork server, so this is not believed for ever either.
constexpr unsigned kLossesMax = 3;

void add(std::chrono::nanoseconds time, std::chrono::nanoseconds& total,
         std::chrono::nanoseconds& longest) noexcept {
    total += time;
    longest = std::max(longest, time);
}

}  // namespace

bool Pool::is_ours() const noexcept {
    pid_t owner = owner_.load(std::memory_order_seq_cst);
    return owner == 0 || owner == ::getpid();
}

int Pool::start() noexcept {
    if (owner_.load(std::memory_order_seq_cst) != 0) return 0;
    Lock lock(lock_);
    if (state_ != State::fresh) return 0;
    Descriptor epoll(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll.open()) return -errno;
    Descriptor doorbell(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!doorbell.open()) return -errno;
    epoll_event ringing{};
    ringing.events = EPOLLIN;
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, doorbell.get(), &ringing) != 0) return -errno;
    try {
        idle_.reserve(setup_.workers);
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
    epoll_ = std::move(epoll);
    doorbell_ = std::move(doorbell);
    // The program's signal handlers run in the program's threads.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = ::pthread_create(&manager_, nullptr, &Pool::manager_entry, this);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error != 0) {
        epoll_.close();
        doorbell_.close();
        return -error;
    }
    state_ = State::open;
    owner_.store(::getpid(), std::memory_order_seq_cst);
    return 0;
}

bool Pool::submit(Call& call) noexcept {
    Lock lock(lock_);
    if (state_ != State::open || is_full()) {
        if (state_ == State::open) ++counts_.refused;
        call.place = Call::Place::done;
        call.ending = state_ == State::open ? Ending::queue_full : Ending::closed;
        put_name(call);
        return false;
    }
    ++counts_.calls;
    submitting_ = &call;
    enqueue(call);
    hand_out();
    submitting_ = nullptr;
    if (missing() > 0) ring();
    return call.place != Call::Place::done;
}

void Pool::withdraw(Call& call) noexcept {
    Lock lock(lock_);
    switch (call.place) {
        case Call::Place::fresh:
        case Call::Place::done:
            return;
        case Call::Place::queued:
            unlink(call);
            break;
        case Call::Place::running:
            count_run(call);
            dismiss(*call.worker);
            // There is a worker to be made, or one to be killed when its time is over.
            ring();
            break;
    }
    call.place = Call::Place::done;
    tell_drained();
}

bool Pool::begin_drain(Drain& drain) noexcept {
    Lock lock(lock_);
    if (state_ == State::fresh) state_ = State::closed;
    if (state_ == State::open) state_ = State::draining;
    if (queued_ + running_ == 0) return false;
    drain.next = std::exchange(drains_, &drain);
    return true;
}

void Pool::leave_drain(Drain& drain) noexcept {
    Lock lock(lock_);
    for (Drain** at = &drains_; *at != nullptr; at = &(*at)->next) {
        if (*at == &drain) {
            *at = drain.next;
            return;
        }
    }
}

/// Wherever a call has ended. Whoever waits may be gone when this returns.
void Pool::tell_drained() noexcept {
    if (queued_ + running_ != 0) return;
    while (drains_ != nullptr) {
        Drain& drain = *std::exchange(drains_, drains_->next);
        drain.on_drained(drain);
    }
}

void Pool::shutdown(Outstanding outstanding) noexcept {
    if (!is_ours()) return;
    {
        Lock lock(lock_);
        if (state_ == State::fresh) state_ = State::closed;
        if (state_ == State::closed) return;
        bool first = state_ == State::open || state_ == State::draining;
        state_ = State::closing;
        for (Drain* drain = drains_; drain != nullptr; drain = drain->next) drain->cut_short = true;
        if (outstanding == Outstanding::fail) fail_queue(Ending::closed, setup_.name.c_str());
        for (auto& worker : workers_) {
            Call* call = std::exchange(worker->call, nullptr);
            if (call == nullptr) continue;
            if (outstanding == Outstanding::fail) {
                put_name(*call);
                finish(*call, Ending::closed);
            } else {
                // Its caller may still withdraw it, when the worker is no more.
                call->worker = nullptr;
                call->place = Call::Place::done;
            }
        }
        ring();
        if (!first) {
            // Another thread is at it already; both may return only when all is gone.
            ended_.wait(lock, [this] { return state_ == State::closed; });
            return;
        }
    }
    ::pthread_join(manager_, nullptr);
    Lock lock(lock_);
    state_ = State::closed;
    ended_.notify_all();
}

PoolCounts Pool::counts() const noexcept {
    Lock lock(lock_);
    PoolCounts counts = counts_;
    counts.workers = living();
    counts.idle = static_cast<unsigned>(idle_.size());
    counts.queued = queued_;
    counts.running = running_;
    return counts;
}

void Pool::enqueue(Call& call) noexcept {
    call.place = Call::Place::queued;
    call.since = Clock::now();
    call.previous = last_;
    call.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &call;
    last_ = &call;
    ++queued_;
    auto demand = std::min<std::size_t>(busy() + queued_, setup_.workers);
    wanted_ = std::max(wanted_, static_cast<unsigned>(demand));
}

/// Workers that have a call, or are to give one up.
std::size_t Pool::busy() const noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(workers_, [](const auto& worker) {
        return worker->state == Worker::State::running || worker->state == Worker::State::asked;
    }));
}

/// Workers that are to come count as free: a call that one of them will take does not queue.
bool Pool::is_full() const noexcept {
    if (setup_.queue_max == SIZE_MAX || queued_ < setup_.queue_max) return false;
    std::size_t taken = std::min<std::size_t>(busy(), setup_.workers);
    return queued_ - setup_.queue_max >= setup_.workers - taken;
}

void Pool::unlink(Call& call) noexcept {
    (call.previous != nullptr ? call.previous->next : first_) = call.next;
    (call.next != nullptr ? call.next->previous : last_) = call.previous;
    --queued_;
}

/// Restores "no worker is idle while a call is queued".
void Pool::hand_out() noexcept {
    while (first_ != nullptr && !idle_.empty()) {
        Worker& worker = *idle_.back();
        idle_.pop_back();
        Call& call = *first_;
        int error = send_frame(worker.socket.get(), call.frame, Blocking::no);
        if (peer_is_gone(error)) {
            // It has not got the call, which stays first in the queue.
            kill(worker);
            continue;
        }
        unlink(call);
        if (error != 0) {
            set_idle(worker);
            call.error = -error;
            finish(call, Ending::not_sent);
            continue;
        }
        call.place = Call::Place::running;
        auto now = Clock::now();
        add(now - std::exchange(call.since, now), counts_.queue_time, counts_.queue_time_max);
        call.worker = &worker;
        call.pid = worker.pid;
        worker.call = &call;
        ++running_;
        worker.state = Worker::State::running;
        worker.has_run = true;
    }
}

void Pool::set_idle(Worker& worker) noexcept {
    worker.state = Worker::State::idle;
    idle_.push_back(&worker);
}

/// The call is in no list any more. It may be gone when this returns.
void Pool::finish(Call& call, Ending ending) noexcept {
    if (call.worker != nullptr) count_run(call);
    call.place = Call::Place::done;
    call.ending = ending;
    call.worker = nullptr;
    if (&call != submitting_) call.on_done(call);
    tell_drained();
}

/// A call whose worker has died becomes the first of the queue, if it may run again. Called when
/// no worker has it any more.
bool Pool::run_again(Call& call, bool killed_it) noexcept {
    ++(killed_it ? call.kills : call.losses);
    if (call.repeatable == detail::Repeatable::no || setup_.retry == 0) return false;
    if (call.kills >= kKillsMax || call.losses > kLossesMax) return false;
    if (killed_it && call.reruns++ >= setup_.retry) return false;
    count_run(call);
    ++counts_.retried;
    call.worker = nullptr;
    call.place = Call::Place::queued;
    call.since = Clock::now();
    call.previous = nullptr;
    call.next = first_;
    (first_ != nullptr ? first_->previous : last_) = &call;
    first_ = &call;
    ++queued_;
    return true;
}

/// A worker does not have the call any more.
void Pool::count_run(const Call& call) noexcept {
    --running_;
    add(Clock::now() - call.since, counts_.run_time, counts_.run_time_max);
}

/// For a caller that may find the pool gone when it wakes.
void Pool::put_name(Call& call) const noexcept {
    std::snprintf(call.note.data(), call.note.size(), "%s", setup_.name.c_str());
}

void Pool::fail_queue(Ending ending, const char* text) noexcept {
    while (first_ != nullptr) {
        Call& call = *first_;
        unlink(call);
        std::snprintf(call.note.data(), call.note.size(), "%s", text);
        finish(call, ending);
    }
}

/// From here on the worker only waits for its end.
void Pool::kill(Worker& worker) noexcept {
    std::erase(idle_, &worker);
    worker.state = Worker::State::doomed;
    worker.next_step_at = kNever;
    // An error means that it has ended already.
    kill_by_pidfd(worker.pidfd, SIGKILL);
}

/// The worker's call has been withdrawn: the first step of its escalation.
void Pool::dismiss(Worker& worker) noexcept {
    auto patience = setup_.escalation.ask;
    std::uint64_t id = std::exchange(worker.call, nullptr)->frame.header.id;
    // Dead already, or as good as: it is on its way out, and no step of ours makes it come back.
    if (worker.state == Worker::State::doomed) return;
    if (patience.count() <= 0 || queue_signal(worker.pidfd, ask_signal(), id) != 0) {
        return terminate(worker);
    }
    worker.state = Worker::State::asked;
    worker.asked_id = id;
    worker.next_step_at = Clock::now() + patience;
}

/// From here on the worker only waits for its end, which it may have a while to prepare for.
void Pool::terminate(Worker& worker) noexcept {
    auto patience = setup_.escalation.terminate;
    if (patience.count() <= 0) return kill(worker);
    worker.state = Worker::State::doomed;
    worker.next_step_at = Clock::now() + patience;
    kill_by_pidfd(worker.pidfd, SIGTERM);
    std::size_t leaving = 0;
    Worker* oldest = &worker;
    for (auto& other : workers_) {
        if (other->state != Worker::State::doomed || other->next_step_at == kNever) continue;
        ++leaving;
        if (other->next_step_at < oldest->next_step_at) oldest = other.get();
    }
    if (leaving > setup_.workers) kill(*oldest);
}

unsigned Pool::living() const noexcept {
    return static_cast<unsigned>(std::ranges::count_if(
        workers_, [](const auto& worker) { return worker->state != Worker::State::doomed; }));
}

/// How many workers are to be started now. After a failure nobody is started for stock.
unsigned Pool::missing() const noexcept {
    if (start_failures_ > 0 && first_ == nullptr) return 0;
    unsigned there = living();
    return wanted_ > there ? wanted_ - there : 0;
}

void Pool::ring() noexcept {
    std::uint64_t one = 1;
    // It can only fail when the bell has rung 2^64 - 2 times unheard.
    [[maybe_unused]] ssize_t written = ::write(doorbell_.get(), &one, sizeof one);
}

}  // namespace weft::rt::process
