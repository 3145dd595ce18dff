#include "worker.hpp"

#include <new>

#include "check.hpp"
#include "completion.hpp"
#include "debug_mode.hpp"
#include "graveyard.hpp"
#include "overflow.hpp"
#include "scheduler.hpp"
#include "stack.hpp"
#include "switch.hpp"
#include "sys.hpp"

namespace weft::rt {

namespace {

// A worker keeps this many loops of its own in reserve; more go back to the pool, half at a time.
constexpr std::size_t kMostSpares = 128;

thread_local Worker* this_threads_worker = nullptr;

}  // namespace

// The only way to read a thread_local of the runtime: the barrier and noinline keep compilers from reusing the
// thread pointer of before a switch.
[[gnu::noinline]] Worker* current_worker() noexcept {
    asm volatile("" ::: "memory");
    return this_threads_worker;
}

[[gnu::noinline]] void set_current_worker(Worker* worker) noexcept {
    asm volatile("" ::: "memory");
    this_threads_worker = worker;
}

Worker::Worker(Scheduler& s, unsigned worker_id, Rivals rivals, std::uint64_t seed)
    : scheduler(s),
      id(worker_id),
      strict_(s.strict()),
      unusual_(s.strict() || s.simulation() != nullptr || s.debug()),
      solo_(rivals == Rivals::none),
      deque_(worker_id, rivals),
      random_(seed) {}

Worker::~Worker() {
    spend_last();
    give_spares_back(0);
}

void Worker::run_on_this_thread() {
    check(current_worker() == nullptr, "a worker was started on a thread that is one already");
    if (!reserve_spare()) throw std::bad_alloc();
    SignalStack signal_stack;  // an overflow must be reported from another stack
    unsigned long slack = sys::set_timer_slack_ns(1);
    exceptions = exception_state_of_this_thread();
    mutexes_held_before_ = held_mutexes();
    adopt_thread_stack(native_);
    stack = &native_;
    set_current_worker(this);
    if (scheduler.arena_yields_cores()) awake_time_.woke(std::chrono::steady_clock::now());
    Stack& first = take_spare();
    switch_stack(*this, native_, first, nullptr, nullptr);
    set_current_worker(nullptr);
    if (scheduler.arena_yields_cores()) awake_time_.fell_asleep(std::chrono::steady_clock::now());
    leave_thread_stack(native_);
    leave_.store(false);
    give_spares_back(2);
    cache.flush();
    sys::set_timer_slack_ns(slack);
}

void Worker::leave() noexcept {
    leave_.store(true);
    scheduler.wake(id);
}

// --- stacks -----------------------------------------------------------------------------------------------------

bool Worker::add_spare() noexcept {
    try {
        Stack* fresh = StackPool::instance().take(scheduler.stack_bytes());
        prepare_stack(*fresh, loop_on_fresh_stack);
        fresh->next = spares_;
        spares_ = fresh;
        ++spare_count_;
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

bool Worker::reserve_to_run() noexcept {
    if (!reserve_spare()) return false;
    if (last_ == nullptr && add_spare()) last_ = &take_spare();
    return last_ != nullptr;
}

bool Worker::spend_last() noexcept {
    if (last_ == nullptr) return false;
    last_->next = spares_;
    spares_ = std::exchange(last_, nullptr);
    ++spare_count_;
    return true;
}

Stack& Worker::take_spare() noexcept {
    check(spares_ != nullptr, "a worker has no spare stack: invariant [spare] is broken");
    Stack& spare = *spares_;
    spares_ = spare.next;
    spare.next = nullptr;
    --spare_count_;
    return spare;
}

void Worker::give_spares_back(std::size_t keep) noexcept {
    while (spare_count_ > keep) {
        Stack& spare = take_spare();
        StackPool::instance().give(&spare);
    }
}

void Worker::keep_as_spare(Worker& worker, Stack& left, void*) noexcept {
    left.next = worker.spares_;
    worker.spares_ = &left;
    if (++worker.spare_count_ > kMostSpares) worker.give_spares_back(kMostSpares / 2);
}

void Worker::free_custom_stack(Worker&, Stack& left, void*) noexcept {
    StackPool::instance().give(&left);
}

// --- one task ---------------------------------------------------------------------------------------------------

inline void Worker::call(TaskCore& task) noexcept {
    if (task.word.cancel_pending()) [[unlikely]]
        end_as_cancelled(task);
    else
        task.ops->run(task);
}

Worker& Worker::worker_after_task() noexcept {
    Worker* worker = current_worker();
    if (worker == nullptr) [[unlikely]]
        detail::check_not_forked("returning from a task");
    return *worker;
}

// --- the loop ---------------------------------------------------------------------------------------------------

void Worker::loop_on_fresh_stack(Worker& worker) { loop(&worker); }

// No object with a destructor may live in this frame: the stack below a spare is dropped without unwinding.
void Worker::loop(Worker* w) {
    for (;;) {
        TaskCore* task = w->next();
        if (task == nullptr) {
            w = &switch_stack(*w, *w->stack, w->native_, keep_as_spare, nullptr);
        } else if (task->started) {
            w = &switch_stack(*w, *w->stack, *task->stack, keep_as_spare, nullptr);
        } else if (task->stack_bytes != 0 && !w->stack->custom) {
            w = &start_on_custom_stack(*w, *task);
        } else {
            w = &run_in_place(*w, *task);
            if (w->stack->custom)
                w = &switch_stack(*w, *w->stack, w->take_spare(), free_custom_stack, nullptr);
        }
    }
}

Worker& Worker::run_in_place(Worker& worker, TaskCore& task) noexcept {
    if (!worker.reserve_spare() && !(task.ends_runtime && worker.spend_last())) {
        if (task.never_parks)
            run_without_spare(task);
        else
            fail_unstarted(task, std::make_exception_ptr(std::bad_alloc()));
        return worker;
    }
    task.started.store(true, std::memory_order_relaxed);
    worker.current = &task;
    call(task);
    finish_task(task);
    Worker& now = worker_after_task();
    now.current = nullptr;
    return now;
}

// Nothing is `current` meanwhile: what is the user's and destroyed with the callback finds itself outside of a task, and so
// cannot wait.
void Worker::run_without_spare(TaskCore& callback) noexcept {
    callback.started.store(true, std::memory_order_relaxed);
    call(callback);
    finish_task(callback);
}

Worker& Worker::start_on_custom_stack(Worker& worker, TaskCore& task) noexcept {
    Stack* custom = nullptr;
    try {
        custom = StackPool::instance().take_custom(task.stack_bytes);
    } catch (const std::bad_alloc&) {
        fail_unstarted(task, std::current_exception());
        return worker;
    }
    prepare_stack(*custom, loop_on_fresh_stack);
    worker.handoff_ = &task;
    return switch_stack(worker, *worker.stack, *custom, keep_as_spare, nullptr);
}

// --- running on top of another task -----------------------------------------------------------------------------

bool Worker::try_run_inline(TaskCore& task) noexcept {
    // Another worker may have taken it by now.
    if (unusual_) [[unlikely]] {
        between_steps(kAwaits);
        begin_step(&task);
    }
    // order [task.1]: relaxed - decides only if the claim succeeds, and then this worker put it into the queue.
    if (task.started.load(std::memory_order_relaxed) || !may_run_inline(task))
        return task.word.done();
    // A shielded wait must not pass a cancel on, and what runs on top of a task gets its cancels.
    if (exceptions->uncaught != 0 || current->shield_depth != 0) [[unlikely]]
        return task.word.done();
    using Claimed = decltype(deque_)::Claimed;
    if (!deque_.claim_newest(&task)) {
        Claimed claimed = deque_.claim(&task, drop_later);
        if (claimed == Claimed::no) return task.word.done();
        if (claimed == Claimed::left_dead_entry) task.word.add_ref();
    }
    bool buried = graveyard != nullptr;
    // In a catch block: the task on top starts with a clean state all the same.
    if (exceptions->caught != nullptr) [[unlikely]]
        run_inline_in_handler(task);
    else
        run_inline(task);
    if (buried) [[unlikely]]
        empty_graveyard();
    return true;
}

bool Worker::may_run_inline(const TaskCore& task) const noexcept {
    // Frames of tasks may need room; a chain of awaits a million deep must not overflow.
    auto* here = static_cast<std::byte*>(__builtin_frame_address(0));
    return !strict_ && task.stack_bytes == 0 &&
           static_cast<std::size_t>(here - stack->limit) >= stack->size() / 2;
}

void Worker::run_inline(TaskCore& task) noexcept {
    TaskCore& parent = *current;
    task.started.store(true, std::memory_order_relaxed);
    task.below.store(&parent, std::memory_order_relaxed);
    // order [inner.1]: relaxed - a canceller reads it after its read-modify-write of the parent's word has met the
    // one of bury(), which this thread makes later; see cancel.cpp.
    parent.inner.store(&task, std::memory_order_relaxed);
    current = &task;
    call(task);
    Worker& now = worker_after_task();
    now.current = &parent;
    // Before the end is published: a canceller that finds nobody above the parent asks the parent again.
    // order [inner.2]: relaxed - who still follows the old pointer looks again after taking a reference.
    parent.inner.store(nullptr, std::memory_order_relaxed);
    if (parent.word.buried()) {
        parent.word.unbury();
        if (parent.scopes != nullptr) detail::rearm_cancel(parent);
    }
    finish_task(task);
}

[[gnu::noinline]] void Worker::run_inline_in_handler(TaskCore& task) noexcept {
    ExceptionState saved = *exceptions;
    *exceptions = {};
    run_inline(task);
    *current_worker()->exceptions = saved;
}

void Worker::run_eagerly(TaskCore& task) noexcept {
    TaskCore& creator = *current;
    creator.stack = stack;
    if (unusual_) [[unlikely]] {
        end_step(creator);
        begin_step(&task);
    }
    handoff_ = &task;
    auto wait_in_front = [](Worker& worker, Stack&, void* argument) noexcept {
        auto* self = static_cast<TaskCore*>(argument);
        self->next = worker.front_;
        worker.front_ = self;
    };
    current = nullptr;
    Worker& now = switch_stack(*this, *stack, take_spare(), wait_in_front, &creator);
    now.current = &creator;
}

Worker& Worker::switch_to_next(AfterSwitch after, void* argument) noexcept {
    TaskCore* task = next_local();
    current = nullptr;
    // With dead ones the way goes through the loop, which would not be seen otherwise while fibers take turns.
    if (task != nullptr && task->started && graveyard == nullptr)
        return switch_stack(*this, *stack, *task->stack, after, argument);
    handoff_ = task;
    return switch_stack(*this, *stack, take_spare(), after, argument);
}

}  // namespace weft::rt
