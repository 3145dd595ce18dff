// The half of the manager thread that makes processes: the fork server, and workers with it, and
// what is told where none can be had.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <string_view>

#include "process/manager.hpp"

namespace weft::rt::process {

namespace {

/// Tries that fail in a row before the queued calls are failed too. With the pauses between them
/// about 0.3 s, which covers a short lack of descriptors or processes.
constexpr unsigned kStartFailuresMax = 5;
constexpr std::chrono::milliseconds kFirstPause{10};
/// Requests at the server at a time; keeps both directions of its socket from filling up.
constexpr std::ptrdiff_t kStartingMax = 16;
constexpr std::size_t kTextBytes = sizeof(Note);

void describe_step(char* text, const char* what, std::string_view name,
                   std::span<const std::byte> wrong) noexcept {
    std::snprintf(text, kTextBytes, "the %s %.*s failed: %.*s", what,
                  static_cast<int>(std::min<std::size_t>(name.size(), 120)), name.data(),
                  static_cast<int>(wrong.size()), reinterpret_cast<const char*>(wrong.data()));
}

}  // namespace

void Pool::on_spawned(Worker& worker, IncomingFrame& report) noexcept {
    worker.pid = number_in(report);
    worker.pidfd = std::move(report.passed);
    if (int error = watch(worker.socket.get(), socket_tag(worker)); error != 0) {
        return give_up(worker, "a worker process could not be watched", -error);
    }
    worker.socket_watched = true;
    Lock lock(lock_);
    ++counts_.started;
    worker.state = Worker::State::preparing;
}

/// What a worker says before its first call: first its standard error, then that it is ready.
void Pool::on_prepared(Worker& worker, IncomingFrame& frame) noexcept {
    if (frame.header.id != kPreparation) return distrust(worker, "nobody has asked for it");
    if (frame.bad == FrameError::no_resources) {
        return give_up(worker, "a worker process could not be heard", frame.shortage);
    }
    if (frame.header.kind == FrameKind::spawned) {
        if (worker.errors.is_open()) return distrust(worker, "it has been sent before");
        if (int error = worker.errors.open(std::move(frame.passed)); error != 0) {
            return give_up(worker, "a worker process could not be heard", -error);
        }
        return forward_stderr(worker);
    }
    bool refused = frame.header.kind == FrameKind::refused;
    if (frame.header.kind != FrameKind::value && !refused) {
        return distrust(worker, "nobody has asked for it");
    }
    // What it has printed until now belongs to its preparation.
    if (worker.errors.is_open()) forward_stderr(worker);
    std::span<const std::byte> wrong = frame.body.bytes();
    if (refused || !wrong.empty()) {
        char text[kTextBytes];
        describe_step(text, refused ? "preparation" : "initializer",
                      refused ? "of a worker process" : setup_.initializer.name, wrong);
        return give_up(worker, text, 0);
    }
    worker.errors.forget();
    worker.prepared = true;
    if (setup_.limits.growth_bytes != 0) worker.resident_bytes = resident_bytes_of(worker.pid);
    Lock lock(lock_);
    if (worker.state == Worker::State::doomed) return;
    set_idle(worker);
    hand_out();
}

void Pool::preload_failed(const IncomingFrame& report) noexcept {
    int status = 0;
    end_server(status);
    char text[kTextBytes];
    describe_step(text, "preload", setup_.preload.name, report.body.bytes());
    start_failed(text, 0);
}

/// A worker that has not had a call yet, and shall not get one.
void Pool::give_up(Worker& worker, const char* what, int error) noexcept {
    {
        Lock lock(lock_);
        kill(worker);
    }
    remove(worker);
    start_failed(what, error);
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
    if (known) {
        describe_end(status, server_end_.data(), server_end_.size());
    } else {
        std::snprintf(server_end_.data(), server_end_.size(),
                      "somebody else has taken its exit status");
    }

    // The kernel kills its workers with it. Each is waited for, so that what it had answered before
    // is not lost; here, where it cannot be watched. All are killed before the first is drained,
    // which may hand a call to one that is idle.
    for (std::size_t i = 0; i < workers_.size();) {
        Worker& worker = *workers_[i];
        if (!worker.pidfd.open()) {
            remove(worker);
            continue;
        }
        kill_group_by_pidfd(worker.pidfd);
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
        bury_orphan(worker, SIGKILL);
    }
    const char* where = was_ready ? ""
                        : setup_.preload.code == nullptr
                            ? " before main, in the program's static constructors"
                            : " in the program's static constructors, or in the preload ";
    std::string_view step = was_ready ? std::string_view() : setup_.preload.name.substr(0, 120);
    char text[kTextBytes];
    if (!was_ready && known && WIFEXITED(status) && WEXITSTATUS(status) == kExitProtocol) {
        return start_failed(
            "the fork server is of another version of weft: the program or its library has been "
            "exchanged while it runs, and has to be started anew",
            0);
    }
    std::snprintf(text, sizeof text, "the fork server %s%s%.*s (%s)", what, where,
                  static_cast<int>(step.size()), step.data(), server_end_.data());
    start_failed(text, 0);
}

void Pool::start_workers() noexcept {
    unsigned missing_now = 0;
    std::ptrdiff_t starting = 0;
    {
        Lock lock(lock_);
        if (state_ != State::open && state_ != State::draining) return;
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
    if (int error = spawn_fork_server(worker_setup_, server); error != 0) {
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
    // Those that are being prepared may fail as the others did, and never all at the same time.
    auto serves = [](const auto& worker) {
        return worker->state == Worker::State::idle || worker->state == Worker::State::running ||
               worker->state == Worker::State::asked;
    };
    if (++start_failures_ >= kStartFailuresMax && std::ranges::none_of(workers_, serves)) {
        fail_queue(Ending::no_worker, note.data());
    }
    // Nothing but the time brings the manager back to those that still wait.
    pausing_ = missing() > 0;
}

}  // namespace weft::rt::process
