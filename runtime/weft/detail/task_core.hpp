// What every task and every future is made of, below its type.
//
// A task is one block [TaskCore | callable | result]; the template that knows the last two gives the engine a TaskOps
// of two functions and that is all the engine knows. A future is [Core | value]. Both end the same way, through
// complete(), and are waited for the same way, through JoinNodes.
//
// Thread rules. `word`: see task_word.hpp. `lock` guards the joiner list, `extra` and the cancel count; code under
// it runs no user code, takes no other core's lock and never waits (a JoinNode's notify may unpark and may take the
// lock of a gather's or group's own state). `outcome` and `error` are written by the finisher before `done` is set
// and are constant after. The remaining fields of TaskCore belong to the worker that runs the task.
//
// Blocks of tasks come from the pool in runtime/task_pool.hpp and are never given back to the system while the
// process lives: so the word of a block can always be looked at, by all_tasks() and by a canceller that follows
// `inner` (see cancel.cpp).
#pragma once

#include <weft/detail/spin_lock.hpp>
#include <weft/detail/task_word.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <source_location>
#include <string>

namespace weft::rt {
class Scheduler;
struct Stack;
}  // namespace weft::rt

namespace weft::detail {

struct Core;
struct TaskCore;
struct TimerNode;
class CancelWalk;
class ContextRef;

/// One who wants to know when a core is done. Lives in the waiter's frame or state; linked under the core's lock.
struct JoinNode {
    /// Called once, under the core's lock, by the finisher: engine code only. Or by the last holder of a core that
    /// dies without being done, which only a done-callback's node can meet.
    void (*notify)(JoinNode& self, Core& done) noexcept = nullptr;
    JoinNode* prev = nullptr;
    JoinNode* next = nullptr;
    /// Where the task that waits by this node is named, or null while none does: for call graphs, and to find tasks that
    /// wait for each other. Null: by this node, no task waits.
    const std::atomic<TaskCore*>* awaiter = nullptr;
    bool linked = false;
    bool passes_cancel =
        false;  // a cancel of the awaiter goes to the core, and it stays until that is done
};

enum class Outcome : std::uint8_t { none, value, error, cancelled };
enum class CoreKind : std::uint8_t { task, future, thread };

/// What the engine must be able to do to a core without knowing its type.
struct CoreOps {
    /// A task: runs the callable and stores value, error or cancelled; destroys the callable. Throws nothing.
    void (*run)(TaskCore& self) noexcept;
    /// Destroys the value; a future's frees it too. The last reference is gone. Null: there is nothing to destroy.
    void (*destroy)(Core& self) noexcept;
    /// Destroys a callable that will never run (the task was cancelled before its first step).
    void (*discard)(TaskCore& self) noexcept;
};

// Field order: what finishing, joining and releasing touch comes first, in one cache line with the word.
struct Core {
    TaskWord word;
    const CoreOps* ops = nullptr;
    std::exception_ptr error;
    JoinNode* first_joiner = nullptr;
    JoinNode* last_joiner = nullptr;
    SpinLock lock;
    CoreKind kind;
    Outcome outcome = Outcome::none;
    bool claimed = false;  // a future's: somebody is about to set its outcome; guarded by lock
    /// An error that nobody has read is reported when the last handle goes.
    std::atomic<bool> error_read{false};
    /// The value has been moved out.
    std::atomic<bool> taken{false};

    explicit Core(CoreKind k) noexcept : kind(k) {}
};

/// A future below its type.
struct UntypedFuture : Core {
    std::source_location where;

    explicit UntypedFuture(std::source_location made_at) noexcept
        : Core(CoreKind::future), where(made_at) {}
};

/// What few tasks have: made on demand under the core's lock.
struct TaskExtra {
    std::string name;
    std::string cancel_message;
    // Debug mode.
    int cancels_met = 0;  // delivered and not taken back
    bool was_named_for_cancels = false;
};

/// While a task runs children inline that it awaits together, a cancel must reach all of them and not only the one on
/// top. Called under the task's lock, engine code.
struct CancelHook {
    /// Adds those whom it must reach.
    void (*cancel)(CancelHook& self, CancelWalk& walk) noexcept = nullptr;
};

/// A group of children that wants each one's end (task_group). Called without any lock held.
struct Scope {
    void (*child_done)(Scope& self, TaskCore& child) noexcept = nullptr;
    TaskCore* awaiter = nullptr;  // the task whose group it is
};

/// A cancel scope that is sticky: a cancel that its task has met is due again at each later wait in it. Guarded by the
/// task's lock.
struct StickyState {
    bool met = false;
    std::int32_t requests = 0;  // as many as there were when the last one was met
    std::uint16_t passing_on =
        0;  // waits for the end of what a cancel went to: not ended by the same cancel again
};

/// A block of the running task's that has to do with cancels: timeout() or a StickyScope. The list is the task's own; it
/// changes under its lock.
struct ScopeNode {
    ScopeNode* outer = nullptr;
    const TimerNode* limit = nullptr;  // of a timeout
    StickyState* sticky = nullptr;     // of this or the nearest outer sticky one
};

struct TaskCore : Core {
    std::atomic<bool> started{false};
    bool is_callback = false;  // scheduled work that is not a task of the user's
    /// Its step cannot park, so it needs no stack to go on with meanwhile, and runs where there is no memory for one:
    /// a wake-up that comes by way of a callback is not lost.
    bool never_parks = false;
    /// What shuts the runtime down: where there is no stack for it to wait on, it gets one that was kept for it.
    bool ends_runtime = false;
    /// A cancel that comes now changes nothing: its group has cancelled the children already and waits for them.
    std::atomic<bool> keeps_waiting{false};
    /// Its value has a destructor, which has not returned yet. Set before `done`, so that the end of the runtime, which does not
    /// see the task any more then, waits for what still runs in its name.
    std::atomic<bool> value_goes{false};
    /// Which deque entry, if any, stands for this task: {worker + 1 : 16, position : 48}; see deque.hpp.
    std::atomic<std::uint64_t> place{0};
    rt::Stack* stack = nullptr;  // where it is parked; null until its first step

    /// Set when it is launched, after all that makes it a task of its runtime: who finds the block by looking reads
    /// this first.
    std::atomic<rt::Scheduler*> scheduler{nullptr};
    TaskCore* next = nullptr;               // link in the inject queue
    std::atomic<TaskCore*> below{nullptr};  // the task on whose stack it runs inline
    std::atomic<TaskCore*> inner{nullptr};  // the task that runs inline on top of it
    Scope* scope = nullptr;
    void* context = nullptr;  // context variables: see context_map.hpp
    TaskExtra* extra = nullptr;
    std::source_location where;

    TaskCore* scope_prev = nullptr;  // siblings; guarded by the scope
    TaskCore* scope_next = nullptr;
    CancelHook* cancel_hook = nullptr;            // guarded by lock
    std::atomic<const char*> waits_for{nullptr};  // for dumps: what it is parked on
    const void* waits_on = nullptr;
    ScopeNode* scopes = nullptr;              // the innermost
    std::uint32_t stack_bytes = 0;            // 0: the usual ones
    std::uint32_t number = 0;                 // of its default name; 0 until somebody asks
    std::atomic<std::int32_t> cancelling{0};  // written under lock
    std::uint16_t shield_depth = 0;           // ShieldScopes open in this task
    std::uint8_t size_class = 0;

    TaskCore() noexcept : Core(CoreKind::task) {}
};

}  // namespace weft::detail
