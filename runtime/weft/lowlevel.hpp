// The waist: the one engine header that the interface stands on. Public, for people who build their own primitives.
//
// There is one way to wait, park(), and one way to end a wait, unpark(). Every lock, queue, timer, task and offload
// of weft is thin on top of them. The shape is the one that Go (gopark), Trio (wait_task_rescheduled), userver
// (Sleep) and folly (Baton) all arrived at: leave the stack first, publish the waiter afterwards, and say on waking
// why one woke.
//
// A primitive keeps a list of Waiters under a lock of its own. To wait, it calls park() with a `commit` that takes
// that lock, looks once more whether it must wait at all, and links the Waiter. To wake, it unlinks a Waiter under
// the lock and calls unpark(); false means that the wait had already ended for another reason, so try the next one.
// Whoever wakes by_cancel or by_deadline takes its Waiter out of the list, under the lock, before it returns.
// What is handed over must be in the waiter's frame before unpark(), since the waiter may run at once.
#pragma once

#include <weft/detail/task_core.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

}  // namespace weft

namespace weft::lowlevel {

/// No deadline.
inline constexpr TimePoint kNever = TimePoint::max();

/// One wait of one task or thread. Valid until that wait has ended; afterwards unpark() of it does nothing.
struct Waiter {
    detail::Core* core = nullptr;
    std::uint32_t epoch = 0;
};

/// What a parked task waits for, as dumps and deadlock reports print it.
struct WaitReason {
    const char* what;    ///< a literal: "Lock.acquire"
    const void* object;  ///< the lock
};

enum class Interrupt : std::uint8_t {
    by_cancel,  ///< a cancel ends the wait (unless the task is unwinding or in a ShieldScope)
    never,      ///< the wait is shielded
};

using CommitFunction = bool (*)(void* argument, Waiter self);

/// park() below, with its commit as a plain function. `commit` must not throw.
Woken park_with(WaitReason reason, CommitFunction commit, void* argument, TimePoint deadline,
                Interrupt interrupt) noexcept;

/// Waits until unpark(), the deadline, or a cancel.
///
/// `bool commit(Waiter) noexcept` is called when the task has left its stack: it publishes the waiter and returns
/// true, or returns false to go on at once (as if unparked). It must not wait. In a thread that is no task of weft's,
/// the thread blocks instead. A task that is being unwound, or in a ShieldScope, is not woken by a cancel.
///
/// @return   why the wait ended. by_cancel: the cancel is still to be taken, by throw_cancelled() or take_cancel().
/// @cost     two atomic operations and one or two switches
template <class Commit>
Woken park(WaitReason reason, Commit&& commit, TimePoint deadline = kNever,
           Interrupt interrupt = Interrupt::by_cancel) noexcept {
    using Plain = std::remove_reference_t<Commit>;
    static_assert(std::is_nothrow_invocable_r_v<bool, Plain&, Waiter>,
                  "weft::lowlevel::park: commit must be callable as bool(Waiter) noexcept");
    return park_with(
        reason, [](void* argument, Waiter self) { return (*static_cast<Plain*>(argument))(self); },
        const_cast<void*>(static_cast<const void*>(std::addressof(commit))), deadline, interrupt);
}

/// Ends that wait, if nothing else has: true if it was this call that did. Any thread; never waits; runs no user code.
bool unpark(Waiter waiter) noexcept;

/// Whether this code runs in a task of weft's (and not on a plain thread).
bool in_task() noexcept;

/// Throws weft::UsageError naming `what` unless called in a task.
void require_task(const char* what);

/// After a wait that ended by_cancel: takes the pending cancel and throws it as weft::CancelledError.
[[noreturn]] void throw_cancelled();

/// Delivers a pending cancel, as every wait does before it waits: throws weft::CancelledError if there is one
/// and the task is not shielded. In a call that a task waits for elsewhere (to_thread, to_arena) the same for a call that
/// was asked to stop. Does nothing elsewhere.
void checkpoint();

/// Takes the pending cancel without throwing it; true if there was one. Its message goes into `message`.
bool take_cancel(std::string* message) noexcept;

/// Lets every other task that is ready run first. A cancel point. UsageError outside of a task.
void yield();

/// The time on the runtime's clock: steady, and virtual in a simulation. Any thread.
TimePoint now() noexcept;

}  // namespace weft::lowlevel

// What the interface's templates need of the engine beyond the waist. Not for users.
namespace weft::detail {

using lowlevel::Waiter;

/// Room behind a TaskCore for callable and result, in one block of the pool.
inline constexpr std::size_t kTaskPayloadOffset = (sizeof(TaskCore) + 15) & ~std::size_t{15};
/// The sizes of blocks; see runtime/task_pool.hpp.
inline constexpr std::size_t kTaskBlockBytes[] = {256, 384, 512, 1024};
inline constexpr std::size_t kTaskPayloadMax = 1024 - kTaskPayloadOffset;

constexpr std::size_t size_class_of(std::size_t payload_bytes) noexcept {
    std::size_t c = 0;
    while (kTaskBlockBytes[c] < kTaskPayloadOffset + payload_bytes) ++c;
    return c;
}

inline void* task_payload(TaskCore& task) noexcept {
    return reinterpret_cast<std::byte*>(&task) + kTaskPayloadOffset;
}

/// A fresh task with two references (the runtime's and the handle's) in a block of that size. std::bad_alloc.
/// With `what`, UsageError that names it unless called in a running runtime.
TaskCore* allocate_task(std::size_t size_class, const CoreOps* ops, std::source_location where,
                        const char* what);
/// Gives a block back whose task is done and has no reference left.
void free_task(TaskCore& task) noexcept;
/// Gives up a task whose callable could not be made.
void drop_unmade(TaskCore& task) noexcept;

/// Makes a new task runnable, in the current runtime or in `scheduler`, in a copy of the current context unless it
/// has one. Never throws.
void launch(TaskCore& task) noexcept;
void launch_in(rt::Scheduler& scheduler, TaskCore& task) noexcept;
/// A runtime that may end before it is asked for something. Its address alone may be another one's by then.
struct HomeRef {
    rt::Scheduler* scheduler = nullptr;
    std::uint64_t serial = 0;
};
/// Null if there is none, or it is no more.
HomeRef home_of(rt::Scheduler* scheduler) noexcept;
/// The same for one whose context is as it shall be; from any thread. False: that runtime has ended, or is no more; the
/// task is the caller's still.
bool try_launch(const HomeRef& home, TaskCore& task) noexcept;
/// Runs a new task at once, on the caller's stack, until it first waits (eager start).
void launch_eagerly(TaskCore& task) noexcept;

/// The task that is running, or null.
TaskCore* current_task() noexcept;
rt::Scheduler* current_scheduler() noexcept;

/// The last reference is gone: reports an unread error and destroys.
void destroy_core(Core& core) noexcept;

inline void add_ref(Core& core) noexcept { core.word.add_ref(); }
inline void drop_ref(Core& core) noexcept {
    if (core.word.drop_ref()) destroy_core(core);
}

/// Links a waiter; false if the core is already done (then it is not linked).
bool add_joiner(Core& core, JoinNode& node) noexcept;
/// Takes it out again; false if it has been notified already (or is about to return from notify).
bool remove_joiner(Core& core, JoinNode& node) noexcept;
/// Takes out the first node that `wanted(node, argument)` says; null: there is none. It is asked under the core's lock.
JoinNode* take_joiner(Core& core, bool (*wanted)(const JoinNode& node, const void* argument),
                      const void* argument) noexcept;
/// Tasks, with a reference to each, which it gives back.
struct TaskRefs {
    std::vector<TaskCore*> tasks;
    TaskRefs() = default;
    ~TaskRefs() { drop(tasks.size()); }
    TaskRefs(const TaskRefs&) = delete;
    TaskRefs& operator=(const TaskRefs&) = delete;
    /// The first n.
    void drop(std::size_t n) noexcept;
};
/// Which waits count: all, or those whose task passes its cancels on to what it waits for, and does not go on before
/// that has ended.
enum class Edges : std::uint8_t { all, that_pass_cancels };
/// Puts the tasks that wait for the core, by a node, as a group's owner or below it, in the place of what is in `refs`.
/// Some may come twice. Any thread. std::bad_alloc.
void awaiters_of(Core& core, Edges edges, TaskRefs& refs);
/// A future's end, after `outcome` was claimed and written: sets done and tells the joiners.
void complete(Core& core) noexcept;

/// Waits until the core is done. Runs a task that has not started inline where that is allowed. A cancel of the
/// waiter goes on to the core (asyncio's rule), unless the core cannot be cancelled. Returns when it is done.
void await_core(Core& core);
/// Waits until the core is done, or a cancel or the deadline ends the wait; the core itself is left alone.
lowlevel::Woken join_core(Core& core, TimePoint deadline, lowlevel::Interrupt interrupt,
                          lowlevel::WaitReason reason) noexcept;
/// Runs a task of the current worker's deque inline if it has not started; whether it is done now.
bool try_run_inline(TaskCore& task) noexcept;

/// Asks a task to cancel; false if it is done.
bool cancel_task(TaskCore& task, const std::string& message) noexcept;
void set_cancel_hook(TaskCore& task, CancelHook* hook) noexcept;
/// The requests that a task has met and not taken back, and whether one of them is not delivered yet.
struct CancelState {
    int requests = 0;
    bool due = false;
};
CancelState cancel_state(TaskCore& task) noexcept;
/// Counts one cancel request back; with no more left than `before`, one that has come undelivered since is dropped.
/// Returns what is left.
int uncancel_task(TaskCore& task, CancelState before = {}) noexcept;
/// Opens a block of the running task's; how its cancels stand. Blocks are closed in the reverse order.
CancelState enter_scope(TaskCore& task, ScopeNode& node) noexcept;
void leave_scope(TaskCore& task, ScopeNode& node) noexcept;
/// While it lives, the running task waits for the end of what it has passed a cancel on to: in a sticky scope that same
/// cancel does not end the wait again.
class PassingOn {
public:
    enum class Already : bool { no, yes };
    /// Already: the cancel that is due has been passed on.
    explicit PassingOn(TaskCore& task, Already already = Already::no) noexcept;
    ~PassingOn();
    PassingOn(const PassingOn&) = delete;
    PassingOn& operator=(const PassingOn&) = delete;

private:
    TaskCore& task_;
    StickyState* sticky_;
};
/// In a sticky scope, makes a cancel that was met due again.
void rearm_cancel(TaskCore& task) noexcept;

/// The right to set a future's outcome goes to one caller; it writes `outcome` and calls complete().
bool claim_outcome(Core& core) noexcept;
/// Cancels a future (fails it with CancelledError); false if it is done.
bool cancel_core(Core& core, const std::string& message) noexcept;

/// Runs `fire` at the deadline, on some worker, under the timers' lock: engine code only.
struct TimerNode {
    TimePoint deadline = lowlevel::kNever;
    void (*fire)(TimerNode& self) noexcept = nullptr;
    TimerNode* prev = nullptr;
    TimerNode* next = nullptr;
    void* home = nullptr;     // the timers it is in; guarded by their lock
    std::int8_t bucket = -1;  // -1: not in
};
void start_timer(TimerNode& node) noexcept;
/// When this returns the node is out, and `fire` is not running.
void stop_timer(TimerNode& node) noexcept;

/// Ends a wait from a timer's `fire`; true if this call did.
bool unpark_by_deadline(Waiter waiter) noexcept;

}  // namespace weft::detail
