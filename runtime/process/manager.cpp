// The pool's manager thread: polls the server, the workers and the doorbell, and makes and removes
// workers.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/pool.hpp"

namespace weft::rt::process {

namespace {

/// What an epoll event is about; 0 is the doorbell. Tickets start behind these, and are never used
/// twice, so that an event of something that is gone by now finds nobody.
enum Tag : std::uint64_t { doorbell = 0, control, server_end, worker_tags = 16 };

std::uint64_t socket_tag(const Worker& worker) noexcept { return worker_tags + worker.ticket * 2; }
std::uint64_t end_tag(const Worker& worker) noexcept { return socket_tag(worker) + 1; }

/// Tries that fail in a row before the queued calls are failed too. With the pauses between them
/// about 0.3 s, which covers a short lack of descriptors or processes.
constexpr unsigned kStartFailuresMax = 5;
constexpr std::chrono::milliseconds kFirstPause{10};
constexpr std::chrono::milliseconds kLongestPause{1000};
/// Requests at the server at a time; keeps both directions of its socket from filling up.
constexpr std::ptrdiff_t kStartingMax = 16;
/// A process that does not end in that time after SIGKILL hangs in the kernel; the program's exit
/// shall not.
constexpr int kEndMilliseconds = 5000;
/// More frames than a worker can owe us; a stranger that holds its socket must not keep us reading.
constexpr int kDrainFramesMax = 4;
constexpr std::size_t kReportBytesMax = 64;

int number_in(const IncomingFrame& frame) noexcept {
    int number = 0;
    std::span<const std::byte> bytes = frame.body.bytes();
    std::memcpy(&number, bytes.data(), std::min(bytes.size(), sizeof number));
    return number;
}

void describe_end(int wait_status, char* text, std::size_t size) noexcept {
    if (WIFSIGNALED(wait_status)) {
        std::snprintf(text, size, "signal %d", WTERMSIG(wait_status));
    } else {
        std::snprintf(text, size, "exit status %d", WEXITSTATUS(wait_status));
    }
}

}  // namespace

void* Pool::manager_entry(void* self) noexcept {
    ::pthread_setname_np(::pthread_self(), "weft-processes");
    static_cast<Pool*>(self)->manage();
    return nullptr;
}

void Pool::manage() noexcept {
    for (;;) {
        start_workers();
        epoll_event events[32];
        int count = ::epoll_wait(epoll_.get(), events, std::size(events), wait_milliseconds());
        for (int i = 0; i < count; ++i) on_event(events[i].data.u64);
        Lock lock(lock_);
        if (state_ == State::closing) break;
    }
    tear_down();
}

/// Until the next try to start a worker, if there is to be one.
int Pool::wait_milliseconds() noexcept {
    Lock lock(lock_);
    if (!pausing_) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(retry_at_ - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, kLongestPause.count()));
}

void Pool::on_event(std::uint64_t tag) noexcept {
    if (tag == doorbell) {
        std::uint64_t rings = 0;
        [[maybe_unused]] ssize_t bytes = ::read(doorbell_.get(), &rings, sizeof rings);
    } else if (tag == control) {
        on_control();
    } else if (tag == server_end) {
        if (server_.control.open()) on_server_lost("ended");
    } else if (Worker* worker = find((tag - worker_tags) / 2); worker == nullptr) {
        return;
    } else if (tag == socket_tag(*worker)) {
        on_worker_socket(*worker);
    } else {
        // Its server is gone, so its wait status went to somebody else, unless orphans are this
        // process's to reap.
        int status = SIGKILL;
        reap(worker->pidfd, status);
        drain(*worker);
        bury(*worker, status);
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

void Pool::on_spawned(Worker& worker, IncomingFrame& report) noexcept {
    worker.pid = number_in(report);
    worker.pidfd = std::move(report.passed);
    if (int error = watch(worker.socket.get(), socket_tag(worker)); error != 0) {
        // Its socket closes here, so the process leaves.
        remove(worker);
        start_failed("a worker process could not be watched", -error);
        return;
    }
    worker.socket_watched = true;
    Lock lock(lock_);
    ++counts_.started;
    set_idle(worker);
    hand_out();
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

void Pool::take_answer(Worker& worker, IncomingFrame& frame) noexcept {
    if (frame.bad != FrameError::none && frame.bad != FrameError::no_resources) {
        return distrust(worker, describe(frame.bad));
    }
    Lock lock(lock_);
    Call* call = worker.call;
    if (call == nullptr) {
        // Of a doomed worker it is the answer of a call that was withdrawn.
        bool withdrawn = worker.state == Worker::State::doomed;
        lock.unlock();
        if (!withdrawn) distrust(worker, "nobody has asked for it");
        return;
    }
    FrameKind kind = frame.header.kind;
    if (frame.header.id != call->frame.header.id || kind < FrameKind::value) {
        lock.unlock();
        return distrust(worker, "it answers another call");
    }
    start_failures_ = 0;
    worker.call = nullptr;
    if (worker.state == Worker::State::running) set_idle(worker);
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
    bool at_once = false;
    {
        Lock lock(lock_);
        at_once = !worker.has_run;
        ++counts_.died;
        Call* call = std::exchange(worker.call, nullptr);
        if (call != nullptr && !run_again(*call, !worker.orphaned)) {
            call->wait_status = wait_status;
            call->note = worker.note;
            finish(*call, Ending::worker_died);
        }
        hand_out();
    }
    bool by_us = worker.note[0] != '\0' || worker.orphaned;
    remove(worker);
    if (at_once && !by_us) {
        char end[64];
        describe_end(wait_status, end, sizeof end);
        char text[128];
        std::snprintf(text, sizeof text, "a worker process ended before its first call (%s)", end);
        start_failed(text, 0);
    }
}

void Pool::remove(Worker& worker) noexcept {
    if (worker.socket_watched) unwatch(worker.socket.get());
    if (worker.orphaned) unwatch(worker.pidfd.get());
    Lock lock(lock_);
    std::erase(idle_, &worker);
    std::erase_if(workers_, [&](const auto& other) { return other.get() == &worker; });
}

/// Whether its wait status was to be had.
bool Pool::end_server(int& wait_status) noexcept {
    unwatch(server_.control.get());
    unwatch(server_.pidfd.get());
    kill_by_pidfd(server_.pidfd, SIGKILL);
    bool known = reap(server_.pidfd, wait_status) == 0;
    server_ready_ = false;
    server_ = SpawnedServer{};
    return known;
}

void Pool::on_server_lost(const char* what) noexcept {
    bool was_ready = server_ready_;
    int status = 0;
    bool known = end_server(status);

    // The kernel kills its workers with it. Each is waited for, so that what it had answered before
    // is not lost; here, where it cannot be watched. All are killed before the first is drained,
    // which may hand a call to one that is idle.
    for (std::size_t i = 0; i < workers_.size();) {
        Worker& worker = *workers_[i];
        if (!worker.pidfd.open()) {
            remove(worker);
            continue;
        }
        Lock lock(lock_);
        kill(worker);
        ++i;
    }
    for (std::size_t i = 0; i < workers_.size();) {
        Worker& worker = *workers_[i];
        bool watched =
            std::exchange(worker.orphaned, true) || watch(worker.pidfd.get(), end_tag(worker)) == 0;
        if (watched) {
            ++i;
            continue;
        }
        wait_for_end(worker.pidfd, kEndMilliseconds);
        drain(worker);
        bury(worker, SIGKILL);
    }

    char end[64] = "somebody else has taken its exit status";
    if (known) describe_end(status, end, sizeof end);
    char text[160];
    std::snprintf(text, sizeof text, "the fork server %s%s (%s)", what,
                  was_ready ? "" : " before main, in the program's static constructors", end);
    start_failed(text, 0);
}

void Pool::start_workers() noexcept {
    unsigned missing_now = 0;
    std::ptrdiff_t starting = 0;
    {
        Lock lock(lock_);
        if (state_ != State::open) return;
        missing_now = missing();
        pausing_ = missing_now > 0 && start_failures_ > 0 && Clock::now() < retry_at_;
        if (missing_now == 0 || pausing_) return;
        starting = std::ranges::count(workers_, Worker::State::starting,
                                      [](const auto& worker) { return worker->state; });
    }
    if (!server_.control.open()) return start_server();
    if (!server_ready_) return;
    while (missing_now-- > 0 && starting++ < kStartingMax) {
        if (!spawn_worker()) return;
    }
}

void Pool::start_server() noexcept {
    SpawnedServer server;
    if (int error = spawn_fork_server(setup_.length_max, server); error != 0) {
        return start_failed("the fork server could not be started", -error);
    }
    server_ = std::move(server);
    int error = watch(server_.control.get(), control);
    if (error == 0) error = watch(server_.pidfd.get(), server_end);
    if (error != 0) {
        int status = 0;
        end_server(status);
        start_failed("the fork server could not be watched", -error);
    }
}

/// Asks the server for one; it counts as starting until the server has answered.
bool Pool::spawn_worker() noexcept {
    Descriptor theirs;
    auto worker = std::unique_ptr<Worker>(new (std::nothrow) Worker);
    if (worker == nullptr) {
        start_failed("a worker process could not be started", ENOMEM);
        return false;
    }
    worker->ticket = next_ticket_++;
    int error = make_socketpair(worker->socket, theirs);
    OutgoingFrame request;
    if (error == 0) error = make_frame(FrameKind::spawn, worker->ticket, {}, request);
    if (error == 0) {
        error = send_frame(server_.control.get(), request, Blocking::no, theirs.get());
        // Busy with earlier requests; its reports to them bring us here again.
        if (error == -EAGAIN) return false;
    }
    if (error == -EPIPE || error == -ECONNRESET) return false;  // its end is about to be reported
    if (error != 0) {
        start_failed("a worker process could not be started", -error);
        return false;
    }
    Lock lock(lock_);
    try {
        workers_.push_back(std::move(worker));
    } catch (const std::bad_alloc&) {
        // Its socket closes here, so the process leaves as soon as it is there.
        lock.unlock();
        start_failed("a worker process could not be started", ENOMEM);
        return false;
    }
    return true;
}

/// Counts the failure, and after several in a row tells the callers that wait.
void Pool::start_failed(const char* what, int error) noexcept {
    Note note{};
    if (error != 0) {
        char reason[96];
        std::snprintf(note.data(), note.size(), "%s: %s", what,
                      ::strerror_r(error, reason, sizeof reason));
    } else {
        std::snprintf(note.data(), note.size(), "%s", what);
    }
    Lock lock(lock_);
    auto pause = kFirstPause * (1U << std::min(start_failures_, 10U));
    retry_at_ = Clock::now() + std::min<Clock::duration>(pause, kLongestPause);
    if (++start_failures_ >= kStartFailuresMax && living() == 0) {
        fail_queue(Ending::no_worker, note.data());
    }
    // Nothing but the time brings the manager back to those that still wait.
    pausing_ = missing() > 0;
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
