// The pool's manager thread: polls the server, the workers and the doorbell, takes answers, and
// removes workers. How they are made is in starting.cpp.
#include "process/manager.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <limits>
#include <string_view>

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weft::rt::process {

namespace {

/// More frames than a worker can owe us; a stranger that holds its socket must not keep us reading.
constexpr int kDrainFramesMax = 4;
constexpr std::size_t kReportBytesMax = 512;
/// Until the program's standard error is asked again whether it takes something.
constexpr std::chrono::milliseconds kStderrPause{10};

}  // namespace

std::uint64_t resident_bytes_of(pid_t pid) noexcept {
    char path[48];
    std::snprintf(path, sizeof path, "/proc/%ld/statm", static_cast<long>(pid));
    Descriptor file(::open(path, O_RDONLY | O_CLOEXEC));
    char text[96] = {};
    unsigned long pages = 0;
    if (!file.open() || ::read(file.get(), text, sizeof text - 1) <= 0 ||
        std::sscanf(text, "%*u %lu", &pages) != 1) {
        return 0;
    }
    return std::uint64_t{pages} * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void* Pool::manager_entry(void* self) noexcept {
    ::pthread_setname_np(::pthread_self(), "weft-processes");
    static_cast<Pool*>(self)->manage();
    return nullptr;
}

void Pool::manage() noexcept {
    for (;;) {
        escalate();
        start_workers();
        forward_blocked_stderr();
        epoll_event events[32];
        int count = ::epoll_wait(epoll_.get(), events, std::size(events), wait_milliseconds());
        for (int i = 0; i < count; ++i) on_event(events[i].data.u64);
        Lock lock(lock_);
        if (state_ == State::closing) break;
    }
    tear_down();
}

/// Until the manager has something to do that nobody rings for; -1: there is no such thing.
int Pool::wait_milliseconds() noexcept {
    auto next = Clock::time_point::max();
    auto now = Clock::now();
    if (stderr_blocked_) next = now + kStderrPause;
    {
        Lock lock(lock_);
        if (pausing_) next = std::min(next, std::min(retry_at_, now + kLongestPause));
        for (const auto& worker : workers_) next = std::min(next, worker->next_step_at);
    }
    if (next == Clock::time_point::max()) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, std::numeric_limits<int>::max()));
}

/// Those that were dismissed, and have not done what the last step was for.
void Pool::escalate() noexcept {
    Lock lock(lock_);
    auto now = Clock::now();
    for (auto& worker : workers_) {
        if (worker->next_step_at > now) continue;
        worker->state == Worker::State::asked ? terminate(*worker) : kill(*worker);
    }
}

void Pool::on_event(std::uint64_t tag) noexcept {
    if (tag == doorbell) {
        std::uint64_t rings = 0;
        [[maybe_unused]] ssize_t bytes = ::read(doorbell_.get(), &rings, sizeof rings);
    } else if (tag == control) {
        on_control();
    } else if (tag == server_end) {
        on_control();  // what it has reported before
        if (server_.control.open()) on_server_lost("ended");
    } else if (Worker* worker = find((tag - worker_tags) / kTagsPerWorker); worker == nullptr) {
        return;
    } else if (tag == socket_tag(*worker)) {
        on_worker_socket(*worker);
    } else if (tag == stderr_tag(*worker)) {
        forward_stderr(*worker);
    } else {
        // Its server is gone, so its wait status went to somebody else, unless orphans are this
        // process's to reap.
        int status = SIGKILL;
        reap(worker->pidfd, status);
        bury_orphan(*worker, status);
    }
}

void Pool::on_control() noexcept {
    while (server_.control.open()) {
        IncomingFrame report =
            receive_frame(server_.control.get(), buffer_, kReportBytesMax, Blocking::no);
        if (report.error == -EAGAIN) return;
        if (report.error != 0 || report.closed) return on_server_lost("ended");
        bool lacking = report.bad == FrameError::no_resources;
        if (report.bad != FrameError::none && !lacking) return on_server_lost("sent garbage");
        if (report.header.kind == FrameKind::hello) {
            if (report.header.id == kPreloadFailed) return preload_failed(report);
            server_ready_ = true;
            continue;
        }
        // A worker that has been given up meanwhile is not found; it has seen the end of its
        // socket, and leaves.
        Worker* worker = find(report.header.id);
        if (worker == nullptr) continue;
        if (report.header.kind == FrameKind::exited) {
            on_exited(*worker, number_in(report));
        } else if (report.header.kind == FrameKind::spawned && !lacking) {
            on_spawned(*worker, report);
        } else {
            remove(*worker);
            start_failed("a worker process could not be started",
                         lacking ? report.shortage : number_in(report));
        }
    }
}

void Pool::on_exited(Worker& worker, int wait_status) noexcept {
    drain(worker);
    bury(worker, wait_status);
}

void Pool::on_worker_socket(Worker& worker) noexcept {
    IncomingFrame frame =
        receive_frame(worker.socket.get(), buffer_, setup_.length_max, Blocking::no);
    if (frame.error == -EAGAIN) return;
    if (frame.error == 0 && !frame.closed) return take_answer(worker, frame);
    // It has ended, or has closed its socket, which comes to the same. Who it was, its server
    // tells.
    unwatch(worker.socket.get());
    worker.socket_watched = false;
    Lock lock(lock_);
    kill(worker);
}

/// Passes on what the worker has written to standard error, and watches its pipe unless nothing can
/// be passed on.
void Pool::forward_stderr(Worker& worker) noexcept {
    StderrPipe::State state = worker.errors.forward(stderr_);
    bool watch_it = state == StderrPipe::State::read && worker.errors.is_open();
    if (worker.errors_watched && !watch_it) unwatch(worker.errors.get());
    if (!worker.errors_watched && watch_it) {
        watch_it = watch(worker.errors.get(), stderr_tag(worker)) == 0;
        if (!watch_it) stderr_blocked_ = true;  // it is looked at now and then
    }
    worker.errors_watched = watch_it;
    if (state == StderrPipe::State::blocked) stderr_blocked_ = true;
    if (state == StderrPipe::State::ended) worker.errors.close();
}

void Pool::forward_blocked_stderr() noexcept {
    if (!std::exchange(stderr_blocked_, false)) return;
    stderr_blocked_ = stderr_.write_kept();
    for (auto& worker : workers_) {
        if (worker->errors.is_open() && !worker->errors_watched) forward_stderr(*worker);
    }
}

void Pool::take_answer(Worker& worker, IncomingFrame& frame) noexcept {
    if (frame.bad != FrameError::none && frame.bad != FrameError::no_resources) {
        return distrust(worker, describe(frame.bad));
    }
    if (!worker.prepared) return on_prepared(worker, frame);
    // Before its caller goes on, what the call has printed stands where it belongs.
    if (worker.errors.is_open()) forward_stderr(worker);
    worker.errors.forget();
    ++worker.answers;
    bool done = has_done_its_share(worker);
    Lock lock(lock_);
    Call* call = worker.call;
    if (call == nullptr) {
        // The end of a call that was withdrawn.
        if (worker.state == Worker::State::doomed) return kill(worker);
        if (worker.state == Worker::State::asked && frame.header.id == worker.asked_id &&
            frame.header.kind >= FrameKind::value) {
            worker.next_step_at = kNever;
            if (done) {
                ++counts_.recycled;
                return kill(worker);
            }
            ++counts_.kept;
            set_idle(worker);
            return hand_out();
        }
        lock.unlock();
        return distrust(worker, "nobody has asked for it");
    }
    FrameKind kind = frame.header.kind;
    if (frame.header.id != call->frame.header.id || kind < FrameKind::value) {
        lock.unlock();
        return distrust(worker, "it answers another call");
    }
    start_failures_ = 0;
    worker.call = nullptr;
    if (worker.state == Worker::State::running) {
        if (done) {
            ++counts_.recycled;
            kill(worker);
        } else {
            set_idle(worker);
        }
    }
    call->answer = std::move(frame.body);
    call->memories = std::move(frame.memories);
    if (frame.bad == FrameError::no_resources) {
        call->error = frame.shortage;
        finish(*call, Ending::answer_lost);
    } else {
        finish(*call, kind == FrameKind::value       ? Ending::value
                      : kind == FrameKind::exception ? Ending::exception
                                                     : Ending::refused);
    }
    hand_out();
}

/// Whether its limits say that it is to be replaced.
bool Pool::has_done_its_share(Worker& worker) noexcept {
    const detail::ProcessLimits& limits = setup_.limits;
    if (limits.calls != 0 && worker.answers >= limits.calls) return true;
    if (limits.growth_bytes == 0) return false;
    std::uint64_t now = resident_bytes_of(worker.pid);
    return now > worker.resident_bytes && now - worker.resident_bytes > limits.growth_bytes;
}

/// What a worker that has hung up or died said before.
void Pool::drain(Worker& worker) noexcept {
    for (int i = 0; i < kDrainFramesMax && worker.note[0] == '\0'; ++i) {
        {
            Lock lock(lock_);
            kill(worker);
            if (worker.call == nullptr) return;
        }
        IncomingFrame frame =
            receive_frame(worker.socket.get(), buffer_, setup_.length_max, Blocking::no);
        if (frame.error != 0 || frame.closed) return;
        take_answer(worker, frame);
    }
}

/// A worker that speaks nonsense has lost its memory to some stray pointer: nothing more of it is
/// believed.
void Pool::distrust(Worker& worker, const char* why) noexcept {
    if (worker.socket_watched) unwatch(worker.socket.get());
    worker.socket_watched = false;
    Lock lock(lock_);
    std::snprintf(worker.note.data(), worker.note.size(),
                  "was killed, since it sent an answer that is none: %s", why);
    kill(worker);
}

/// The worker has ended, and what it had to say has been heard.
void Pool::bury(Worker& worker, int wait_status) noexcept {
    if (!worker.prepared && !worker.errors.is_open()) hear_first_word(worker);
    worker.errors.drain(stderr_);
    if (stderr_.write_kept()) stderr_blocked_ = true;
    bool at_once = false;
    {
        Lock lock(lock_);
        at_once = !worker.has_run;
        ++counts_.died;
        Call* call = std::exchange(worker.call, nullptr);
        if (call != nullptr && !run_again(*call, !worker.orphaned)) {
            call->wait_status = wait_status;
            call->note = worker.note;
            worker.errors.copy_tail(call->stderr_tail);
            finish(*call, Ending::worker_died);
        }
        hand_out();
    }
    bool failed_to_start = at_once && !worker.orphaned;
    bool in_initializer = !worker.prepared && setup_.initializer.code != nullptr;
    Note note = worker.note;
    remove(worker);
    if (failed_to_start) {
        char end[64];
        describe_end(wait_status, end, sizeof end);
        char text[640];
        const char* how = note[0] != '\0' ? note.data() : "ended";
        if (in_initializer) {
            std::string_view name = setup_.initializer.name.substr(0, 120);
            std::snprintf(text, sizeof text, "a worker process %s in the initializer %.*s (%s)",
                          how, static_cast<int>(name.size()), name.data(), end);
        } else {
            std::snprintf(text, sizeof text, "a worker process %s before its first call (%s)", how,
                          end);
        }
        start_failed(text, 0);
    }
}

/// One whose server has ended.
void Pool::bury_orphan(Worker& worker, int wait_status) noexcept {
    drain(worker);
    if (worker.note[0] == '\0' && wait_status == SIGKILL) {
        std::snprintf(worker.note.data(), worker.note.size(),
                      "was killed with its fork server (%s)", server_end_.data());
    }
    bury(worker, wait_status);
}

/// It has ended in its initializer before anybody looked at its socket. What it had to say is in the pipe that came first.
void Pool::hear_first_word(Worker& worker) noexcept {
    IncomingFrame frame =
        receive_frame(worker.socket.get(), buffer_, setup_.length_max, Blocking::no);
    bool is_pipe = frame.error == 0 && !frame.closed && frame.bad == FrameError::none &&
                   frame.header.kind == FrameKind::spawned && frame.header.id == kPreparation;
    if (is_pipe) worker.errors.open(std::move(frame.passed));
}

void Pool::remove(Worker& worker) noexcept {
    if (worker.socket_watched) unwatch(worker.socket.get());
    if (worker.orphaned) unwatch(worker.pidfd.get());
    if (worker.errors_watched) unwatch(worker.errors.get());
    Lock lock(lock_);
    std::erase(idle_, &worker);
    std::erase_if(workers_, [&](const auto& other) { return other.get() == &worker; });
}

void Pool::tear_down() noexcept {
    {
        Lock lock(lock_);
        for (auto& worker : workers_) kill(*worker);
    }
    if (server_.control.open()) {
        // At the end of its control socket the server kills and reaps whatever it has left, and
        // leaves.
        unwatch(server_.control.get());
        // In a preload it does not look there, and it has no workers yet.
        if (!server_ready_) kill_by_pidfd(server_.pidfd, SIGKILL);
        server_.control.close();
        if (!wait_for_end(server_.pidfd, kEndMilliseconds)) kill_by_pidfd(server_.pidfd, SIGKILL);
        int status = 0;
        reap(server_.pidfd, status);
        server_ = SpawnedServer{};
    }
    for (auto& worker : workers_) {
        if (!worker->orphaned) continue;
        int status = 0;
        if (wait_for_end(worker->pidfd, kEndMilliseconds)) reap(worker->pidfd, status);
    }
    for (auto& worker : workers_) worker->errors.drain(stderr_);
    stderr_.finish();
    Lock lock(lock_);
    idle_.clear();
    workers_.clear();
}

Worker* Pool::find(std::uint64_t ticket) noexcept {
    for (auto& worker : workers_) {
        if (worker->ticket == ticket) return worker.get();
    }
    return nullptr;
}

/// -errno: epoll has a limit and a need of memory of its own.
int Pool::watch(int fd, std::uint64_t tag) noexcept {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = tag;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/// Always before close(): a copy of the descriptor in a forked child would keep the event alive.
void Pool::unwatch(int fd) noexcept { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

}  // namespace weft::rt::process
