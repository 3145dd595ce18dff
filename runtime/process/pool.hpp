// A pool of worker processes: who runs which call, who lives, and what is told when somebody dies.
//
// Who comes in: door.cpp, with a Call in the frame of the caller that waits for it. submit() hands
// it over, on_done gives it back; withdraw() takes it back early. Nothing of the user's types is
// known here.
//
// A call:   fresh -> queued -> running -> done, or straight to done; withdrawn from queued, running.
// A worker: starting -> preparing -> idle <-> running -> doomed -> gone, and running -> asked ->
//           idle or doomed. A starting one has been requested, a preparing one is there and has not
//           said yet that it is ready. An asked one runs a call that was withdrawn, and has been
//           asked to give it up. A doomed one has been terminated or killed, or has hung up, and
//           waits to be reaped; what it still has in its socket is read before its call is given
//           up.
// Invariants, under the lock:
//   - an asked worker becomes idle by its answer, or is doomed at its `next_step_at`;
//   - a doomed worker is killed, or will be at its `next_step_at`;
//   - a call is in the queue, or is some worker's `call`, or is the caller's alone;
//   - a call is with one worker at a time, and on_done is called once: exactly one answer. It is
//     sent once, at most one run, unless it is repeatable and its worker has died;
//   - no worker is idle while a call is queued;
//   - a worker's death fails the call it had, or puts it first in the queue again, and concerns no
//     other. Of a call that has killed kKillsMax workers it is believed that it kills the next one.
//
// Thread rules. The lock guards the calls, the queue, and the workers' state. Callers take it to
// queue a call and to send it at once where a worker is idle (one packet, non-blocking). Sockets
// are read, workers are made and removed, and the server is dealt with by the manager thread alone:
// it polls everything and is the only thread that waits. It lives as long as the pool, as it must:
// the fork server dies with the thread that spawned it (PDEATHSIG). on_done is called under the
// lock, from either thread; it may wake the caller and do no more.
//
// Rejected: one lock or queue shared with the workers in shared memory (a worker killed while it
// holds it takes the pool along: CPython's and others' trouble), and calls sent ahead to busy
// workers (until a benchmark asks: a call behind a long one cannot be taken back).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <pthread.h>

#include "process/fork_server.hpp"
#include "process/frame.hpp"
#include "process/stderr_relay.hpp"

namespace weft::rt::process {

/// How a call ended.
enum class Ending : std::uint8_t {
    pending,
    value,        ///< `answer` is the result
    exception,    ///< `answer` is the exception
    refused,      ///< `answer` is a Refusal
    worker_died,  ///< `wait_status`, `pid`; `note` says why it was killed, if the pool did it
    no_worker,    ///< no worker could be started; `note` says why. The call has not run
    not_sent,     ///< `error`. The call has not run
    answer_lost,  ///< `error`: what the program lacked to take the answer
    queue_full,   ///< the call has not been taken; `note` is the pool's name
    closed,       ///< the pool has been shut down; `note` is its name
};

/// A short text that needs no memory.
using Note = std::array<char, 400>;

struct Worker;

struct Call {
    // The caller's, until submit().
    OutgoingFrame frame;
    void (*on_done)(Call& self) noexcept = nullptr;
    detail::Repeatable repeatable = detail::Repeatable::no;

    // The caller's again, after on_done.
    Ending ending = Ending::pending;
    int wait_status = 0;
    int error = 0;
    pid_t pid = 0;
    unsigned kills = 0;  // workers that have died of it
    Payload answer;
    detail::ArrivedFiles memories;  // of a value
    Payload stderr_tail;            // where the worker died
    Note note{};

    // The pool's, under its lock.
    enum class Place : std::uint8_t { fresh, queued, running, done } place = Place::fresh;
    Call* previous = nullptr;
    Call* next = nullptr;
    Worker* worker = nullptr;
    unsigned reruns = 0;
    unsigned losses = 0;                            // workers that have died with it, but not of it
    std::chrono::steady_clock::time_point since{};  // it is in the queue, or with its worker
};

inline constexpr auto kNever = std::chrono::steady_clock::time_point::max();

struct Worker {
    enum class State : std::uint8_t { starting, preparing, idle, running, asked, doomed };

    std::uint64_t ticket = 0;
    State state = State::starting;
    bool socket_watched = false;
    bool orphaned =
        false;  // its server is gone: its pidfd is watched, and its wait status will not come
    bool prepared = false;  // the manager's
    bool has_run = false;
    std::uint64_t answers = 0;         // the manager's
    std::uint64_t resident_bytes = 0;  // the manager's: when it was ready
    pid_t pid = 0;
    Descriptor socket;
    Descriptor pidfd;
    StderrPipe errors;  // the manager's
    bool errors_watched = false;
    Call* call = nullptr;
    std::uint64_t asked_id = 0;  // of the call that an asked one is to give up
    std::chrono::steady_clock::time_point next_step_at = kNever;  // of its escalation
    Note note{};                                                  // why the pool killed it
};

/// Somebody who waits until no call is left, in its own frame.
struct Drain {
    void (*on_drained)(Drain& self) noexcept = nullptr;
    Drain* next = nullptr;
    bool cut_short = false;  // by a shutdown that waits for no call
};

/// What becomes of calls that are not done when the pool is shut down.
enum class Outstanding : std::uint8_t {
    fail,     ///< they end as `closed`
    abandon,  ///< their callers are never woken: the program is ending
};

using PoolCounts = detail::ProcessPoolFigures;

class Pool {
public:
    Pool(const detail::ProcessPoolSetup& setup, const WorkerSetup& worker_setup)
        : setup_(setup), worker_setup_(worker_setup) {}
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    ~Pool() { shutdown(Outstanding::fail); }

    /// Makes the manager thread, if there is none yet; -errno. Workers come with the first calls.
    int start() noexcept;

    /// Takes the call; after start(). False: it has ended already (`closed`, or it could not be
    /// sent), and on_done is not called. True: on_done will be called, perhaps before this returns.
    bool submit(Call& call) noexcept;

    /// Takes the call back: out of the queue, or by killing the worker that runs it. When this
    /// returns on_done has been called, or never will be; nothing of the pool refers to the call.
    void withdraw(Call& call) noexcept;

    /// From now on submit() refuses calls. False: no call is left, and on_drained is not called.
    /// True: it will be called, when the last has ended or shutdown() has failed it.
    bool begin_drain(Drain& drain) noexcept;
    /// When this returns on_drained has been called, or never will be. The pool goes on refusing.
    void leave_drain(Drain& drain) noexcept;

    /// Kills all workers and ends the server and the manager thread; returns when they are gone.
    /// Idempotent. In a child that somebody forked off the program it does nothing, since none of
    /// it is the child's.
    void shutdown(Outstanding outstanding) noexcept;

    PoolCounts counts() const noexcept;
    std::size_t length_max() const noexcept { return setup_.length_max; }
    /// Whether this process made the pool (true also before start()), and is no fork of the one
    /// that did.
    bool is_ours() const noexcept;

private:
    using Clock = std::chrono::steady_clock;
    using Lock = std::unique_lock<std::mutex>;

    // pool.cpp; all under the lock
    void enqueue(Call& call) noexcept;
    void unlink(Call& call) noexcept;
    void hand_out() noexcept;
    void finish(Call& call, Ending ending) noexcept;
    bool run_again(Call& call, bool killed_it) noexcept;
    void count_run(const Call& call) noexcept;
    void put_name(Call& call) const noexcept;
    void fail_queue(Ending ending, const char* text) noexcept;
    void kill(Worker& worker) noexcept;
    std::size_t busy() const noexcept;
    bool is_full() const noexcept;
    void dismiss(Worker& worker) noexcept;
    void terminate(Worker& worker) noexcept;
    void tell_drained() noexcept;
    void set_idle(Worker& worker) noexcept;
    unsigned living() const noexcept;
    unsigned missing() const noexcept;
    void ring() noexcept;

    // manager.cpp and starting.cpp; the manager thread, which takes the lock where it needs it
    static void* manager_entry(void* self) noexcept;
    void manage() noexcept;
    int wait_milliseconds() noexcept;
    void escalate() noexcept;
    void on_event(std::uint64_t tag) noexcept;
    void on_control() noexcept;
    void on_exited(Worker& worker, int wait_status) noexcept;
    void on_worker_socket(Worker& worker) noexcept;
    void forward_stderr(Worker& worker) noexcept;
    void forward_blocked_stderr() noexcept;
    void take_answer(Worker& worker, IncomingFrame& frame) noexcept;
    void drain(Worker& worker) noexcept;
    void bury(Worker& worker, int wait_status) noexcept;
    void bury_orphan(Worker& worker, int wait_status) noexcept;
    void hear_first_word(Worker& worker) noexcept;
    void remove(Worker& worker) noexcept;
    void distrust(Worker& worker, const char* why) noexcept;
    void on_spawned(Worker& worker, IncomingFrame& report) noexcept;
    void on_prepared(Worker& worker, IncomingFrame& frame) noexcept;
    void preload_failed(const IncomingFrame& report) noexcept;
    bool has_done_its_share(Worker& worker) noexcept;
    void give_up(Worker& worker, const char* what, int error) noexcept;
    void on_server_lost(const char* what) noexcept;
    bool end_server(int& wait_status) noexcept;
    void start_workers() noexcept;
    void start_server() noexcept;
    bool spawn_worker() noexcept;
    void start_failed(const char* what, int error) noexcept;
    void tear_down() noexcept;
    Worker* find(std::uint64_t ticket) noexcept;
    int watch(int fd, std::uint64_t tag) noexcept;
    void unwatch(int fd) noexcept;

    const detail::ProcessPoolSetup setup_;
    const WorkerSetup worker_setup_;

    mutable std::mutex lock_;
    std::condition_variable ended_;  // for shutdown() from several threads
    /// A draining one refuses calls, and runs those it has.
    enum class State : std::uint8_t {
        fresh,
        open,
        draining,
        closing,
        closed,
    } state_ = State::fresh;
    Call* first_ = nullptr;  // the queue, oldest first
    Call* last_ = nullptr;
    std::size_t queued_ = 0;
    std::size_t running_ = 0;  // calls that a worker has
    Drain* drains_ = nullptr;
    const Call* submitting_ = nullptr;  // is told by submit()'s result, not by on_done
    std::vector<std::unique_ptr<Worker>> workers_;
    std::vector<Worker*> idle_;  // the one used last is used next: its caches are warm
    unsigned wanted_ = 0;  // workers that recent demand has called for; grows up to workers_max_
    unsigned start_failures_ = 0;  // in a row
    Clock::time_point retry_at_{};
    bool pausing_ = false;  // the manager's: a start is due at retry_at_
    PoolCounts counts_;

    // The manager's own; `manager_` and `owner_` are set once, by start().
    pthread_t manager_{};
    std::atomic<pid_t> owner_{0};
    Descriptor epoll_;
    Descriptor doorbell_;
    SpawnedServer server_;
    bool server_ready_ = false;
    std::array<char, 64> server_end_{};  // of the last one
    StderrRelay stderr_;
    bool stderr_blocked_ = false;  // some worker's pipe is left unread for the moment
    std::uint64_t next_ticket_ = 0;
    std::array<std::byte, kPacketBytesMax + 1> buffer_;
};

}  // namespace weft::rt::process
